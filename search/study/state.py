"""`State`: which trainings of a run are done, which are left, and what is known of each network.

It is updated trial by trial, and looks at each ended trial once, so that a claim stays cheap after thousands.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from optuna.trial import FrozenTrial, TrialState

from boostformer.architecture import Architecture
from boostformer.errors import UserError
from boostformer.figures import Latency, Provenance
from results.known import Ancestor
from results.schema import read_trial
from results.trial import START, Parent, Status, Trial, TrialKey
from search.config.problem import Key, Problem
from search.strategies.history import Observation, ParentKey
from search.study.scheduler import Done, Scheduler, Step


@dataclass(frozen=True)
class Standing:
    """Progress of a run, in trainings.

    Attributes:
        target: about how many there will be: promotions depend on how many fail, and further seeds count when they
            have ended.
        iterations_left: in the trainings that are left, as approximate as ``target``; without further seeds.
        finished, failed: how many are.
        history: every network once, in the order of their first trials.
        owners: the workers of the running ones.
        interrupted: to be repeated before anything else.
        waiting: scored, but to be measured once their device is back.
        step: what comes next, after the interrupted ones.
        scheduler: its target is the number of networks begun, if fewer are asked for now.
    """

    target: int
    iterations_left: int
    finished: int
    failed: int
    history: list[Observation]
    owners: list[str]
    interrupted: list[TrialKey]
    waiting: list[TrialKey]
    step: Step
    scheduler: Scheduler

    @property
    def concluded(self) -> int:
        return self.finished + self.failed

    @property
    def is_complete(self) -> bool:
        """Tell whether nothing is left to do, nor being done."""
        return isinstance(self.step, Done) and not self.interrupted and not self.waiting


@dataclass(frozen=True)
class Scored:
    """Score of a training; ``weights`` is the digest of those that were stored, ``iou`` that of each class."""

    miou: float
    seconds: float
    provenance: str
    weights: str | None = None
    iou: tuple[float | None, ...] | None = None


@dataclass
class State:
    """A reader of a run's trials in the order of their numbers; each update is given all of them.

    Attributes:
        problem: the networks.
        scheduler: chooses what comes next.
        source: names the study in messages.
        provenance: of the run's latencies, if it has any.
        start: digest of the weights that the search begins with, if any.
        ancestors: networks of other runs that trainings may begin from, by the digest of their weights.
        architectures: every network that was tried.
        deaths: how many workers in a row died at a training without getting further.
        reached: iterations after which a training's state was saved when it was last taken over from a dead worker.
        scores: what is known of trainings that did not end.
        latencies: measured latency of a network, by any of its trials.
        ended: the trial that concluded each training.
        parents: what each training began from, by its last trial.
        stored: digests of the trained weights that are there.
        count: how many trials there are.
        used_up: whether there is no further network to begin.
    """

    problem: Problem
    scheduler: Scheduler
    source: str
    provenance: Provenance | None = None
    start: str | None = None
    ancestors: Mapping[str, Ancestor] = field(default_factory=dict)
    architectures: dict[str, Architecture] = field(default_factory=dict)
    deaths: dict[TrialKey, int] = field(default_factory=dict)
    reached: dict[TrialKey, int] = field(default_factory=dict)
    scores: dict[TrialKey, Scored] = field(default_factory=dict)
    latencies: dict[str, Latency] = field(default_factory=dict)
    ended: dict[TrialKey, Trial] = field(default_factory=dict)
    parents: dict[TrialKey, Parent | None] = field(default_factory=dict)
    stored: set[str] = field(default_factory=set)
    count: int = 0
    used_up: bool = False

    def __post_init__(self) -> None:
        self._read: set[int] = set()
        self._history: dict[str, Observation] = {}
        self._keys: dict[str, Key] = {}
        self._left: dict[TrialKey, Trial] = {}  # interrupted, or waiting for its device
        self._begun: list[Trial] = []

    def update(self, stored: Sequence[FrozenTrial]) -> Standing:
        """Take in what is new in the ``stored`` trials, which are all of the run's."""
        self.count = len(stored)
        running: dict[TrialKey, Trial] = {}
        owners = []
        for frozen in stored:
            if frozen.number in self._read:
                continue
            trial = read_trial(frozen, self.source)
            if trial is None:  # its worker died before it had a network
                continue
            self._meet(trial)
            if frozen.state is TrialState.RUNNING:
                running[trial.key] = trial
                owners.append(trial.owner)
                if trial.key not in self.ended:
                    self._observe(trial.key, Status.RUNNING)
            else:
                self._end(trial)
                self._read.add(frozen.number)
        left = {key: trial for key, trial in self._left.items() if key not in running and key not in self.ended}
        waiting = [trial for trial in left.values() if trial.status is Status.WAITING]
        self._begun = [*self.ended.values(), *running.values(), *waiting]
        interrupted = [trial.key for trial in left.values() if trial.status is Status.INTERRUPTED]
        return self._standing(owners, interrupted, waiting)

    def _standing(self, owners: list[str], interrupted: list[TrialKey], waiting: list[Trial]) -> Standing:
        seed = self.scheduler.seed
        begun = sum(self.scheduler.is_new(trial.key) for trial in self._begun)
        scheduler = replace(self.scheduler, target=max(self.scheduler.target, begun))
        most = scheduler.most_trainings()
        left_of = Counter(dict(enumerate(most)))
        left_of.subtract(key.rung for key in self.ended if key.seed == seed)
        counts = Counter(trial.status for trial in self.ended.values())
        return Standing(
            target=sum(most) + sum(key.seed != seed for key in self.ended),
            iterations_left=sum(
                count * scheduler.iterations(TrialKey("", rung, seed)) for rung, count in (+left_of).items()
            ),
            finished=counts[Status.FINISHED],
            failed=counts[Status.FAILED],
            history=self.history,
            owners=owners,
            interrupted=self._to_repeat(interrupted),
            waiting=[trial.key for trial in waiting],
            step=self.step(),
            scheduler=scheduler,
        )

    def step(self) -> Step:
        """Return what comes next, after the interrupted ones."""
        scheduler = replace(self.scheduler, target=0) if self.used_up else self.scheduler
        return scheduler.next_step(self._begun)

    def _to_repeat(self, interrupted: list[TrialKey]) -> list[TrialKey]:
        """Leave out networks beyond the number asked for, if that was lowered since."""
        room = self.scheduler.target - sum(self.scheduler.is_new(trial.key) for trial in self._begun)
        first = [key for key in interrupted if self.scheduler.is_new(key)]
        return [key for key in interrupted if key not in first or first.index(key) < room]

    def see(self, stored: set[str]) -> None:
        """Take in which trained weights are there: of the others' networks none can begin any more."""
        changed, self.stored = stored ^ self.stored, stored
        for arch_id, known in self._history.items() if changed else ():
            first = self.first(arch_id)
            if first is not None and first.weights in changed:
                self._history[arch_id] = replace(known, heritable=first.weights in stored)

    @property
    def history(self) -> list[Observation]:
        """Every network once, in the order of their first trials."""
        return list(self._history.values())

    def first(self, arch_id: str) -> Trial | None:
        """Return the first training of a network, if it is finished."""
        found = self.ended.get(TrialKey(arch_id, 0, self.scheduler.seed))
        return found if found is not None and found.is_finished else None

    def parent_of(self, key: TrialKey) -> Parent | None:
        """Return what a training began from, or would: what the network's first one did."""
        return self.parents.get(key, self.parents.get(TrialKey(key.arch_id, 0, self.scheduler.seed)))

    @property
    def finished(self) -> list[Trial]:
        """The trials that concluded trainings with a score."""
        return [trial for trial in self.ended.values() if trial.is_finished]

    @property
    def in_use(self) -> set[str]:
        """Digests of the weights of trainings that are begun and not ended: what they may begin from, or came to."""
        unended = self.parents.keys() - self.ended.keys()
        begun = {parent.weights for key in unended if (parent := self.parents[key]) is not None}
        scored = (self.scores[key].weights for key in unended if key in self.scores)
        return begun | {digest for digest in scored if digest is not None}

    def is_finished(self, key: TrialKey) -> bool:
        return key in self.ended and self.ended[key].is_finished

    def deaths_at(self, key: TrialKey, reached: int) -> int:
        """Return how many workers died in a row, if the training's state is saved after ``reached`` iterations now."""
        gained = 0 < self.reached.get(key, 0) < reached
        return 0 if gained else self.deaths.get(key, 0)

    def _meet(self, trial: Trial) -> None:
        """Keep what is known of the trial's network."""
        key, where = trial.key, f"{self.source}: trial {trial.number}"
        if key.rung >= len(self.scheduler.rungs):
            raise UserError(f"{where}: its rung is {key.rung}, the run has {len(self.scheduler.rungs)} from 0 on")
        if key.seed not in self.scheduler.seeds or trial.iterations not in (None, self.scheduler.rungs[key.rung]):
            raise UserError(f"{where}: no training of this run has seed {key.seed} and {trial.iterations} iterations")
        if trial.latency is not None:
            if self.provenance is None:
                raise UserError(f"{where}: has a latency, which the run does not ask for")
            self.provenance.require_same(trial.latency.provenance, where)
        if trial.parent is not None:
            self._check(trial, trial.parent, where)
        if key.arch_id not in self.architectures:
            arch = Architecture.from_dict(trial.architecture, where)
            try:
                self._keys[key.arch_id] = self.problem.key(arch)
            except UserError as error:
                raise UserError(f"{where}: {error}") from None
            self.architectures[key.arch_id] = arch
        if trial.latency is not None:
            self.latencies[key.arch_id] = trial.latency
        if trial.miou is not None and trial.seconds is not None:
            self.scores[key] = Scored(trial.miou, trial.seconds, trial.provenance, trial.weights, trial.iou)
        self.parents[key] = trial.parent

    def _check(self, trial: Trial, parent: Parent, where: str) -> None:
        if parent.id == START and parent.weights != self.start:
            raise UserError(f"{where}: begins from a start that is not the run's")
        if parent.id == START or parent.id in self.architectures or parent.weights in self.ancestors:
            return
        if trial.id not in self.scheduler.known:  # in the run that it is known from there was more
            raise UserError(f"{where}: begins from network {parent.id}, which no earlier trial has")

    def _end(self, trial: Trial) -> None:
        key = trial.key
        match trial.status:
            case Status.FINISHED:
                self.ended[key] = trial
                self._observe(key, Status.FINISHED, trial)
            case Status.INTERRUPTED | Status.WAITING:
                self._left[key] = trial
                self.deaths[key] = self.deaths_at(key, trial.reached) + trial.abandoned
                self.reached[key] = max(trial.reached, self.reached.get(key, 0))
                if key not in self.ended:
                    self._observe(key, Status.RUNNING)
            case Status.OVER_BUDGET:
                self._left.pop(key, None)
                self._observe(key, Status.OVER_BUDGET)
            case _ if not self.is_finished(key):  # late results count all the same
                self.ended[key] = trial
                self._observe(key, Status.FAILED)

    def _observe(self, key: TrialKey, status: Status, finished: Trial | None = None) -> None:
        """Tell strategies about comparable trainings only: a network's first, on the lowest rung."""
        if not self.scheduler.is_first(key):
            return
        # Predicted ones the problem knows itself.
        measured = self.latencies.get(key.arch_id) if self.problem.latency is None else None
        ms = None if measured is None else measured.ms
        known = self.parents.get(key)
        parent: ParentKey = None
        if known is not None:
            parent = START if known.id == START else self._keys.get(known.id)
        observed = Observation(self._keys[key.arch_id], status, None, ms, parent)
        if finished is not None:
            heritable = finished.weights in self.stored
            observed = replace(observed, miou=finished.miou, behind=finished.behind, heritable=heritable)
        self._history[key.arch_id] = observed
