"""Whatever dies, nothing is lost: each fault at many random moments of a search, and what was left each time.

`python benchmarks/faults.py [--times 20] [--seed 0] [FAULT …]`

Trainings are simulated by some 20 ms of work. After every fault all trials must still be finished that were; in the end
every network is finished once, or failed for its own fault, and none is left running. Hearts beat fast here, so that on
a busy machine workers are also thought dead that are not.
"""

from __future__ import annotations

import argparse
import hashlib
import multiprocessing
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any
from unittest.mock import patch

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from scale import FORK, Ready, make_plan
from throwaway_postgresql import Server

import boostformer
from boostformer.architecture import Architecture
from boostformer.errors import UserError
from boostformer.training import TrainingFailure
from evaluators.proxy import Score
from results.schema import Record, read_run
from results.storage.location import INTERRUPTED, JOURNAL_NAME, Database
from search.config.experiment import Plan
from search.study import leases as claims
from search.study import outage
from search.study import queue as store
from search.study.folder import join, set_up
from search.worker.loop import work

RUN_FILE = """\
space: tiny
data: {kind: scenes, size: 32x64, scenes: {training: 4, validation: 2}}
budgets: {params: 60k, macs: 6M}
proxy: {iterations: 4, batch_size: 2}
search: {strategy: random}
"""
HANGS_AFTER = 300.0
"""Seconds; nothing here takes a tenth of it."""
CROWD = 3


@cache
def plan() -> Plan:
    return make_plan("random", "tiny")


@cache
def problem() -> Any:
    made = plan().problem()
    made.share(draws=1)
    return made


@contextmanager
def hurried() -> Iterator[None]:
    """For this process and those it forks: fast hearts, short pauses, tables made once; no network is blamed."""
    made = problem()
    with (
        patch.object(claims, "BEAT_SECONDS", 0.05),
        patch.object(claims, "POLL_SECONDS", 0.02),
        patch.object(claims, "LOCAL_POLL_SECONDS", 0.02),
        patch.object(outage, "PAUSES", (0.02, 0.1)),
        patch.object(store, "DEATHS", 10**6),
        patch.object(Plan, "problem", lambda *_, **__: made),
    ):
        yield


def train(arch: Architecture, seed: int, progress: Any, *, rung: int, folder: Path) -> Score:
    end = time.perf_counter() + 0.02
    while time.perf_counter() < end:
        progress(1, 2, 0.0)
    return Score(chance(arch), 0.02, "simulated")


def chance(arch: Architecture) -> float:
    """A number in 0…1 that is the network's own."""
    return int(hashlib.sha256(arch.id.encode()).hexdigest()[:8], 16) / 0xFFFFFFFF


@dataclass
class Ground:
    """One search to be disturbed, by faults at moments that ``rng`` chooses."""

    folder: Path
    rng: np.random.Generator
    server: Server | None = None
    trials: int = 60
    objective: Callable[..., Score] = train
    kept: dict[str, Record] = field(default_factory=dict)
    faults: int = 0
    together: Any = None
    """A barrier at which its workers wait before they begin."""
    room: int | None = None
    """No worker that is started from now on can make a file larger, in bytes."""

    def __post_init__(self) -> None:
        self.said = self.folder.with_name("stderr.txt")
        self.database = Database(self.server.url, uuid.uuid4().hex) if self.server else None
        set_up(self.folder, plan(), self.trials, [], self.database)

    def start(self) -> Any:
        process = FORK.Process(target=self._work)
        process.start()
        return process

    def _work(self) -> None:
        with self.said.open("a") as file:  # the tracebacks of faults that are meant to be too
            os.dup2(file.fileno(), 2)
            if self.room is not None:
                resource.setrlimit(resource.RLIMIT_FSIZE, (self.room, self.room))
            work(plan(), self.folder, self.objective, Ready(self.together))

    def pause(self, longest: float = 0.5) -> None:
        time.sleep(self.rng.uniform(0, longest))

    def look(self) -> list[Record]:
        """The records, after asserting that every trial is still finished that ever was seen so."""
        records = read_run(self.folder).records
        now = {record.id: record for record in records if record.state == "finished"}
        assert all(now.get(identity) == record for identity, record in self.kept.items()), "a finished trial was lost"
        self.kept = now
        return records

    def unfinished(self) -> bool:
        return len(self.look()) == 0 or len(self.kept) < self.trials

    def conclude(self) -> list[Record]:
        """Lets one more worker do what is left, undisturbed; the records of an end that is as it should be."""
        process = self.start()
        process.join(HANGS_AFTER)
        hangs = process.is_alive()
        process.kill()
        process.join()
        assert not hangs, "it hangs"
        assert process.exitcode == 0, f"the last worker ended with {process.exitcode}: {self.said.read_text()[-4000:]}"
        records = self.look()
        # On a busy machine a network is blamed for a worker that was only slow, and finished all the same.
        late = {record.id for record in records if record.state == "finished"}
        ended = [r for r in records if r.failure != INTERRUPTED and not (r.failure == store.KILLER and r.id in late)]
        assert all(record.state != "running" for record in records), "left running"
        assert max(Counter(record.id for record in ended).values()) == 1, "done twice"
        assert len(ended) == self.trials, f"{len(ended)} of {self.trials} ended"
        assert all(problem().affords(Architecture.from_dict(record.architecture)) for record in records), "over budget"
        return records


