"""Fault injection: each fault at many random moments of a search, and a check that nothing is lost.

`python benchmarks/faults.py [--times 20] [--seed 0] [FAULT …]`

Some 20 ms of work stand for a training. After every fault all trials that were finished must still be so. In the end
every network is finished once, or failed for its own fault, and none is left running. Heartbeats are fast here, so that
a busy machine also makes living workers look dead.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from unittest.mock import patch

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from disturbed import CROWD, HANGS_AFTER, Ground, chance, finished, hurried, train
from faults_of_database import clock_set_back, other_code, read_only_server, restarted_server
from faults_of_machine import disk, few_files, full_disk, power_loss, read_only, small_shared_memory
from faults_of_saving import power_loss_of_export, power_loss_of_retrain
from throwaway_postgresql import Server

from boostformer.architecture import Architecture
from boostformer.training import TrainingFailure
from evaluators.proxy import Score
from results.run import read_run
from results.storage.location import JOURNAL_NAME
from results.trial import Status, Trial
from search.study import claim

RUN_FILE = """\
space: tiny
data: {kind: scenes, size: 32x64, scenes: {training: 4, validation: 2}}
budgets: {params: 60k, macs: 6M}
proxy: {iterations: 4, batch_size: 2}
search: {strategy: random}
"""


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
    command = [sys.executable, "-m", "search.cli", "search", str(run_file), "--out", str(out), "--trials"]
    before: list[Trial] = []
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
        ground.pause(1.5)
        parent.kill()
        _, words = parent.communicate()  # its children hold the pipe too, so until they have ended
        trials = read_run(out).trials
        assert all(trial in trials for trial in before if trial.is_finished), "a finished trial was lost"
        assert all(trial.status is not Status.RUNNING for trial in trials), f"left running: {words[-4000:]}"
        before, ground.faults = trials, ground.faults + 1
    target = len(finished(before)) + 1
    subprocess.run([*command, str(target)], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=True)
    trials = read_run(out).trials
    ground.kept = finished(trials)
    assert len(ground.kept) == target, Counter(trial.reason or trial.status for trial in trials)


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
            lost = ground.kept.keys() - finished(read_run(ground.folder).trials).keys()
            assert len(lost) <= 1, "more was lost than the line that was torn"
            ground.kept = {arch_id: trial for arch_id, trial in ground.kept.items() if arch_id not in lost}
        ground.look()
    ground.conclude()


def bad_candidates(ground: Ground) -> None:
    """A tenth of the networks each scores NaN, runs out of memory, or has its worker killed by the kernel."""

    def evaluate(arch: Architecture, seed: int, progress: Any, *, rung: int, folder: Path, start: Any = None) -> Score:
        luck = chance(arch)
        if luck < 0.1:
            return Score(float("nan"), 0.0, "")
        if luck < 0.2:
            raise TrainingFailure("out of memory", "simulated")
        if luck < 0.3:
            os.kill(os.getpid(), signal.SIGKILL)
        return train(arch, seed, progress, rung=rung, folder=folder)

    ground.evaluate = evaluate
    with patch.object(claim, "DEATHS", 2):
        workers: list[Any] = []
        while (alive := [worker for worker in workers if worker.is_alive()]) or ground.unfinished():
            if workers and any(worker.exitcode == 0 for worker in workers):
                break
            workers = [*alive, *(ground.start() for _ in range(CROWD - len(alive)))]
            multiprocessing.connection.wait([worker.sentinel for worker in workers], HANGS_AFTER)
        for worker in workers:
            worker.join(HANGS_AFTER)
        trials = ground.conclude()
    for trial in trials:
        luck = chance(Architecture.from_dict(trial.architecture))
        if trial.is_finished:
            assert luck >= 0.3
            continue
        ground.faults += 1
        if trial.status is Status.INTERRUPTED:
            assert luck >= 0.2
        else:
            assert trial.reason == ("nan" if luck < 0.1 else "out of memory" if luck < 0.2 else claim.KILLER)


def stopped_workers(ground: Ground) -> None:
    """SIGSTOP of one of three workers at any moment, the turn in its hand or not; it goes on after a while."""
    workers = [ground.start() for _ in range(CROWD)]
    for _ in range(5):
        ground.pause()
        victim = workers[int(ground.rng.integers(CROWD))]
        if not victim.is_alive():
            continue
        os.kill(victim.pid, signal.SIGSTOP)
        ground.faults += 1
        ground.pause()
        ground.look()
        os.kill(victim.pid, signal.SIGCONT)
    for worker in workers:
        worker.join(HANGS_AFTER)
        assert worker.exitcode == 0, f"a worker ended with {worker.exitcode}: {ground.said.read_text()[-4000:]}"
    ground.conclude()


FAULTS: dict[str, tuple[Callable[[Ground], None], bool]] = {
    "kill -9 of workers, journal": (killed_workers, False),
    "kill -9 of workers, PostgreSQL": (killed_workers, True),
    "kill -9 of the parent": (killed_parent, False),
    "PostgreSQL restarted": (restarted_server, True),
    "PostgreSQL read-only": (read_only_server, True),
    "disk full": (full_disk, False),
    "torn journal": (torn_journal, False),
    "clock set back": (clock_set_back, True),
    "NaN, out of memory, OOM kill, journal": (bad_candidates, False),
    "NaN, out of memory, OOM kill, PostgreSQL": (bad_candidates, True),
    "SIGSTOP of workers, journal": (stopped_workers, False),
    "SIGSTOP of workers, PostgreSQL": (stopped_workers, True),
    "few open files, journal": (few_files, False),
    "small shared memory": (small_shared_memory, False),
    "read-only file system": (read_only, False),
    "power loss": (power_loss, False),
    "power loss, retrain": (power_loss_of_retrain, False),
    "power loss, export": (power_loss_of_export, False),
    "another version of code or space": (other_code, True),
}
"""What happens, and whether it needs the server."""
ON_DISK = {"power loss", "power loss, retrain", "power loss, export"}
"""Those with a disk of their own."""
NEED_ROOT = {"read-only file system", "small shared memory", *ON_DISK}
"""Those that mount something."""


def disturb(name: str, server: Server | None, seed: int, trials: int = 60) -> Ground:
    """One search with this fault; AssertionError when anything was lost, done twice or hangs."""
    fault, needs_server = FAULTS[name]
    with hurried(), tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        place = stack.enter_context(disk(Path(folder))) if name in ON_DISK else Path(folder)
        ground = Ground(place / "run", np.random.default_rng(seed), server if needs_server else None, trials)
        fault(ground)
        return ground


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", metavar="FAULT", nargs="*", default=list(FAULTS), help="one of " + "; ".join(FAULTS))
    parser.add_argument("--times", type=int, default=20, help="searches for each fault")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--trials", type=int, default=60, help="networks of each search")
    arguments = parser.parse_args()
    print("| fault | searches | faults | trials finished | lost, done twice, hanging |")
    print("| --- | --- | --- | --- | --- |")
    with Server() as server:
        for name in arguments.names:
            done = [
                disturb(name, server, arguments.seed + number, arguments.trials) for number in range(arguments.times)
            ]
            faults, finished = sum(ground.faults for ground in done), sum(len(ground.kept) for ground in done)
            print(f"| {name} | {len(done)} | {faults} | {finished} | 0 |", flush=True)


if __name__ == "__main__":
    main()
