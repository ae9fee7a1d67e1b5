"""The run's study as its workers share it: who tries what, claimed one at a time, given back by the dead.

A worker writes its token into the trials it claims. A running trial whose owner is dead is recorded as interrupted,
and its job is the next to be done. Claims take turns, so that no two workers claim the same job, nor propose the same
network. How turns are taken and the dead are known, see :mod:`search.study.leases`; that a database may be away at any
moment, :mod:`search.study.outage`.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, TrialState

from boostformer.architecture import Architecture
from boostformer.figures import Latency
from boostformer.training.state import newest_state
from evaluators.proxy import Score
from results.schema import Record, State
from results.storage.location import INTERRUPTED, attributes, storage_of
from search.config.experiment import Plan
from search.config.problem import Problem
from search.strategies.base import Exhausted, Observation
from search.study.fingerprint import check_code, code_of
from search.study.folder import CHECKPOINTS
from search.study.leases import open_claims
from search.study.outage import Patience
from search.study.state import REJECTED, WAITING, Job, Ledger, Standing
from search.study.trials import STATES, latency_values, new_record, objectives, score_values, trial_of

optuna.logging.set_verbosity(optuna.logging.WARNING)

DEATHS = 3
"""After so many workers in a row died at a job that got no further it has failed: it may well be what kills them, by
taking all the memory."""
KILLER = f"its worker was killed {DEATHS} times in a row"


@dataclass(frozen=True)
class Ticket:
    """A claimed trial. ``patient``: there is nothing else to do than to wait for its device."""

    trial_id: int
    job: Job
    architecture: Architecture
    record: Record
    standing: Standing
    """How far the run was when it was claimed."""
    patient: bool = False
    deaths: int = 0
    """So many workers in a row died at this job before, and it got no further."""

    @property
    def deadly(self) -> bool:
        return self.deaths >= DEATHS


class Store:
    """One worker's access to a run; a context manager, in which the worker counts as alive.

    Raises :class:`UserError` when the run is of another version of the code.
    """

    def __init__(self, run_dir: Path, plan: Plan, problem: Problem, say: Callable[[str], None] = lambda line: None):
        self.run_dir, self.plan, self.problem = run_dir, plan, problem
        self._where = where = storage_of(run_dir)
        self._reliably = Patience(where, say)
        # The storage alone: a study would only add a sampler, which is never asked.
        self._storage = self._reliably(lambda: where.open(lasting=True))
        self._study_id = self._reliably(lambda: where.study_id(self._storage))
        known = self._reliably(lambda: self._storage.get_study_user_attrs(self._study_id))
        check_code(known["code"], code_of(plan, problem.table), str(where))
        self._ledger = Ledger(problem, plan.ladder(known["trials"]))
        self._claims = open_claims(where, run_dir, self._storage)
        self._say = say
        self._current: int | None = None
        self._device_answers = False  # when it was last asked
        self._used_up: Exhausted | None = None

    @property
    def token(self) -> str:
        """Names this worker."""
        return self._claims.token

    def __enter__(self) -> Store:
        self._claims.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Gives back what was claimed and not ended, as it is on Ctrl-C and when something is broken."""
        try:
            if error is None:
                self._reliably(self._leave)
            else:
                with suppress(Exception):  # who cannot write any more leaves its trial behind, as a dead worker does
                    self._storage = self._where.open(lasting=True)  # what was being read when it broke off is half read
                    self._leave()
        finally:
            self._claims.__exit__(kind, error, trace)

    def _leave(self) -> None:
        for trial in self._trials():
            if trial.state is TrialState.RUNNING and self._owns(trial):
                self._give_back(trial)

    def folder(self, job: Job) -> Path:
        """Where the training of this network with this seed keeps its state, on every rung."""
        return self.run_dir / CHECKPOINTS / f"{job.id}-{job.seed}"

    def _read_target(self) -> bool:
        """Whether a search with other --trials has been begun since."""
        known = self._storage.get_study_user_attrs(self._study_id)
        before, self._ledger.ladder = self._ledger.ladder, self.plan.ladder(known["trials"])
        return self._ledger.ladder != before

    def _forget_states(self) -> None:
        """Of a run that is concluded: trainings that were not promoted would keep theirs for nothing.

        Should it be asked for more networks later, what is promoted then is trained from the start, to the same score.
        """
        shutil.rmtree(self.run_dir / CHECKPOINTS, ignore_errors=True)

    def begin_no_more(self, reason: str) -> None:
        """What was begun is brought to its end, and then the search ends early, for this ``reason``."""
        self._used_up, self._ledger.used_up = Exhausted(reason), True

    def standing(self) -> Standing:
        """How far the run is now, once the trials of dead workers have been recorded as interrupted."""

        def look() -> Standing:
            with self._claims.exclusive():
                return self._standing()

        return self._reliably(look)

    def _standing(self) -> Standing:
        trials = self._trials()
        running = [trial for trial in trials if trial.state is TrialState.RUNNING]
        # Its own are left of a claim that broke off with the connection.
        own = [trial for trial in running if self._owns(trial) and trial._trial_id != self._current]
        for trial in own:
            self._give_back(trial)
        dead = self._claims.dead([trial for trial in running if not self._owns(trial)])
        for trial in dead:
            self._interrupt(trial)
        return self._ledger.update(self._trials() if own or dead else trials)

    def claim(self, propose: Callable[[Sequence[Observation]], Architecture]) -> Ticket | None:
        """The next trial to be run, or None when all are concluded.

        When the only trials left are being run by others, waits until they end or die. Raises what ``propose``
        raises when there is nothing more to try, once none waits for its device.
        """
        while True:
            found = self._reliably(lambda: self._try_to_claim(propose))
            if isinstance(found, Ticket):
                self._current = found.trial_id
                self._claims.holds(found.trial_id)
                return found
            if not found:
                if self._reliably(self._read_target):
                    continue
                self._forget_states()
                if self._used_up is not None:
                    raise self._used_up
                return None
            self._claims.wait()

    def _try_to_claim(self, propose: Callable[[Sequence[Observation]], Architecture]) -> Ticket | list[str]:
        """A trial, or else the workers to wait for: none when all is concluded."""
        self._read_target()
        with self._claims.exclusive() as check:
            standing = self._standing()
            chosen = self._choose(standing, propose)
            if chosen is None:
                return standing.owners
            check()
            job, arch = chosen
            return self._create(job, arch, standing)

    def _choose(
        self, standing: Standing, propose: Callable[[Sequence[Observation]], Architecture]
    ) -> tuple[Job, Architecture] | None:
        architectures = self._ledger.architectures
        if standing.interrupted:
            job = standing.interrupted[0]
            return job, architectures[job.id]
        step = standing.step
        if step.do == "propose":
            try:
                arch = propose(standing.history)
            except Exhausted as error:
                self.begin_no_more(str(error))
                step = self._ledger.step()
            else:
                return Job(arch.id, 0, step.seed), arch
        # Before others are promoted in its place, if the device is back.
        if standing.waiting and (step.do != "train" or self._device_answers):
            job = standing.waiting[0]
            return job, architectures[job.id]
        if step.do == "train":
            return Job(step.id, step.rung, step.seed), architectures[step.id]
        return None

    def finish(self, ticket: Ticket, score: Score) -> Record:
        return self._end(ticket if ticket.record.miou is not None else self.scored(ticket, score), "finished")

    def fail(self, ticket: Ticket, reason: str, seconds: float) -> Record:
        """Ends a trial that cannot be trained: it counts as tried and is not repeated."""
        return self._end(ticket, "failed", failure=reason, seconds=seconds)

    def reject(self, ticket: Ticket, reason: str) -> Record:
        """Ends a trial whose network was measured over budget: it is not repeated, and does not count as tried."""
        return self._end(ticket, "failed", failure=REJECTED + reason, feasible=False)

    def postpone(self, ticket: Ticket, reason: str) -> Record:
        """Ends a trial that is scored, to be repeated for its latency alone once the device is back."""
        self._device_answers = False
        return self._end(ticket, "failed", failure=WAITING + reason)

    def scored(self, ticket: Ticket, score: Score) -> Ticket:
        """Records a score before anything else that may take long; the ticket with it."""
        return self._told(ticket, "score", score_values(score))

    def measured(self, ticket: Ticket, latency: Latency) -> Ticket:
        """Records a latency; the ticket with it."""
        self._device_answers = True
        return self._told(ticket, "latency", latency_values(latency))

    def _told(self, ticket: Ticket, group: str, values: dict[str, Any]) -> Ticket:
        def tell() -> None:
            with suppress(UpdateFinishedTrialError):  # taken over by another worker: it is settled in the end
                self._storage.set_trial_user_attr(ticket.trial_id, group, values)

        self._reliably(tell)
        return replace(ticket, record=replace(ticket.record, **values))

    def _end(self, ticket: Ticket, state: State, **values: Any) -> Record:
        record = replace(ticket.record, state=state, **values)
        ours = self._reliably(lambda: self._tell_end(ticket, record, values))
        self._current = None
        self._claims.holds(None)
        if ours:
            return record
        kept = self._reliably(lambda: self._end_late(ticket, record))
        self._say(
            f"trial {record.trial} was taken over, because a worker was thought dead: this result is "
            + ("kept all the same" if kept else "dropped")
        )
        return record if kept else replace(record, state="failed", failure=INTERRUPTED)

    def _tell_end(self, ticket: Ticket, record: Record, values: dict[str, Any]) -> bool:
        """False when the trial was taken over."""
        try:
            if values:
                self._storage.set_trial_user_attr(ticket.trial_id, "end", values)
            self._storage.set_trial_state_values(
                ticket.trial_id, STATES[record.state], objectives(record, self.problem)
            )
        except UpdateFinishedTrialError:
            # Perhaps by this worker itself, just before the connection broke.
            trial = self._storage.get_trial(ticket.trial_id)
            return trial.state is TrialState.COMPLETE or "end" in trial.user_attrs
        return True

    def _end_late(self, ticket: Ticket, record: Record) -> bool:
        """A finished result of a trial that was taken over is kept unless another worker finished it first."""
        with self._claims.exclusive() as check:
            self._standing()
            if record.state != "finished" or self._ledger.is_finished(ticket.job):
                return self._finished_it(ticket.job)  # before the connection broke
            for trial in self._trials():
                if trial.state is TrialState.RUNNING and self._ledger.job(trial) == ticket.job:
                    self._interrupt(trial)
            self._standing()
            if self._ledger.is_finished(ticket.job):  # the other one finished in this very moment
                return False
            check()
            self._storage.create_new_trial(self._study_id, trial_of(record, self.problem, self.token))
            return True

    def _finished_it(self, job: Job) -> bool:
        """Whether the job's finished trial is this worker's."""
        done = [trial for trial in self._trials() if trial.state is TrialState.COMPLETE]
        return any(self._owns(trial) for trial in done if self._ledger.job(trial) == job)

    def _create(self, job: Job, arch: Architecture, standing: Standing) -> Ticket:
        known = self._ledger.latencies.get(job.id, {}) | self._ledger.known.get(job, {})
        record = new_record(job, self.plan.rungs[job.rung], arch, self.problem, known)
        reached = newest_state(self.folder(job)) if self._ledger.deaths.get(job) else 0
        trial_id = self._storage.create_new_trial(self._study_id, trial_of(record, self.problem, self.token, reached))
        # Nobody else has made one in this turn; to ask for the number would take as long again.
        record = replace(record, trial=self._ledger.trials)
        patient = job in standing.waiting and standing.step.do not in ("propose", "train")
        deaths = self._ledger.deaths_at(job, reached)
        return Ticket(trial_id, job, arch, record, standing, patient, deaths)

    def _give_back(self, trial: FrozenTrial) -> None:
        with suppress(UpdateFinishedTrialError):
            self._storage.set_trial_user_attr(trial._trial_id, "end", {"failure": INTERRUPTED})
        self._interrupt(trial)

    def _interrupt(self, trial: FrozenTrial) -> None:
        with suppress(UpdateFinishedTrialError):
            self._storage.set_trial_state_values(trial._trial_id, TrialState.FAIL)

    def _trials(self) -> list[FrozenTrial]:
        return self._storage.get_all_trials(self._study_id, deepcopy=False)

    def _owns(self, trial: FrozenTrial) -> bool:
        return bool(attributes(trial)["owner"] == self.token)
