"""What the trials of a run add up to: which trainings are done, which are left, and what is known of each network.

A :class:`Ledger` is kept up to date trial by trial, each ended one being looked at once, so that a claim stays cheap
after thousands of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from boostformer.architecture import Architecture
from results.pareto import OBJECTIVES
from results.storage.location import INTERRUPTED, attributes
from search.config.problem import Problem
from search.strategies.base import Key, Observation
from search.study.scheduler import Ladder, Step, Training, most_trainings, next_step

WAITING, REJECTED = "waiting: ", "over budget: "
"""How the failure of a trial begins whose device could not be reached, and of one that was measured over budget."""
LATENCY = ("latency_ms", "latency_low_ms", "latency_high_ms", "latency_provenance", "latency_state")
SCORE = ("miou", "seconds", "provenance")


@dataclass(frozen=True)
class Job:
    """One training of one network; a trial is a try at it."""

    id: str
    rung: int
    seed: int


@dataclass(frozen=True)
class Standing:
    """How far a run is, in trainings; ``history`` has every network once, in the order of their first trials."""

    target: int
    """About how many there will be: promotions depend on how many fail. Further seeds count when they have ended."""
    iterations_left: int
    """Of the trainings that are left of about so many; those of further seeds are not known before."""
    finished: int
    failed: int
    history: list[Observation]
    owners: list[str]
    """The workers of the running ones."""
    interrupted: list[Job]
    waiting: list[Job]
    """Scored, but to be measured once their device is back."""
    step: Step
    """What comes next, after the interrupted ones."""
    ladder: Ladder
    """Its target is what was begun, should fewer be asked for now."""

    @property
    def concluded(self) -> int:
        return self.finished + self.failed

    @property
    def is_complete(self) -> bool:
        """Whether nothing is left to do, nor being done."""
        return self.step.do == "end" and not self.interrupted and not self.waiting


@dataclass
class Ledger:
    """Reads trials in the order of their numbers; told all of them again and again."""

    problem: Problem
    ladder: Ladder
    architectures: dict[str, Architecture] = field(default_factory=dict)
    deaths: dict[Job, int] = field(default_factory=dict)
    """How many workers in a row died at a job that got no further."""
    reached: dict[Job, int] = field(default_factory=dict)
    """After how many iterations a job's state was saved when it was last taken over from the dead."""
    known: dict[Job, dict[str, Any]] = field(default_factory=dict)
    """The score that a job had before it was interrupted or had to wait."""
    latencies: dict[str, dict[str, Any]] = field(default_factory=dict)
    """What was measured of a network, by any of its trials."""
    ended: dict[Job, Training] = field(default_factory=dict)
    trials: int = 0
    """How many there are."""
    used_up: bool = False
    """There is no further network to begin."""

    def __post_init__(self) -> None:
        self._read: set[int] = set()
        self._history: dict[str, Observation] = {}
        self._keys: dict[str, Key] = {}
        self._left: dict[Job, bool] = {}  # whether it waits for its device; else it was interrupted
        self._begun: list[Training] = []

    def update(self, trials: Sequence[FrozenTrial]) -> Standing:
        self.trials = len(trials)
        running: dict[Job, Training] = {}
        owners = []
        for trial in trials:
            if trial.number in self._read:
                continue
            found = attributes(trial)
            job = self._meet(trial, found)
            if trial.state is TrialState.RUNNING:
                running[job] = Training(*_fields(job), "running")
                owners.append(found["owner"])
                if job not in self.ended:
                    self._observe(job, "running")
            else:
                self._end(job, trial, found)
                self._read.add(trial.number)
        left = {job: waits for job, waits in self._left.items() if job not in running and job not in self.ended}
        waiting = [job for job, waits in left.items() if waits]
        waits = [Training(*_fields(job), "running") for job in waiting]
        self._begun = [*self.ended.values(), *running.values(), *waits]
        states = [training.state for training in self.ended.values()]
        begun = sum(self._is_first(training) for training in self._begun)
        ladder = replace(self.ladder, target=max(self.ladder.target, begun))
        most = most_trainings(ladder)
        left_of = Counter(dict(enumerate(most)))
        left_of.subtract(job.rung for job in self.ended if job.seed == self.ladder.seed)
        return Standing(
            target=sum(most) + sum(job.seed != self.ladder.seed for job in self.ended),
            iterations_left=sum(
                count * self.ladder.iterations(rung, self.ladder.seed) for rung, count in (+left_of).items()
            ),
            finished=states.count("finished"),
            failed=states.count("failed"),
            history=list(self._history.values()),
            owners=owners,
            interrupted=self._to_repeat([job for job, waits in left.items() if not waits]),
            waiting=waiting,
            step=self.step(),
            ladder=ladder,
        )

    def step(self) -> Step:
        """What comes next, after the interrupted ones."""
        ladder = replace(self.ladder, target=0) if self.used_up else self.ladder
        return next_step(self._begun, ladder)

    def _to_repeat(self, interrupted: list[Job]) -> list[Job]:
        """All but those networks that would be more than the run was asked for, since it is asked for fewer now."""
        room = self.ladder.target - sum(self._is_first(training) for training in self._begun)
        first = [job for job in interrupted if self._is_first(job)]
        return [job for job in interrupted if job not in first or first.index(job) < room]

    def _is_first(self, job: Job | Training) -> bool:
        """Whether it is the training that every network begins with."""
        return (job.rung, job.seed) == (0, self.ladder.seed)

    def is_finished(self, job: Job) -> bool:
        return job in self.ended and self.ended[job].state == "finished"

    def deaths_at(self, job: Job, reached: int) -> int:
        """How many died in a row, if the job's state is saved after ``reached`` iterations now."""
        gained = 0 < self.reached.get(job, 0) < reached
        return 0 if gained else self.deaths.get(job, 0)

    def job(self, trial: FrozenTrial) -> Job:
        return _job(attributes(trial))

    def _meet(self, trial: FrozenTrial, found: dict[str, Any]) -> Job:
        """The trial's job, and what is known of its network from now on."""
        job = _job(found)
        if job.id not in self.architectures:
            arch = Architecture.from_dict(found["architecture"], f"trial {trial.number}")
            self.architectures[job.id], self._keys[job.id] = arch, self.problem.key(arch)
        if all(found.get(name) not in (None, "") for name in LATENCY):
            self.latencies[job.id] = {name: found[name] for name in LATENCY}
        if all(found.get(name) not in (None, "") for name in SCORE):
            self.known[job] = {name: found[name] for name in SCORE}
        return job

    def _end(self, job: Job, trial: FrozenTrial, found: dict[str, Any]) -> None:
        failure = found.get("failure") or ""
        if trial.state is TrialState.COMPLETE:
            values = self.problem.values(self.architectures[job.id], found["miou"], found.get("latency_ms"))
            signs = (OBJECTIVES[name] for name in self.problem.objectives)
            minimised = tuple(sign * value for sign, value in zip(signs, values, strict=True))
            self.ended[job] = Training(*_fields(job), "finished", minimised)
            self._observe(job, "finished", found["miou"])
        elif failure == INTERRUPTED or failure.startswith(WAITING):
            self._left[job] = failure != INTERRUPTED
            self.deaths[job] = self.deaths_at(job, found.get("reached", 0)) + ("end" not in trial.user_attrs)
            self.reached[job] = max(found.get("reached", 0), self.reached.get(job, 0))
            if job not in self.ended:
                self._observe(job, "running")
        elif failure.startswith(REJECTED):
            self._left.pop(job, None)
            self._observe(job, "rejected")
        elif not self.is_finished(job):  # late results count all the same
            self.ended[job] = Training(*_fields(job), "failed")
            self._observe(job, "failed")

    def _observe(self, job: Job, state: Any, miou: float | None = None) -> None:
        """Strategies compare what all networks have: the first training, of the shortest kind."""
        if not self._is_first(job):
            return
        # Predicted ones the problem knows itself.
        ms = self.latencies.get(job.id, {}).get("latency_ms") if self.problem.latency is None else None
        self._history[job.id] = Observation(self._keys[job.id], state, miou, ms)


def _job(found: dict[str, Any]) -> Job:
    return Job(found["id"], found.get("rung", 0), found["seed"])


def _fields(job: Job) -> tuple[str, int, int]:
    return job.id, job.rung, job.seed
