"""The run's study as its workers share it: who tries what, claimed one at a time, given back by the dead.

Every worker holds the lock ``RUN_DIR/workers/<token>.lock`` while it lives, and writes its token into the
trials it claims. A running trial whose owner's lock is free was left by a dead process: it is recorded as
interrupted, and its architecture is the next to be tried. Claims take turns through ``propose.lock``, so that
no two workers claim the same architecture, nor more than the run's number of trials.
"""

from __future__ import annotations

import os
import socket
import uuid
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

import optuna
from optuna.trial import FrozenTrial, TrialState, create_trial

from boostformer.architecture import Architecture
from evaluators.latency.backend import Latency
from evaluators.proxy import Score
from results.journal import STUDY_NAME, open_storage
from results.locks import FileLock, is_held
from results.record import Record
from search.parameters import parameters
from search.problem import Exhausted, Observation, Problem

optuna.logging.set_verbosity(optuna.logging.WARNING)

INTERRUPTED = "interrupted"
WAITING, REJECTED = "waiting: ", "over budget: "
"""How the failure of a trial begins whose device could not be reached, and of one that was measured over budget."""
PROPOSE_LOCK, WORKERS = "propose.lock", "workers"
_TRIAL_STATES = {"finished": TrialState.COMPLETE, "failed": TrialState.FAIL}


@dataclass(frozen=True)
class Standing:
    """How far a run is. ``history`` has every architecture once, in the order of their first trials."""

    target: int
    finished: int
    failed: int
    history: list[Observation]
    owners: list[str]
    interrupted: list[Architecture]
    waiting: list[Architecture]
    """Scored, but to be measured once their device is back."""

    @property
    def concluded(self) -> int:
        return self.finished + self.failed


@dataclass(frozen=True)
class Ticket:
    """A claimed trial. ``patient``: there is nothing else to do than to wait for its device."""

    number: int
    trial_id: int
    architecture: Architecture
    record: Record
    patient: bool = False


