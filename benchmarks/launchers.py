"""Launchers under faults, and how much time they take: searches of simulated trainings by the engines that run here.

`python benchmarks/launchers.py faults|speed [ENGINE …] [--trials 60] [--seconds 0.5]`

`faults`: kill -9 of a worker, of a node (where the engine has nodes) and of the launcher, which is then started again;
in the end every network is finished once, nothing is left running, and no process is left. `speed`: the time that
workers take from their first claim to their last result beside the time of the trainings alone.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

from scale import open_search, table
from throwaway_postgresql import Server
from throwaway_slurm import Slurm

from results.run import read_run
from results.storage.database import named_by_user
from results.storage.location import Database, storage_of
from results.trial import Status
from search.study.folder import set_up

SIMULATED = Path(__file__).with_name("simulated.py")
REPOSITORY = SIMULATED.parents[1]
HANGS_AFTER = 180.0
WORKERS = 4


@dataclass
class Engine:
    """An engine on this machine, with the options that name it, and how a node of it dies."""

    options: list[str] = field(default_factory=list)
    kill_node: Callable[[], None] | None = None
    database: bool = True


@contextmanager
def local_engine(workers: int) -> Iterator[Engine]:
    yield Engine(database=False)


@contextmanager
def nni_engine(workers: int) -> Iterator[Engine]:
    with tempfile.TemporaryDirectory() as home:
        os.environ["HOME"] = home
        yield Engine(["--port", "18080"], database=False)


@contextmanager
def slurm_engine(workers: int) -> Iterator[Engine]:
    with Slurm((workers + 1) // 2, nodes=2) as slurm:

        def kill() -> None:
            slurm.kill_node("node1")
            slurm.start_node("node1")

        yield Engine(kill_node=kill)


@contextmanager
def ray_engine(workers: int) -> Iterator[Engine]:
    from ray.cluster_utils import Cluster

    each = {"num_cpus": workers, "object_store_memory": 80 * 2**20}
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "object_store_memory": 80 * 2**20})
    nodes = [cluster.add_node(**(each | {"num_cpus": (workers + 1) // 2})) for _ in range(2)]
    cluster.wait_for_nodes()

    def kill() -> None:
        cluster.remove_node(nodes[1], allow_graceful=False)
        cluster.add_node(**(each | {"num_cpus": (workers + 1) // 2}))

    try:
        yield Engine(["-o", f"address={cluster.address}"], kill)
    finally:
        cluster.shutdown()


ENGINES = {"local": local_engine, "slurm": slurm_engine, "ray": ray_engine, "nni": nni_engine}


@dataclass
class Search:
    """A search of simulated trainings by one engine."""

    name: str
    engine: Engine
    folder: Path
    trials: int
    seconds: float
    workers: int = WORKERS
    log: str = ""

    def set_up(self, server: Server) -> None:
        database = Database(named_by_user(server.url), uuid.uuid4().hex) if self.engine.database else None
        set_up(self.folder, open_search("random", "tiny"), self.trials, database)

    def launch(self, *more: str) -> subprocess.Popen[bytes]:
        words = [sys.executable, str(SIMULATED), f"{self.seconds:g}", "launch", str(self.folder), "--on", self.name]
        words += ["--workers", str(self.workers), *self.engine.options, *more]
        self.said = self.folder.with_name("said.txt")
        with self.said.open("ab") as file:
            return subprocess.Popen(words, stdout=file, stderr=file, stdin=subprocess.DEVNULL, start_new_session=True)

    def finished(self) -> Counter[str]:
        return Counter(trial.id for trial in read_run(self.folder).trials if trial.is_finished)

    def until(self, holds: Callable[[], bool], what: str) -> None:
        until = time.monotonic() + HANGS_AFTER
        while not holds():
            assert time.monotonic() < until, f"{self.name}: {what}: it hangs: {self.said.read_text()[-3000:]}"
            time.sleep(0.1)

    def processes(self) -> list[int]:
        """The workers' processes."""
        found = []
        for place in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                words = place.read_bytes().decode(errors="replace").split("\0")
            except OSError:
                continue
            if str(SIMULATED) in words and "worker" in words and any(str(self.folder) in word for word in words):
                found.append(int(place.parent.name))
        return [pid for pid in found if not is_shell(pid)]


def is_shell(pid: int) -> bool:
    try:
        return "python" not in str(Path(f"/proc/{pid}/exe").readlink())
    except OSError:
        return True


