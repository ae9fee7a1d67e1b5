"""A search to be disturbed: its workers, and the checks that must still hold after every fault."""

from __future__ import annotations

import hashlib
import os
import resource
import sys
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from scale import FORK, Ready, open_search
from throwaway_postgresql import Server

from boostformer.architecture import Architecture
from evaluators.proxy import Score
from results.run import read_run
from results.storage.location import Database
from results.trial import Status, Trial
from search.config.opening import OpenExperiment
from search.study import claim, leases, retry
from search.study.folder import set_up
from search.worker.loop import work

CROWD = 3
"""Workers of a search that is disturbed."""
HANGS_AFTER = 300.0
"""Seconds; nothing here takes a tenth of it."""


@cache
def opened() -> OpenExperiment:
    return open_search("random", "tiny")


@contextmanager
def hurried() -> Iterator[None]:
    """For this process and those it forks: fast hearts, short pauses, tables made once; no network is blamed."""
    opened()
    with (
        patch.object(leases, "BEAT_SECONDS", 0.05),
        patch.object(leases, "POLL_SECONDS", 0.02),
        patch.object(leases, "LOCAL_POLL_SECONDS", 0.02),
        patch.object(retry, "PAUSES", (0.02, 0.1)),
        patch.object(claim, "DEATHS", 10**6),
    ):
        yield


@dataclass(frozen=True)
class Simulated:
    """An evaluator that keeps nothing on disk."""

    evaluate: Callable[..., Score]

    def tidy(self, folder: Path, rung: int) -> None:
        """Nothing was left."""


def train(arch: Architecture, seed: int, progress: Any, *, rung: int, folder: Path, start: Any = None) -> Score:
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
    evaluate: Callable[..., Score] = train
    kept: dict[str, Trial] = field(default_factory=dict)
    faults: int = 0
    together: Any = None
    """A barrier at which its workers wait before they begin."""
    room: int | None = None
    """No worker that is started from now on can make a file larger, in bytes."""

    descriptors: int | None = None
    """No worker that is started from now on can have more files open."""

    def __post_init__(self) -> None:
        self.said = self.folder.with_name("stderr.txt")
        self.database = Database(self.server.url, uuid.uuid4().hex) if self.server else None
        set_up(self.folder, opened(), self.trials, self.database)

    def start(self) -> Any:
        process = FORK.Process(target=self._work)
        process.start()
        return process

    def _work(self) -> None:
        with self.said.open("a") as file:  # the tracebacks of faults that are meant to be too
            os.dup2(file.fileno(), 2)
            sys.stderr = os.fdopen(2, "w", buffering=1, closefd=False)  # that of a test writes elsewhere
            if self.room is not None:
                resource.setrlimit(resource.RLIMIT_FSIZE, (self.room, self.room))
            if self.descriptors is not None:
                resource.setrlimit(resource.RLIMIT_NOFILE, (self.descriptors, self.descriptors))
            work(opened(), self.folder, Ready(self.together), Simulated(self.evaluate))

    def pause(self, longest: float = 0.5) -> None:
        time.sleep(self.rng.uniform(0, longest))

    def look(self) -> list[Trial]:
        """The trials, after asserting that each is still finished that ever was seen so."""
        trials = read_run(self.folder).trials
        now = finished(trials)
        assert all(now.get(arch_id) == trial for arch_id, trial in self.kept.items()), "a finished trial was lost"
        self.kept = now
        return trials

    def unfinished(self) -> bool:
        return len(self.look()) == 0 or len(self.kept) < self.trials

    def conclude(self) -> list[Trial]:
        """Lets one more worker do what is left, undisturbed; the trials of an end that is as it should be."""
        process = self.start()
        process.join(HANGS_AFTER)
        hangs = process.is_alive()
        process.kill()
        process.join()
        assert not hangs, "it hangs"
        assert process.exitcode == 0, f"the last worker ended with {process.exitcode}: {self.said.read_text()[-4000:]}"
        trials = self.look()
        assert all(trial.status is not Status.RUNNING for trial in trials), "left running"
        ended = [trial for trial in trials if trial.status is not Status.INTERRUPTED]
        # On a busy machine a network is blamed for a worker that was only slow, and finished all the same.
        ended = [trial for trial in ended if not (trial.reason == claim.KILLER and trial.id in self.kept)]
        assert max(Counter(trial.id for trial in ended).values()) == 1, "done twice"
        assert len(ended) == self.trials, f"{len(ended)} of {self.trials} ended"
        networks = [Architecture.from_dict(trial.architecture) for trial in trials]
        assert all(map(opened().problem.affords, networks)), "over budget"
        return trials


def finished(trials: Iterable[Trial]) -> dict[str, Trial]:
    """The finished ones by their networks."""
    return {trial.id: trial for trial in trials if trial.is_finished}
