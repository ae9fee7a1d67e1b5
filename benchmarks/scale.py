"""Scaling of a search: workers on one PostgreSQL server.

`python benchmarks/scale.py [--workers 1 2 8 32] [--trials 12] [--seconds 5] [--strategy NAME]`

Sleeping stands for training, so that only the search itself can delay a worker. Every worker has a folder of its own,
as on a machine of its own. Efficiency is the time that the trainings alone would take, shared evenly, over the time
from the moment when all workers are ready until the last has ended.
"""

from __future__ import annotations

import argparse
import hashlib
import multiprocessing
import os
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

from machine import processor, versions
from throwaway_postgresql import Server

from boostformer import presets
from boostformer.architecture import Architecture
from boostformer.data import DataConfig
from evaluators.costs.table import CostTable
from evaluators.proxy import Score
from results.run import read_run
from results.storage.location import Database
from search.config.experiment import Experiment
from search.config.limits import Limit
from search.config.opening import OpenExperiment
from search.config.sections import ProxyConfig, SearchConfig
from search.study import leases
from search.study.folder import join, set_up
from search.worker.loop import work
from search.worker.progress import LineReporter
from search_space import read_space

FORK = multiprocessing.get_context("fork")


def open_search(strategy: str, name: str = "boostformer_b0") -> OpenExperiment:
    """A search of a shipped space, within 80 % of SegFormer-B0's costs, that needs no data.

    Its tables are made now, once: processes that are forked share them, where each would take all workers' time.
    """
    space, table = read_space(name).replace(size=(128, 192), classes=11), CostTable()
    baseline = table.cost(presets.load("segformer_b0", classes=space.classes, size=space.size))
    experiment = Experiment(
        space_name=name,
        space=space,
        data=DataConfig(kind="scenes", size=space.size),
        labels=tuple(map(str, range(space.classes))),
        images={"training": 1, "validation": 1},
        content={"training": "", "validation": ""},
        objectives=("miou", "macs", "params"),
        budgets={cost: Limit.read(cost, "80%").resolve(getattr(baseline, cost)) for cost in ("params", "macs")},
        counted="deployed",
        proxy=ProxyConfig.model_validate({}),
        search=SearchConfig.model_validate({"strategy": strategy}),
    )
    opened = OpenExperiment(experiment, table=table)
    opened.problem.share(draws=1)
    return opened


@dataclass
class Sleeping:
    """An evaluator that does nothing for so long, and finds a made-up score."""

    seconds: float

    def evaluate(
        self, arch: Architecture, seed: int, progress: Any, *, rung: int, folder: Path, start: Any = None
    ) -> Score:
        time.sleep(self.seconds)
        return Score(int(hashlib.sha256(arch.id.encode()).hexdigest()[:4], 16) / 0xFFFF, self.seconds, "simulated")

    def tidy(self, folder: Path, rung: int) -> None:
        """Nothing was left."""


class Ready(LineReporter):
    """Says nothing; begins together with all others."""

    def __init__(self, together: Any = None) -> None:
        super().__init__()
        self._together = together

    def begins(self, standing: Any) -> None:
        super().begins(standing)
        if self._together is not None:
            self._together.wait()

    def _write(self, message: dict[str, Any]) -> None:
        pass


class Timed(leases.HeartbeatLeases):
    """Remembers for how many seconds it had the turn, each time."""

    held: list[float] = []

    @contextmanager
    def exclusive(self) -> Iterator[Any]:
        with super().exclusive() as check:
            started = time.perf_counter()
            yield check
            self.held.append(time.perf_counter() - started)


def scale(opened: OpenExperiment, server: Server, workers: int, trials: int, seconds: float) -> dict[str, str]:
    """One line of the table."""
    database = Database(server.url, f"{workers}-workers")
    together, turns = FORK.Barrier(workers + 1), FORK.SimpleQueue()
    with tempfile.TemporaryDirectory() as folder:
        set_up(Path(folder) / "first", opened, workers * trials, database)

        def one(number: int) -> None:
            leases.HeartbeatLeases = Timed  # type: ignore[misc]
            run_dir = Path(folder) / str(number)
            join(run_dir, database)
            work(opened, run_dir, Ready(together), Sleeping(seconds))
            turns.put(Timed.held)

        processes = [FORK.Process(target=one, args=(number,)) for number in range(workers)]
        for process in processes:
            process.start()
        together.wait(timeout=300)  # raises when a worker did not get so far
        started = time.perf_counter()
        held = sorted(turn for _ in processes for turn in turns.get())
        wall = time.perf_counter() - started
        for process in processes:
            process.join()
        recorded = read_run(Path(folder) / "first").trials
    finished = Counter(trial.id for trial in recorded if trial.is_finished)
    networks = [Architecture.from_dict(trial.architecture) for trial in recorded]
    return {
        "workers": str(workers),
        "trials": str(workers * trials),
        "wall s": f"{wall:.1f}",
        "efficiency": f"{trials * seconds / wall:.3f}",
        "duplicates": str(finished.total() - len(finished)),
        "infeasible": str(sum(not opened.problem.affords(network) for network in networks)),
        "lost": str(workers * trials - len(finished)),
        "turn ms, median": f"{1e3 * statistics.median(held):.0f}",
        "turn ms, 95 %": f"{1e3 * held[int(0.95 * len(held))]:.0f}",
    }


def table(lines: list[dict[str, str]]) -> str:
    rows = [list(lines[0]), ["---"] * len(lines[0]), *(list(line.values()) for line in lines)]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 8, 32])
    parser.add_argument("--trials", type=int, default=12, help="of each worker")
    parser.add_argument("--seconds", type=float, default=5.0, help="that a training takes")
    parser.add_argument("--strategy", default="random")
    arguments = parser.parse_args()
    print(f"{processor()}, {len(os.sched_getaffinity(0))} cores; {versions('optuna', 'SQLAlchemy', 'psycopg')}")
    opened = open_search(arguments.strategy)
    with Server() as server:
        print(f"{server.sql('SHOW server_version')}, load {os.getloadavg()[0]:.1f}\n")
        lines = []
        for workers in arguments.workers:
            lines.append(scale(opened, server, workers, arguments.trials, arguments.seconds))
            print(lines[-1], flush=True)
        print("\n" + table(lines))


if __name__ == "__main__":
    main()
