"""`Queue`: one worker's access to the trials of a run, which are claimed one at a time.

A worker writes its token into the trials it claims. A trial whose worker died is marked as interrupted and repeated
next. Claims take turns (:mod:`search.study.leases`), so that no training is claimed and no network proposed twice.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import TracebackType

from optuna.trial import TrialState

from boostformer.architecture import Architecture
from boostformer.figures import Latency
from results.known import Known
from results.run import check_study
from results.schema import key_of
from results.storage.location import storage_of
from results.terms import earlier_scores
from results.trial import Parent, Status, Trial, TrialKey
from search.config.opening import OpenExperiment
from search.config.problem import Exhausted
from search.strategies.base import Proposal
from search.strategies.history import Observation
from search.study.claim import Claim, new_trial
from search.study.fingerprint import check_code, code_of
from search.study.folder import FILES
from search.study.hours import Hours
from search.study.leases import open_leases
from search.study.lineages import Lineages
from search.study.proposals import Proposals
from search.study.retry import Patience
from search.study.scheduler import Propose, Scheduler, Train
from search.study.state import Scored, Standing, State
from search.study.states import States
from search.study.stored import StoredTrials, terms_of
from search.study.stores import place_of, require_place
from search.study.weights import Weights

SAID_AFTER = 10.0
"""Seconds of waiting for other workers after which it is said."""
Proposer = Callable[[Sequence[Observation]], Proposal]


class Queue:
    """One worker's access to a run; a context manager, in which the worker counts as alive."""

    def __init__(self, run_dir: Path, opened: OpenExperiment, say: Callable[[str], None] = lambda line: None) -> None:
        """Open the run in ``run_dir``; :class:`UserError` when it is of another version of the code.

        ``say`` is told a line for people when the database is away or a result comes too late.
        """
        self.run_dir, self.experiment, self.problem = run_dir, opened.experiment, opened.problem
        self._where = where = storage_of(run_dir)
        self._reliably = Patience(where, say)
        storage = self._reliably(lambda: where.open(lasting=True))
        study_id = self._reliably(lambda: where.study_id(storage))
        known = self._reliably(lambda: storage.get_study_user_attrs(study_id))
        check_study(known, str(where))
        check_code(known["code"], code_of(opened), str(where))
        require_place(known.get(FILES), place_of(run_dir), str(where))
        timing, start = self.experiment.latency, self.experiment.start
        self._known = Known.of(known, str(where))
        scheduler = Scheduler.of(self.experiment, known["trials"], self._known.ids)
        provenance = None if timing is None else timing.provenance
        ancestors = {ancestor.weights: ancestor for ancestor in self._known.ancestors}
        self._state = State(
            self.problem, scheduler, str(where), provenance, start.weights if start else None, ancestors
        )
        self._leases = open_leases(where, run_dir, storage)
        objectives, terms = self.experiment.objectives, terms_of(self.experiment)
        self._trials = StoredTrials(where, storage, study_id, objectives, self._leases.token, terms)
        self.lineages = Lineages(Weights.of(run_dir, say), opened, self._state, say)
        self.states = States.of(run_dir, say)
        self._first = self.experiment.asked_first
        self._proposals = Proposals(self.problem, say)
        self._say = say
        self._current: int | None = None
        self._device_answers = False  # when it was last asked
        self._used_up: Exhausted | None = None
        self._hours = Hours()

    @property
    def token(self) -> str:
        """The worker's name."""
        return self._leases.token

    def __enter__(self) -> Queue:
        self._leases.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give back what was claimed and not ended, as on Ctrl-C or after a bug."""
        try:
            if error is None:
                self._reliably(self._leave)
            else:
                with suppress(Exception):  # who cannot write any more leaves its trial behind, as a dead worker does
                    # What was being read when it broke off is half read.
                    self._trials.storage = self._where.open(lasting=True)
                    self._leave()
        finally:
            self._leases.__exit__(kind, error, trace)

    def tick(self) -> None:
        """Tell the study from time to time, during a training, how long the run was worked on."""
        if self._hours.is_due():
            self._reliably(self._tell_hours)

    def _tell_hours(self) -> None:
        with self._leases.exclusive():
            self._hours.tell(self._trials.attributes, self._trials.note)

    def _leave(self) -> None:
        for frozen in self._trials.all():
            if frozen.state is TrialState.RUNNING and self._trials.are_own(frozen):
                self._trials.give_back(frozen)
        self._tell_hours()

    def _read_target(self) -> bool:
        """Tell whether a search with another --trials has been started since."""
        before, asked = self._state.scheduler, self._trials.attributes["trials"]
        self._state.scheduler = Scheduler.of(self.experiment, asked, self._known.ids)
        return self._state.scheduler != before

    def _forget_states(self) -> None:
        """Remove the states of a concluded run; a network promoted later is trained anew, to the same score."""
        self.states.forget_all()
        self.lineages.prune_orphans()

    def begin_no_more(self, reason: str) -> None:
        """Begin no further network, for this ``reason``; the search ends once those begun are done."""
        self._used_up, self._state.used_up = Exhausted(reason), True

    def standing(self) -> Standing:
        """Return how far the run is now, after marking the trials of dead workers as interrupted."""

        def look() -> Standing:
            with self._leases.exclusive():
                return self._standing()

        return self._reliably(look)

    def _standing(self) -> Standing:
        trials = self._trials.all()
        standing = self._state.update(trials)  # what is damaged is refused before anything is written
        running = [frozen for frozen in trials if frozen.state is TrialState.RUNNING]
        # Own ones are left from a claim that broke off with the connection.
        own = [frozen for frozen in running if self._trials.are_own(frozen) and frozen._trial_id != self._current]
        for frozen in own:
            self._trials.give_back(frozen)
        dead = self._leases.dead([frozen for frozen in running if not self._trials.are_own(frozen)])
        for frozen in dead:
            self._trials.interrupt(frozen)
        return self._state.update(self._trials.all()) if own or dead else standing

    def claim(self, propose: Proposer) -> Claim | None:
        """Claim the next trial to be run, waiting while others run the only ones left; None when all are concluded.

        Raises what ``propose`` raised when there is no further network, once no trial waits for its device, and
        :class:`Exhausted` when the hours are used up that the search was given: what is left stays to be resumed.
        """
        began, said = time.monotonic(), False
        while True:
            if why := self._reliably(lambda: self._hours.used_up(self._trials.attributes)):
                raise Exhausted(why)
            found = self._reliably(lambda: self._try_to_claim(propose))
            if isinstance(found, Claim):
                self._current = found.trial_id
                self._leases.holds(found.trial_id)
                return found
            if not found:
                if self._reliably(self._read_target):
                    continue
                self._forget_states()
                if self._used_up is not None:
                    raise self._used_up
                return None
            if not said and time.monotonic() - began > SAID_AFTER:
                said = True
                self._say(f"waits for what others work at ({', '.join(sorted(set(found)))}); stop one that is stuck")
            self._leases.wait()

    def _try_to_claim(self, propose: Proposer) -> Claim | list[str]:
        """Claim a trial, or return the workers to wait for: none when all is concluded."""
        self._read_target()
        with self._leases.exclusive() as check:
            standing = self._standing()
            self.lineages.look()
            chosen = self._choose(standing, propose)
            if chosen is None:
                return standing.owners
            check()
            return self._create(*chosen, standing)

    def _choose(self, standing: Standing, propose: Proposer) -> tuple[TrialKey, Architecture, Parent | None] | None:
        if standing.interrupted:
            return self._again(standing.interrupted[0])
        step = standing.step
        if isinstance(step, Propose):
            try:
                return self._proposed(step.seed, propose)
            except Exhausted as error:
                self.begin_no_more(str(error))
                step = self._state.step()
        # If the device is back, measure before others are promoted in its place.
        if standing.waiting and (not isinstance(step, Train) or self._device_answers):
            return self._again(standing.waiting[0])
        if isinstance(step, Train):
            return self._again(step.key)
        return None

    def _proposed(self, seed: int, propose: Proposer) -> tuple[TrialKey, Architecture, Parent | None]:
        tried = self._state.architectures
        asked = next((arch for arch in self._first if arch.id not in tried), None)
        if (asked := asked or self._proposals.next(self._trials.all(), tried)) is not None:
            return TrialKey(asked.id, 0, seed), asked, self.lineages.like(asked)
        proposal = propose(self._state.history)
        arch = self.problem.space.decode(proposal.genes)
        self.lineages.prune(proposal.parents)
        parent = self.lineages.closest(arch, self.lineages.stored(proposal.parent))
        return TrialKey(arch.id, 0, seed), arch, parent

    def _again(self, key: TrialKey) -> tuple[TrialKey, Architecture, Parent | None]:
        """Begin a training of a known network once more, or a further one."""
        self.lineages.prune()
        resumes = key in self._state.scores or self.states.newest(key) > 0
        return key, self._state.architectures[key.arch_id], self.lineages.again(key, needed=not resumes)

    def orphan(self, claim: Claim, reason: str) -> Trial:
        """Give back a training whose parent's weights turned out to be gone, to begin from another network."""
        if claim.trial.parent is not None:
            self.lineages.lost.add(claim.trial.parent.weights)
        self.states.forget(claim.key)
        return self._end(claim, Status.INTERRUPTED, reason)

    def finish(self, claim: Claim, score: Scored) -> Trial:
        """End a trial that is scored and, where its latency is asked for, measured."""
        return self._end(claim if claim.trial.miou is not None else self.scored(claim, score), Status.FINISHED)

    def fail(self, claim: Claim, reason: str, seconds: float) -> Trial:
        """End a trial that cannot be trained: it counts as tried and is not repeated."""
        return self._end(claim, Status.FAILED, reason, seconds)

    def reject(self, claim: Claim, reason: str) -> Trial:
        """End a trial whose network was measured over budget: it is not repeated, and does not count as tried."""
        return replace(self._end(claim, Status.OVER_BUDGET, reason), feasible=False)

    def postpone(self, claim: Claim, reason: str) -> Trial:
        """End a trial that is scored, to be repeated for its latency alone once the device is back."""
        self._device_answers = False
        return self._end(claim, Status.WAITING, reason)

    def scored(self, claim: Claim, score: Scored) -> Claim:
        """Store a score before anything else that may take long; return the claim with it."""
        trial = replace(claim.trial, **vars(score))
        self._reliably(lambda: self._trials.tell_score(claim.trial_id, trial))
        return replace(claim, trial=trial)

    def measured(self, claim: Claim, latency: Latency) -> Claim:
        """Store a latency; return the claim with it."""
        self._device_answers = True
        trial = replace(claim.trial, latency=latency)
        self._reliably(lambda: self._trials.tell_latency(claim.trial_id, trial))
        return replace(claim, trial=trial)

    def _end(self, claim: Claim, status: Status, reason: str | None = None, seconds: float | None = None) -> Trial:
        """End a claimed trial and return it as it ended.

        Args:
            claim: the trial.
            status: its last.
            reason: why it is not finished.
            seconds: time it took; by default that of its score.
        """
        known = claim.trial.seconds
        trial = replace(claim.trial, status=status, reason=reason, seconds=known if seconds is None else seconds)
        ours = self._reliably(lambda: self._trials.end(claim.trial_id, trial, seconds))
        self._current = None
        self._leases.holds(None)
        if ours:
            return trial
        kept = self._reliably(lambda: self._end_late(claim, trial))
        self._say(
            f"trial {trial.number} was taken over, because a worker was thought dead: this result is "
            + ("kept all the same" if kept else "dropped")
        )
        return trial if kept else replace(trial, status=Status.INTERRUPTED)

    def _end_late(self, claim: Claim, trial: Trial) -> bool:
        """Keep a finished result of a trial that was taken over, unless another worker finished it first."""
        with self._leases.exclusive() as check:
            self._standing()
            if not trial.is_finished or self._state.is_finished(claim.key):
                return self._trials.has_finished(claim.key)  # before the connection broke
            for frozen in self._trials.all():
                if frozen.state is TrialState.RUNNING and key_of(frozen) == claim.key:
                    self._trials.interrupt(frozen)
            self._standing()
            if self._state.is_finished(claim.key):  # the other one finished in this very moment
                return False
            check()
            self._trials.create(replace(trial, owner=self.token), earlier_scores(claim.key, self._state.ended))
            return True

    def _create(self, key: TrialKey, arch: Architecture, parent: Parent | None, standing: Standing) -> Claim:
        state = self._state
        iterations, measured = self.experiment.proxy.rungs[key.rung], state.latencies.get(key.arch_id)
        trial = new_trial(key, iterations, arch, self.problem, measured, parent)
        reached = self.states.newest(key) if state.deaths.get(key) else 0
        # No other worker makes trials in this turn, so the count is the number; asking for it would take as long again.
        trial = replace(trial, number=state.count, owner=self.token, reached=reached)
        if (score := state.scores.get(key)) is not None:
            trial = replace(trial, **vars(score))
        trial_id = self._trials.create(trial, earlier_scores(key, state.ended))
        patient = key in standing.waiting and not isinstance(standing.step, Propose | Train)
        return Claim(trial_id, arch, trial, standing, patient, state.deaths_at(key, reached))