class Store:
    """One worker's access to a run; a context manager, in which the worker counts as alive."""

    def __init__(self, run_dir: Path, problem: Problem, seed: int) -> None:
        self.run_dir, self.problem, self.seed = run_dir, problem, seed
        self.token = f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
        # The storage alone: a study would only add a sampler, which is never asked.
        self._storage = open_storage(run_dir)
        self._study_id = self._storage.get_study_id_from_name(STUDY_NAME)
        self._architectures: dict[str, Architecture] = {}
        self._alive = ExitStack()

    def __enter__(self) -> Store:
        self._alive.enter_context(FileLock(self._lock_of(self.token)))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Gives back what was claimed and not ended, as it is on Ctrl-C and when something is broken."""
        for trial in self._running():
            if trial.user_attrs["owner"] == self.token:
                self._interrupt(trial)
        self._lock_of(self.token).unlink()
        self._alive.close()

    def standing(self) -> Standing:
        """How far the run is now, once the trials of dead workers have been recorded as interrupted."""
        with FileLock(self.run_dir / PROPOSE_LOCK):
            return self._standing()

    def _standing(self) -> Standing:
        for trial in self._running():
            lock = self._lock_of(trial.user_attrs["owner"])
            if not is_held(lock):
                self._interrupt(trial)
                lock.unlink(missing_ok=True)
        trials = self._storage.get_all_trials(self._study_id, deepcopy=False)
        found: dict[str, Observation] = {}
        owners = []
        for trial in trials:
            arch = self._architecture(trial)
            # Predicted ones the problem knows itself.
            ms = trial.user_attrs["latency_ms"] if self.problem.latency is None else None
            if trial.state is TrialState.COMPLETE:
                found[arch.id] = Observation(arch, "finished", trial.user_attrs["miou"], ms)
            elif trial.state is TrialState.RUNNING:
                owners.append(trial.user_attrs["owner"])
                found[arch.id] = Observation(arch, "running", latency_ms=ms)
            elif trial.user_attrs["failure"].startswith(REJECTED):
                found[arch.id] = Observation(arch, "rejected", latency_ms=ms)
            elif not _to_repeat(trial):
                found[arch.id] = Observation(arch, "failed", latency_ms=ms)
            else:
                found.setdefault(arch.id, Observation(arch, "running", latency_ms=ms))
        states = [observation.state for observation in found.values()]
        taken = {_id(trial) for trial in trials if trial.state is TrialState.RUNNING}
        left = {i: o.architecture for i, o in found.items() if o.state == "running" and i not in taken}
        waiting = {_id(trial) for trial in trials if _waits(trial)}
        return Standing(
            target=self._storage.get_study_user_attrs(self._study_id)["trials"],
            finished=states.count("finished"),
            failed=states.count("failed"),
            history=list(found.values()),
            owners=owners,
            interrupted=[arch for i, arch in left.items() if i not in waiting],
            waiting=[arch for i, arch in left.items() if i in waiting],
        )

    def claim(self, propose: Callable[[Sequence[Observation]], Architecture]) -> Ticket | None:
        """The next trial to be run, or None when all are concluded.

        When the only trials left are being run by others, waits until they end or die. Raises what ``propose``
        raises when there is nothing more to try, once none waits for its device.
        """
        while True:
            with FileLock(self.run_dir / PROPOSE_LOCK):
                standing = self._standing()
                begun = standing.concluded + len(standing.owners)
                if begun + len(standing.waiting) < standing.target:
                    try:
                        return self._create((standing.interrupted or [propose(standing.history)])[0])
                    except Exhausted:
                        if not standing.waiting:
                            raise
                if begun < standing.target:
                    return self._create(standing.waiting[0], patient=True)
            if not standing.owners:
                return None
            # Nobody waits who has a trial, so these waits never form a ring.
            is_held(self._lock_of(standing.owners[0]), wait=True)

    def finish(self, ticket: Ticket, score: Score) -> Record:
        return self._end(ticket, "finished", miou=score.miou, seconds=score.seconds, provenance=score.provenance)

    def fail(self, ticket: Ticket, reason: str, seconds: float) -> Record:
        """Ends a trial that cannot be trained: it counts as tried and is not repeated."""
        return self._end(ticket, "failed", failure=reason, seconds=seconds)

    def scored(self, ticket: Ticket, score: Score) -> Ticket:
        """Records a score before anything else that may take long; the ticket with it."""
        return self._told(ticket, {"miou": score.miou, "seconds": score.seconds, "provenance": score.provenance})

    def measured(self, ticket: Ticket, latency: Latency) -> Ticket:
        """Records a latency; the ticket with it."""
        return self._told(ticket, _latency_values(latency))

    def _told(self, ticket: Ticket, values: dict[str, Any]) -> Ticket:
        for name, value in values.items():
            self._storage.set_trial_user_attr(ticket.trial_id, name, value)
        return replace(ticket, record=replace(ticket.record, **values))

    def reject(self, ticket: Ticket, reason: str) -> Record:
        """Ends a trial whose network was measured over budget: it is not repeated, and does not count as tried."""
        return self._end(ticket, "failed", failure=REJECTED + reason, feasible=False)

    def postpone(self, ticket: Ticket, reason: str) -> Record:
        """Ends a trial that is scored, to be repeated for its latency alone once the device is back."""
        return self._end(ticket, "failed", failure=WAITING + reason)

    def _create(self, arch: Architecture, *, patient: bool = False) -> Ticket:
        cost = self.problem.table.cost(arch)
        known = self._known(arch)
        if self.problem.latency is not None:
            known |= _latency_values(self.problem.latency.latency(arch))
        violations = self.problem.violations(arch, known.get("latency_ms"))
        record = Record(
            trial=-1,
            id=arch.id,
            state="running",
            architecture=arch.to_dict(),
            params=cost.params,
            macs=cost.macs,
            conv_linear_macs=cost.conv_linear_macs,
            attention_macs=cost.attention_macs,
            feasible=all(violation <= 0 for violation in violations.values()),
            seed=self.seed,
            **known,
        )
        params, distributions = parameters(self.problem.space, arch)
        # One operation of the journal: the trial exists with its owner and constraints, or not at all.
        trial_id = self._storage.create_new_trial(
            self._study_id,
            create_trial(
                state=TrialState.RUNNING,
                params=params,
                distributions=distributions,
                user_attrs=record.attributes() | {"owner": self.token},
                constraints=violations,
            ),
        )
        number = self._storage.get_trial_number_from_id(trial_id)
        return Ticket(number, trial_id, arch, record, patient)

    def _known(self, arch: Architecture) -> dict[str, Any]:
        """What earlier trials of the same network found out before they were interrupted or had to wait."""
        found: dict[str, Any] = {}
        for trial in self._storage.get_all_trials(self._study_id, deepcopy=False, states=(TrialState.FAIL,)):
            if _id(trial) == arch.id:
                kept = {name: trial.user_attrs.get(name) for name in (*_LATENCY, *_SCORE)}
                for names in (_LATENCY, _SCORE):
                    if all(kept[name] not in (None, "") for name in names):
                        found |= {name: kept[name] for name in names}
        return found

    def _end(self, ticket: Ticket, state: Literal["finished", "failed"], **values: Any) -> Record:
        for name, value in values.items():
            self._storage.set_trial_user_attr(ticket.trial_id, name, value)
        objectives = None
        if state == "finished":
            objectives = self.problem.values(ticket.architecture, values["miou"], ticket.record.latency_ms)
        self._storage.set_trial_state_values(ticket.trial_id, _TRIAL_STATES[state], objectives)
        return Record(**(vars(ticket.record) | {"trial": ticket.number, "state": state} | values))

    def _interrupt(self, trial: FrozenTrial) -> None:
        self._storage.set_trial_user_attr(trial._trial_id, "failure", INTERRUPTED)
        self._storage.set_trial_state_values(trial._trial_id, TrialState.FAIL)

    def _running(self) -> list[FrozenTrial]:
        return self._storage.get_all_trials(self._study_id, deepcopy=False, states=(TrialState.RUNNING,))

    def _architecture(self, trial: FrozenTrial) -> Architecture:
        if (known := self._architectures.get(_id(trial))) is None:
            known = Architecture.from_dict(trial.user_attrs["architecture"], f"trial {trial.number}")
            self._architectures[_id(trial)] = known
        return known

    def _lock_of(self, token: str) -> Path:
        return self.run_dir / WORKERS / f"{token}.lock"


_LATENCY = ("latency_ms", "latency_low_ms", "latency_high_ms", "latency_provenance", "latency_state")
_SCORE = ("miou", "seconds", "provenance")


def _latency_values(latency: Latency) -> dict[str, Any]:
    values = (latency.ms, latency.low_ms, latency.high_ms, latency.provenance, latency.state)
    return dict(zip(_LATENCY, values, strict=True))


def _waits(trial: FrozenTrial) -> bool:
    return trial.state is TrialState.FAIL and trial.user_attrs["failure"].startswith(WAITING)


def _to_repeat(trial: FrozenTrial) -> bool:
    return trial.user_attrs["failure"] == INTERRUPTED or _waits(trial)


def _id(trial: FrozenTrial) -> str:
    identity: str = trial.user_attrs["id"]
    return identity
