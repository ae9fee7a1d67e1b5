"""The command line with trainings that only sleep: `python benchmarks/simulated.py SECONDS worker|launch …`.

All else is real: launchers, workers, signals, the study. What `launch` starts is this program again. Hearts beat fast,
so that a dead worker is noticed within seconds.
"""

from __future__ import annotations

import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

from scale import Sleeping

from boostformer.architecture import Architecture
from evaluators.proxy import Score
from search.cli.program import main as program
from search.config.opening import OpenExperiment
from search.study import leases, places
from search.worker import local


@dataclass
class Stepping(Sleeping):
    """Sleeps in short steps, as a training does its iterations."""

    def evaluate(
        self, arch: Architecture, seed: int, progress: Any, *, rung: int, folder: Path, start: Any = None
    ) -> Score:
        until = time.monotonic() + self.seconds
        while (left := until - time.monotonic()) > 0:
            time.sleep(min(0.05, left))
            progress(1, 2, 0.0)
        return Sleeping(0.0).evaluate(arch, seed, progress, rung=rung, folder=folder)


def simulate(seconds: float) -> None:
    """Have all later trainings of this process sleep so long, and hearts beat fast."""
    OpenExperiment.proxy = property(lambda opened: Stepping(seconds))  # type: ignore[assignment,method-assign]
    places.require_data = lambda opened: None  # type: ignore[assignment]
    leases.BEAT_SECONDS = 0.5


def main() -> None:
    seconds = float(sys.argv.pop(1))
    simulate(seconds)
    local.PROGRAM[:] = [sys.executable, str(Path(__file__).absolute()), f"{seconds:g}"]
    program()


if __name__ == "__main__":
    main()
