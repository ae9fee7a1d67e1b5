"""The engine: claim a trial, evaluate it, record it, until the run has its number of trials.

Any number of processes may work on one run. The study is the only thing they share.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from boostformer.architecture import Architecture
from boostformer.training import TrainingFailure
from evaluators.latency.backend import Backend, MeasureFailure, Unavailable
from evaluators.proxy import Progress, Score
from results.schema import Record
from results.summary import human
from search.config.experiment import Plan
from search.strategies.base import Exhausted, Observation
from search.study.queue import INTERRUPTED, KILLER, REJECTED, WAITING, Standing, Store, Ticket

HOPELESS = 200
"""So many networks in a row may be measured over budget before the search ends."""


class Objective(Protocol):
    """Evaluates a network; may raise TrainingFailure."""

    def __call__(self, arch: Architecture, seed: int, progress: Progress, *, rung: int, folder: Path) -> Score:
        """The score at ``rung``. What was trained is kept in ``folder``, for who takes over and for higher rungs."""


class Reporter(Protocol):
    """Is told what a worker does."""

    def begins(self, standing: Standing) -> None: ...

    def trial(self, record: Record, standing: Standing) -> None:
        """A trial was claimed; how far the run was then, by the work of all."""

    def step(self, done: int, total: int, loss: float) -> None:
        """The trial's training has done so many of its iterations."""

    def ended(self, record: Record) -> None:
        """The trial is finished or has failed."""

    def set_aside(self, record: Record) -> None:
        """The trial was measured over budget, or waits for its device: it does not count."""

    def says(self, line: str) -> None:
        """Something else that takes its time."""

    def exhausted(self, reason: str) -> None:
        """The search ends early, because there is nothing more to try."""


def work(
    plan: Plan,
    run_dir: Path,
    objective: Objective,
    reporter: Reporter,
    tidy: Callable[[Path, int], None] = lambda folder, rung: None,
) -> None:
    """Works on the run in ``run_dir``, which was set up for ``plan``, until its trials are concluded.

    ``tidy`` is called with the folder and the rung of a training whose score is recorded. Whatever is raised, a trial
    that was not ended is given back, to be repeated: on Ctrl-C as on a bug.
    """
    backend = plan.timing.open() if plan.timing else None
    problem = plan.problem(backend=backend)
    strategy = plan.make_strategy(problem)
    problem.share(draws=1)  # the first use prepares the tables: not while others wait for their turn

    def propose(history: Sequence[Observation]) -> Architecture:
        strategy.learn(history)
        return problem.space.decode(strategy.propose())

    with Store(run_dir, plan, problem, reporter.says) as store:
        evaluation = _Evaluation(plan, backend, store, objective, reporter)
        reporter.begins(store.standing())
        rejected = 0
        try:
            while (ticket := store.claim(propose)) is not None:
                reporter.trial(ticket.record, ticket.standing)
                record = evaluation(ticket)
                over = (record.failure or "").startswith(REJECTED)
                aside = over or record.failure == INTERRUPTED or (record.failure or "").startswith(WAITING)
                (reporter.set_aside if aside else reporter.ended)(record)
                if record.state == "finished":
                    tidy(store.folder(ticket.job), ticket.job.rung)
                rejected = rejected + 1 if over else 0
                if rejected == HOPELESS:
                    store.begin_no_more(f"{rejected} networks in a row were measured over budget")
        except Exhausted as end:
            reporter.exhausted(str(end))


@dataclass(frozen=True)
class _Evaluation:
    """Ends a claimed trial: measured where its latency is not predicted, within budget, and trained.

    Where latency is limited it comes first, since no network over budget is trained; else a device that cannot be
    reached does not keep the training waiting.
    """

    plan: Plan
    backend: Backend | None
    store: Store
    objective: Objective
    reporter: Reporter

    def __call__(self, ticket: Ticket) -> Record:
        if ticket.deadly:
            return self.store.fail(ticket, KILLER, 0.0)
        started = time.perf_counter()
        limit = dict(self.plan.budget.limits).get("latency_ms")
        try:
            if limit is not None:
                ticket = self._measured(ticket, patient=True)
                ms = ticket.record.latency_ms
                assert ms is not None
                if ms > limit:
                    return self.store.reject(ticket, f"{human('latency_ms', ms)} of {human('latency_ms', limit)}")
            score = self._score(ticket)
            if not math.isfinite(score.miou):
                return self.store.fail(ticket, "nan", score.seconds)
            ticket = self.store.scored(ticket, score)
            try:
                ticket = self._measured(ticket, patient=ticket.patient)
            except Unavailable as error:
                return self.store.postpone(ticket, str(error))
        except TrainingFailure as failure:
            return self.store.fail(ticket, failure.reason, time.perf_counter() - started)
        except MeasureFailure as failure:
            return self.store.fail(ticket, f"latency: {failure}", time.perf_counter() - started)
        return self.store.finish(ticket, score)

    def _score(self, ticket: Ticket) -> Score:
        known = ticket.record
        if known.miou is not None and known.seconds is not None:  # by a trial that had to wait for its device
            return Score(known.miou, known.seconds, known.provenance)
        job, folder = ticket.job, self.store.folder(ticket.job)
        return self.objective(ticket.architecture, job.seed, self.reporter.step, rung=job.rung, folder=folder)

    def _measured(self, ticket: Ticket, *, patient: bool) -> Ticket:
        if self.backend is None or self.plan.timing is None or ticket.record.latency_ms is not None:
            return ticket
        found = self.plan.timing.measure(self.backend, ticket.architecture, patient=patient, say=self.reporter.says)
        return self.store.measured(ticket, found)