def killed_workers(ground: Ground) -> None:
    """kill -9 of one of three workers, again and again; another takes its place."""
    workers = [ground.start() for _ in range(CROWD)]
    for _ in range(5):
        ground.pause()
        victim = int(ground.rng.integers(CROWD))
        ground.faults += workers[victim].is_alive()
        workers[victim].kill()
        workers[victim].join()
        ground.look()
        workers[victim] = ground.start()
    for worker in workers:
        worker.kill()
        worker.join()
    ground.faults += CROWD
    ground.conclude()


def killed_parent(ground: Ground) -> None:
    """kill -9 of a `search --workers 2` of the command line, of real trainings; its children stop by themselves."""
    run_file, out = ground.folder.with_name("run.yaml"), ground.folder.with_name("out")
    run_file.write_text(RUN_FILE)
    command = [sys.executable, "-m", "search.cli.program", "search", str(run_file), "--out", str(out), "--trials"]
    before: list[Record] = []
    for _ in range(3):
        parent = subprocess.Popen([*command, "1000", "--workers", "2"], stderr=subprocess.PIPE, text=True)
        assert parent.stderr is not None
        said = []
        for line in parent.stderr:
            said.append(line)
            if "/1000]" in line:
                break
        else:
            raise AssertionError(f"the search ended too soon: {''.join(said)}")
        ground.pause(5.0)
        parent.kill()
        _, words = parent.communicate()  # its children hold the pipe too, so until they have ended
        records = read_run(out).records
        assert all(record in records for record in before if record.state == "finished"), "a finished trial was lost"
        assert all(record.state != "running" for record in records), f"left running: {words[-4000:]}"
        before, ground.faults = records, ground.faults + 1
    target = sum(record.state == "finished" for record in before) + 1
    subprocess.run([*command, str(target)], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=True)
    ground.kept = {record.id: record for record in read_run(out).records if record.state == "finished"}
    assert len(ground.kept) == target, Counter(record.failure or record.state for record in read_run(out).records)


def restarted_server(ground: Ground) -> None:
    """PostgreSQL is stopped, in good order or as by a crash, and started again under three workers."""
    assert ground.server is not None
    ground.together = FORK.Barrier(CROWD + 1)  # one that cannot even begin says so and ends
    workers = [ground.start() for _ in range(CROWD)]
    ground.together.wait(HANGS_AFTER)
    ground.together = None
    for _ in range(3):
        ground.pause(1.0)
        ground.server.stop(str(ground.rng.choice(["fast", "immediate"])))
        ground.pause()
        ground.server.start()
        ground.faults += 1
        ground.look()
    for worker in workers:
        worker.join(HANGS_AFTER)
        assert worker.exitcode == 0, f"a worker ended with {worker.exitcode}: {ground.said.read_text()[-4000:]}"
    ground.conclude()


def full_disk(ground: Ground) -> None:
    """No file may grow beyond some size: as on a full disk, the write that would stops in the middle."""
    for _ in range(3):
        ground.room = (ground.folder / JOURNAL_NAME).stat().st_size + int(ground.rng.integers(1, 60_000))
        workers = [ground.start() for _ in range(CROWD)]
        for worker in workers:
            worker.join(HANGS_AFTER)
            assert worker.exitcode is not None, "it hangs"
            ground.faults += worker.exitcode != 0
        ground.look()
    ground.room = None
    ground.conclude()


def torn_journal(ground: Ground) -> None:
    """All are killed, and of the last line that was written only a part reached the disk."""
    journal = ground.folder / JOURNAL_NAME
    for _ in range(4):
        workers = [ground.start() for _ in range(CROWD)]
        ground.pause(1.0)
        for worker in workers:
            worker.kill()
            worker.join()
        content = journal.read_bytes()
        begins = content.rstrip(b"\n").rfind(b"\n") + 1
        if len(content) - begins > 2:
            ground.look()
            os.truncate(journal, int(ground.rng.integers(begins + 1, len(content) - 1)))
            ground.faults += 1
            # What this line told nobody can know to have happened; it was about one trial.
            now = {record.id for record in read_run(ground.folder).records if record.state == "finished"}
            lost = ground.kept.keys() - now
            assert len(lost) <= 1, "more was lost than the line that was torn"
            ground.kept = {identity: record for identity, record in ground.kept.items() if identity not in lost}
        ground.look()
    ground.conclude()