def disturb(name: str, server: Server, trials: int, seconds: float) -> dict[str, str]:
    """One search with every fault that the engine can have."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder, ENGINES[name](WORKERS) as engine:
        search = Search(name, engine, Path(folder) / "run", trials, seconds)
        search.set_up(server)
        began = time.monotonic()
        launcher = search.launch()
        search.until(lambda: len(search.finished()) >= 4, "begins")
        os.kill(search.processes()[0], signal.SIGKILL)
        search.until(lambda: len(search.finished()) >= 14, "goes on after a worker's death")
        if engine.kill_node is not None:
            engine.kill_node()
        search.until(lambda: len(search.finished()) >= 28, "goes on after a node's death")
        before = set(search.processes())
        launcher.kill()
        launcher.wait()
        launcher = search.launch()
        search.until(lambda: len(search.finished()) >= 34, "goes on after the launcher's death")
        most, kept = len(search.processes()), len(before & set(search.processes()))
        code = launcher.wait(HANGS_AFTER)
        wall = time.monotonic() - began
        said = search.said.read_text()
        assert code == 0, f"{name}: the launcher ended with {code}: {said[-3000:]}"
        recorded = read_run(search.folder).trials
        search.until(lambda: not search.processes(), "no process is left")
        found = search.finished()
        assert "found: " in said or name == "local", said
        return {
            "engine": name,
            "trials": str(trials),
            "finished": str(len(found)),
            "done twice": str(found.total() - len(found)),
            "left running": str(sum(trial.status is Status.RUNNING for trial in recorded)),
            "interrupted": str(sum(trial.status is Status.INTERRUPTED for trial in recorded)),
            "workers at once after the second launch": f"{most} of {WORKERS}, {kept} of them the same",
            "seconds": f"{wall:.0f}",
        }


def measure(name: str, server: Server, workers: int, each: int, seconds: float) -> dict[str, str]:
    """One undisturbed search: efficiency, from the first claim to the last result, and with the engine's start."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder, ENGINES[name](workers) as engine:
        search = Search(name, engine, Path(folder) / "run", workers * each, seconds, workers)
        search.set_up(server)
        began = time.time()
        code = search.launch().wait(900)
        assert code == 0, search.said.read_text()[-3000:]
        trials = read_run(search.folder).trials
        spans = times(search.folder)
        found = search.finished()
    own: dict[str, list[tuple[float, float]]] = {}
    for trial in trials:
        own.setdefault(trial.owner, []).append(spans[trial.number])
    shares = [
        len(mine) * seconds / (max(end for _, end in mine) - min(start for start, _ in mine)) for mine in own.values()
    ]
    gaps = [later[0] - earlier[1] for mine in own.values() for earlier, later in pairwise(sorted(mine))]
    first, last = min(start for start, _ in spans.values()), max(end for _, end in spans.values())
    return {
        "engine": name,
        "workers": str(workers),
        "finished once": f"{len(found)} of {len(trials)}",
        "efficiency of a worker since its first claim": f"{sum(shares) / len(shares):.3f}",
        "of all, from the first claim to the last result": f"{each * seconds / (last - first):.3f}",
        "overhead s per trial": f"{sum(seconds / share - seconds for share in shares) / len(shares):.2f}",
        "of it between two trials, median": f"{statistics.median(gaps):.2f}",
        "first claim after s": f"{first - began:.0f}",
    }


def times(folder: Path) -> dict[int, tuple[float, float]]:
    """When each trial began and ended, by its number."""
    where = storage_of(folder)
    storage = where.open()
    ended = [trial for trial in storage.get_all_trials(where.study_id(storage)) if trial.datetime_complete]
    return {
        trial.number: (trial.datetime_start.timestamp(), trial.datetime_complete.timestamp())
        for trial in ended
        if trial.datetime_start and trial.datetime_complete
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["faults", "speed"])
    parser.add_argument("engines", metavar="ENGINE", nargs="*", default=list(ENGINES))
    parser.add_argument("--trials", type=int, default=60, help="faults: in all; speed: of each worker")
    parser.add_argument("--seconds", type=float, help="that a training takes")
    parser.add_argument("--workers", type=int, default=8, help="speed")
    arguments = parser.parse_args()
    os.environ["PYTHONPATH"] = os.pathsep.join([str(REPOSITORY), str(SIMULATED.parent)])
    lines: list[dict[str, Any]] = []
    with Server() as server:
        for name in arguments.engines:
            if arguments.what == "faults":
                lines.append(disturb(name, server, arguments.trials, arguments.seconds or 0.5))
            else:
                lines.append(measure(name, server, arguments.workers, arguments.trials, arguments.seconds or 5.0))
            print(json.dumps(lines[-1]), file=sys.stderr, flush=True)
    print(table(lines))


if __name__ == "__main__":
    main()
