"""How a search scales: workers on one PostgreSQL server.

`python benchmarks/scale.py [--workers 1 2 8 32] [--trials 12] [--seconds 5] [--strategy NAME]`

Training is simulated by sleeping, so that the only thing that can hold a worker up is the search. Every worker has a
folder of its own, as on a machine of its own. Efficiency is the time that the trainings alone would take, shared
evenly, over the time from the moment when all workers are ready until the last has ended.
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
from unittest.mock import patch

os.environ.setdefault("OMP_NUM_THREADS", "1")

from machine import processor, versions
from throwaway_postgresql import Server

from boostformer.architecture import Architecture
from boostformer.data import DataConfig
from boostformer.training import recipe
from evaluators.costs.budget import Budget
from evaluators.costs.table import CostTable
from evaluators.proxy import Score
from results.schema import read_run
from results.storage.location import Database
from search.config.experiment import Plan
from search.study import leases as claims
from search.study.folder import join, set_up
from search.worker.loop import work
from search.worker.progress import LineReporter
from search_space import read_space

FORK = multiprocessing.get_context("fork")


def make_plan(strategy: str, name: str = "boostformer_b0") -> Plan:
    """A search of a shipped space that needs no data."""
    space = read_space(name).replace(size=(128, 192), classes=11)
    shares = {"baseline": "segformer_b0", "params": "80%", "macs": "80%"}
    limits = Budget.resolve(shares, CostTable(), classes=space.classes, size=space.size, source="scale.py")
    return Plan(
        name=name,
        space=space,
        data=DataConfig(kind="scenes", size=space.size),
        labels=tuple(map(str, range(space.classes))),
        images={"training": 1, "validation": 1},
        objectives=("miou", "macs", "params"),
        budget=limits,
        deployed=True,
        recipe=recipe("proxy"),
        strategy=strategy,
        seed=0,
    )


@dataclass
class Sleeping:
    """A training that does nothing for so long, and finds a made-up score."""

    seconds: float

    def __call__(self, arch: Architecture, seed: int, progress: Any, *, rung: int, folder: Path) -> Score:
        time.sleep(self.seconds)
        return Score(int(hashlib.sha256(arch.id.encode()).hexdigest()[:4], 16) / 0xFFFF, self.seconds, "simulated")


class Ready(LineReporter):
    """Says nothing; begins together with all others."""

    def __init__(self, together: Any = None) -> None:
        self._together = together

    def begins(self, standing: Any) -> None:
        if self._together is not None:
            self._together.wait()

    def _write(self, message: dict[str, Any]) -> None:
        pass


class Timed(claims.HeartbeatClaims):
    """Remembers for how many seconds it had the turn, each time."""

    held: list[float] = []

    @contextmanager
    def exclusive(self) -> Iterator[Any]:
        with super().exclusive() as check:
            started = time.perf_counter()
            yield check
            self.held.append(time.perf_counter() - started)


def scale(plan: Plan, server: Server, workers: int, trials: int, seconds: float) -> dict[str, str]:
    """One line of the table."""
    database = Database(server.url, f"{workers}-workers")
    together, turns = FORK.Barrier(workers + 1), FORK.SimpleQueue()
    with tempfile.TemporaryDirectory() as folder:
        set_up(Path(folder) / "first", plan, workers * trials, [], database)

        def one(number: int) -> None:
            claims.HeartbeatClaims = Timed  # type: ignore[misc]
            run_dir = Path(folder) / str(number)
            join(run_dir, database)
            work(plan, run_dir, Sleeping(seconds), Ready(together))
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
        records = read_run(Path(folder) / "first").records
    problem = plan.problem()
    finished = Counter(record.id for record in records if record.state == "finished")
    return {
        "workers": str(workers),
        "trials": str(workers * trials),
        "wall s": f"{wall:.1f}",
        "efficiency": f"{trials * seconds / wall:.3f}",
        "duplicates": str(finished.total() - len(finished)),
        "infeasible": str(sum(not problem.affords(Architecture.from_dict(r.architecture)) for r in records)),
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
    plan = make_plan(arguments.strategy)
    made = plan.problem()
    made.share(draws=1)
    # Its tables are made once, not by every process anew: on one machine that would take all workers' time.
    with patch.object(Plan, "problem", lambda *_, **__: made), Server() as server:
        print(f"{server.sql('SHOW server_version')}, load {os.getloadavg()[0]:.1f}\n")
        lines = []
        for workers in arguments.workers:
            lines.append(scale(plan, server, workers, arguments.trials, arguments.seconds))
            print(lines[-1], flush=True)
        print("\n" + table(lines))


if __name__ == "__main__":
    main()
