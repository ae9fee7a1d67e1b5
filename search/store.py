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
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

import optuna
from optuna.trial import FrozenTrial, TrialState, create_trial

from boostformer.architecture import Architecture
from boostformer.errors import UserError
from evaluators.proxy import Score
from results.journal import JOURNAL_NAME, STUDY_NAME, open_storage
from results.locks import FileLock, is_held
from results.record import Record, open_study
from search.parameters import directions, parameters
from search.plan import Plan, difference
from search.problem import Observation, Problem

optuna.logging.set_verbosity(optuna.logging.WARNING)

INTERRUPTED = "interrupted"
PROPOSE_LOCK, WORKERS = "propose.lock", "workers"
_TRIAL_STATES = {"finished": TrialState.COMPLETE, "failed": TrialState.FAIL}
_OURS = {JOURNAL_NAME, PROPOSE_LOCK, WORKERS}


def set_up(run_dir: Path, plan: Plan, trials: int, references: Sequence[dict[str, Any]]) -> None:
    """Makes ``run_dir`` a run of ``plan`` with a target of ``trials``, or checks that it is one already.

    Raises :class:`UserError` when it is a run of another plan, holds other files, or cannot be written.
    """
    try:
        run_dir.mkdir(parents=True, exist_ok=True)
        foreign = {entry.name for entry in run_dir.iterdir()} - _OURS
        if foreign and not (run_dir / JOURNAL_NAME).exists():
            raise UserError(f"{run_dir}: not a run directory, and not empty ({min(foreign)}); choose another --out")
        (run_dir / WORKERS).mkdir(exist_ok=True)
        with FileLock(run_dir / PROPOSE_LOCK):
            _set_up(run_dir, plan, trials, references)
    except FileExistsError:
        raise UserError(f"{run_dir}: not a directory; --out names the run's folder") from None
    except OSError as error:
        raise UserError(f"{run_dir}: cannot be written: {error.strerror}") from None


def _set_up(run_dir: Path, plan: Plan, trials: int, references: Sequence[dict[str, Any]]) -> None:
    config = plan.to_dict()
    storage = open_storage(run_dir, create=True)
    try:
        attributes = storage.get_study_user_attrs(storage.get_study_id_from_name(STUDY_NAME))
    except KeyError:
        attributes = {}
    if "config" in attributes and (differs := difference(attributes["config"], config)):
        raise UserError(f"{run_dir}: holds a search with another configuration: {differs}; choose another --out")
    study = optuna.create_study(
        study_name=STUDY_NAME, storage=storage, directions=directions(plan.objectives), load_if_exists=True
    )
    study.set_user_attr("trials", trials)
    if "config" not in attributes:
        study.set_user_attr("objectives", list(plan.objectives))
        study.set_user_attr("budgets", plan.budget.to_dict())
        study.set_user_attr("references", list(references))
        study.set_user_attr("config", config)  # last: without it, a run was not set up completely


def read_plan(run_dir: Path) -> Plan:
    """The plan of an existing run."""
    attributes = open_study(run_dir).user_attrs
    if "config" not in attributes:
        raise UserError(f"{run_dir}: the run was never set up completely; start the search again")
    return Plan.from_dict(attributes["config"], str(run_dir / JOURNAL_NAME))


@dataclass(frozen=True)
class Standing:
    """How far a run is. ``history`` has every architecture once, in the order of their first trials."""

    target: int
    finished: int
    failed: int
    history: list[Observation]
    owners: list[str]
    interrupted: list[Architecture]

    @property
    def concluded(self) -> int:
        return self.finished + self.failed


@dataclass(frozen=True)
class Ticket:
    """A claimed trial."""

    number: int
    trial_id: int
    architecture: Architecture
    record: Record


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
            if trial.state is TrialState.COMPLETE:
                found[arch.id] = Observation(arch, "finished", trial.user_attrs["miou"])
            elif trial.state is TrialState.RUNNING:
                owners.append(trial.user_attrs["owner"])
                found[arch.id] = Observation(arch, "running")
            elif trial.user_attrs["failure"] != INTERRUPTED:
                found[arch.id] = Observation(arch, "failed")
            else:
                found.setdefault(arch.id, Observation(arch, "running"))
        states = [observation.state for observation in found.values()]
        running = {arch_id for arch_id in map(_id, trials) if found[arch_id].state == "running"}
        taken = {_id(trial) for trial in trials if trial.state is TrialState.RUNNING}
        return Standing(
            target=self._storage.get_study_user_attrs(self._study_id)["trials"],
            finished=states.count("finished"),
            failed=states.count("failed"),
            history=list(found.values()),
            owners=owners,
            interrupted=[o.architecture for i, o in found.items() if i in running - taken],
        )

    def claim(self, propose: Callable[[Sequence[Observation]], Architecture]) -> Ticket | None:
        """The next trial to be run, or None when all are concluded.

        When the only trials left are being run by others, waits until they end or die.
        """
        while True:
            with FileLock(self.run_dir / PROPOSE_LOCK):
                standing = self._standing()
                if standing.concluded + len(standing.owners) < standing.target:
                    return self._create((standing.interrupted or [propose(standing.history)])[0])
            if not standing.owners:
                return None
            # Nobody waits who has a trial, so these waits never form a ring.
            is_held(self._lock_of(standing.owners[0]), wait=True)

    def finish(self, ticket: Ticket, score: Score) -> Record:
        return self._end(ticket, "finished", miou=score.miou, seconds=score.seconds, provenance=score.provenance)

    def fail(self, ticket: Ticket, reason: str, seconds: float) -> Record:
        """Ends a trial that cannot be trained: it counts as tried and is not repeated."""
        return self._end(ticket, "failed", failure=reason, seconds=seconds)

    def _create(self, arch: Architecture) -> Ticket:
        cost = self.problem.table.cost(arch)
        violations = self.problem.violations(arch)
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
        return Ticket(number, trial_id, arch, record)

    def _end(self, ticket: Ticket, state: Literal["finished", "failed"], **values: Any) -> Record:
        for name, value in values.items():
            self._storage.set_trial_user_attr(ticket.trial_id, name, value)
        objectives = None
        if state == "finished":
            objectives = self.problem.values(ticket.architecture, values["miou"])
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


def _id(trial: FrozenTrial) -> str:
    identity: str = trial.user_attrs["id"]
    return identity