def clock_set_back(ground: Ground) -> None:
    """The server's clock jumps by up to a day, back or forth, with every heartbeat; one worker is killed meanwhile."""
    beat = claims.HeartbeatClaims.beat
    jumps = "UPDATE trial_heartbeats SET heartbeat = heartbeat + :jump * INTERVAL '1 s' WHERE trial_id = :id"

    def jumping(mine: claims.HeartbeatClaims) -> None:
        from sqlalchemy import text

        beat(mine)
        if mine._trial_id is not None:
            with mine._engine.begin() as connection:
                jump = float(np.random.default_rng().uniform(-86400, 86400))
                connection.execute(text(jumps), {"jump": jump, "id": mine._trial_id})

    with patch.object(claims.HeartbeatClaims, "beat", jumping):
        workers = [ground.start() for _ in range(CROWD)]
        ground.pause(1.0)
        workers[0].kill()
        for worker in workers:
            worker.join(HANGS_AFTER)
        assert [worker.exitcode for worker in workers[1:]] == [0] * (CROWD - 1)
        ground.faults += 1
        ground.conclude()


def bad_candidates(ground: Ground) -> None:
    """A tenth of the networks each scores NaN, runs out of memory, or has its worker killed by the kernel."""

    def objective(arch: Architecture, seed: int, progress: Any, *, rung: int, folder: Path) -> Score:
        luck = chance(arch)
        if luck < 0.1:
            return Score(float("nan"), 0.0, "")
        if luck < 0.2:
            raise TrainingFailure("out of memory", "simulated")
        if luck < 0.3:
            os.kill(os.getpid(), signal.SIGKILL)
        return train(arch, seed, progress, rung=rung, folder=folder)

    ground.objective = objective
    with patch.object(store, "DEATHS", 2):
        workers: list[Any] = []
        while (alive := [worker for worker in workers if worker.is_alive()]) or ground.unfinished():
            if workers and any(worker.exitcode == 0 for worker in workers):
                break
            workers = [*alive, *(ground.start() for _ in range(CROWD - len(alive)))]
            multiprocessing.connection.wait([worker.sentinel for worker in workers], HANGS_AFTER)
        for worker in workers:
            worker.join(HANGS_AFTER)
        records = ground.conclude()
    for record in records:
        luck = chance(Architecture.from_dict(record.architecture))
        reasons = {"nan"} if luck < 0.1 else {"out of memory"} if luck < 0.2 else {store.KILLER, INTERRUPTED}
        assert record.state == "finished" if luck >= 0.3 and record.failure is None else record.failure in reasons
        ground.faults += record.failure is not None


def other_code(ground: Ground) -> None:
    """Workers with another version of the code or of the space want to join; three others work on."""
    workers = [ground.start() for _ in range(CROWD)]
    for number in range(6):
        ground.pause(0.2)
        if number % 2:
            wrong = patch.object(boostformer, "__version__", "0.0.0")
        else:
            wrong = patch("search.study.fingerprint.SAMPLES", 7)
        with wrong, tempfile.TemporaryDirectory() as elsewhere:
            assert ground.database is not None
            join(Path(elsewhere), ground.database)
            try:
                store.Store(Path(elsewhere), plan(), problem())
            except UserError:
                ground.faults += 1
            else:
                raise AssertionError("other code was let in")
    for worker in workers:
        worker.join(HANGS_AFTER)
    ground.conclude()


FAULTS: dict[str, tuple[Callable[[Ground], None], bool]] = {
    "kill -9 of workers, journal": (killed_workers, False),
    "kill -9 of workers, PostgreSQL": (killed_workers, True),
    "kill -9 of the parent": (killed_parent, False),
    "PostgreSQL restarted": (restarted_server, True),
    "disk full": (full_disk, False),
    "torn journal": (torn_journal, False),
    "clock set back": (clock_set_back, True),
    "NaN, out of memory, OOM kill, journal": (bad_candidates, False),
    "NaN, out of memory, OOM kill, PostgreSQL": (bad_candidates, True),
    "another version of code or space": (other_code, True),
}
"""What happens, and whether it needs the server."""


def disturb(name: str, server: Server | None, seed: int, trials: int = 60) -> Ground:
    """One search with this fault; AssertionError when anything was lost, done twice or hangs."""
    fault, needs_server = FAULTS[name]
    with hurried(), tempfile.TemporaryDirectory() as folder:
        ground = Ground(Path(folder) / "run", np.random.default_rng(seed), server if needs_server else None, trials)
        fault(ground)
        return ground


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", metavar="FAULT", nargs="*", default=list(FAULTS), help="one of " + "; ".join(FAULTS))
    parser.add_argument("--times", type=int, default=20, help="searches for each fault")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    print("| fault | searches | faults | trials finished | lost, done twice, hanging |")
    print("| --- | --- | --- | --- | --- |")
    with Server() as server:
        for name in arguments.names:
            done = [disturb(name, server, arguments.seed + number) for number in range(arguments.times)]
            faults, finished = sum(ground.faults for ground in done), sum(len(ground.kept) for ground in done)
            print(f"| {name} | {len(done)} | {faults} | {finished} | 0 |", flush=True)


if __name__ == "__main__":
    main()
