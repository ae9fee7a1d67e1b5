"""The first run file for a data set: what suits its images and a number of minutes, and the file's text."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from search.config.opening import OpenExperiment

PIXELS, PIXELS_ON_GPU, SHORTEST = 128 * 192, 512 * 512, 64
"""Size at which networks see images: pixels of the first that is tried on CPUs and on a GPU, and the shortest side."""
LENGTHS = ((1000, 60), (500, 60), (200, 24), (100, 16), (50, 8))
"""Iterations of a trial, and the least number of trials with which they are worth it; the first that fits is taken."""
MOST_TRIALS, BATCH, SHARE = 200, 8, 0.2
USED = 0.9
"""Share of the minutes that trainings take; the rest is for what lies between them."""
SPACES: dict[str, dict[str, str]] = {
    "boostformer_b0": {"baseline": "segformer_b0", "params": "80%", "macs": "80%"},
    "tiny": {"baseline": "boostformer_b0", "params": "3%", "macs": "5%"},
}
"""Shipped spaces, the first one first, and the budgets that suit each."""


@dataclass(frozen=True)
class Plan:
    """All that a first run file decides.

    Attributes:
        data: its section ``data``, without the size.
        size: (H, W) at which networks see the images.
        space: a shipped space's name.
        batch: images of a step.
        iterations: of a trial.
        trials: networks that are tried.
        seed: of the search.
        remarks: comments by the key that they stand beside.
    """

    data: dict[str, Any]
    size: tuple[int, int]
    space: str
    batch: int
    seed: int
    remarks: dict[str, str]
    iterations: int = LENGTHS[-1][0]
    trials: int = LENGTHS[-1][1]

    def text(self, command: str) -> str:
        """Write the run file; ``command`` is the search that it is for."""
        height, width = self.size
        settings = {**self.data, "size": f"{height}x{width}"}
        lines = [
            "# Written by `boostformer init` after a look at the data; every line may be changed. This is the search:",
            f"#   {command}",
            "# It says first how long it will take; with --workers 0 it says that alone.",
            "",
            "# Which networks there are: tiny, boostformer_b0 or boostformer_b2 (`boostformer space NAME`), or a file.",
            f"space: {self.space}",
            "data:",
            *(self._line(key, value) for key, value in settings.items()),
            "# What the front is of; latency_ms, too, with `latency: {device: NAME}`: `boostformer latency devices`.",
            "objectives: [miou, macs, params]",
            "# No network above these is trained: shares of the baseline's, or numbers, such as params: 3M.",
            f"budgets: {_plain(SPACES[self.space])}",
            "# The short training that scores a network; several lengths, such as [100, 300, 900], are rungs.",
            f"proxy: {_plain({'iterations': self.iterations, 'batch_size': self.batch})}",
            "# Networks that are tried in all; the same command with --trials N goes on to more.",
            f"search: {_plain({'trials': self.trials, 'seed': self.seed})}",
        ]
        return "\n".join(lines) + "\n"

    def _line(self, key: str, value: Any) -> str:
        remark = self.remarks.get(key)
        return f"  {key}: {_plain(value)}" + (f"  # {remark}" if remark else "")


def _plain(value: Any) -> str:
    """Write a value as YAML on one line."""
    text = yaml.safe_dump([value], default_flow_style=True, allow_unicode=True, sort_keys=False, width=1_000_000)
    return re.sub(r"'(\d+%)'", r"\1", text.strip()[1:-1])


def sizes(shapes: NDArray[np.int64], pixels: int) -> Iterator[tuple[tuple[int, int], bool]]:
    """Give sizes (H, W) that suit images, each smaller than the one before, and whether they keep all proportions.

    Where one size would stretch many of the images, it is for their shorter side (``fit: short_side``): False.

    Args:
        shapes: heights and widths (n, 2) of the images.
        pixels: that the first one has at most.
    """
    from boostformer.data.advice import MULTIPLE, best_size

    shapes = shapes * max(1.0, SHORTEST / shapes.min())  # smaller images are enlarged
    known: tuple[int, int] | None = None
    while known is None or pixels >= SHORTEST**2:
        found, keeps = best_size(shapes, pixels), True
        if found is None or min(found) < SHORTEST:
            side = min(int(shapes.min()), int(pixels**0.5)) // MULTIPLE * MULTIPLE
            found, keeps = (max(SHORTEST, side),) * 2, False
        if known is None or (keeps and found != known):
            yield found, keeps
        known = found
        pixels //= 2


def fitted(plan: Plan, seconds: float, step: float, scoring: float) -> Plan | None:
    """Share seconds out among trials; None where they suffice for no search that is worth it.

    Args:
        plan: what is searched.
        seconds: of all workers together.
        step: seconds of a step.
        scoring: seconds of scoring a network.
    """
    for iterations, least in LENGTHS:
        trials = int(seconds / (iterations * step + scoring))
        if trials >= least:
            return replace(plan, iterations=iterations, trials=min(trials, MOST_TRIALS))
    return None


def opened(plan: Plan) -> OpenExperiment:
    """Read the run file that ``plan`` makes, and open its data; UserError as for a search."""
    from search.config.opening import resolve

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "run.yaml"
        file.write_text(plan.text(""), encoding="utf-8")
        return resolve(file)[0]


def pace(plan: Plan, workers: int) -> tuple[float, float]:
    """Measure the seconds of a step and of scoring, for a network of median MACs, as one of so many workers has it."""
    from search.cli.announce import typical
    from search.worker.local import threads_of_one_worker

    experiment = opened(plan)
    with threads_of_one_worker(workers):
        return experiment.proxy.pace(typical(experiment))
