"""The engine: claim a trial, evaluate it, record it, until the run has its number of trials.

Any number of processes may work on one run. The study is the only thing they share.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from boostformer.architecture import Architecture
from boostformer.training import TrainingFailure
from evaluators.latency.backend import Backend, MeasureFailure, Unavailable
from evaluators.proxy import Progress, Score
from results.record import Record
from results.summary import human
from search.plan import Plan
from search.problem import Exhausted
from search.store import REJECTED, WAITING, Standing, Store, Ticket

HOPELESS = 200
"""So many networks in a row may be measured over budget before the search ends."""
Objective = Callable[[Architecture, int, Progress], Score]
"""Evaluates an architecture with a seed; may raise TrainingFailure."""


class Reporter(Protocol):
    """Is told what a worker does."""

    def begins(self, standing: Standing) -> None: ...

    def trial(self, number: int, record: Record) -> None:
        """A trial was claimed."""

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


def work(plan: Plan, run_dir: Path, objective: Objective, reporter: Reporter) -> None:
    """Works on the run in ``run_dir``, which was set up for ``plan``, until its trials are concluded.

    Whatever is raised, a trial that was not ended is given back, to be repeated: on Ctrl-C as on a bug.
    """
    backend = plan.timing.open() if plan.timing else None
    problem = plan.problem(backend=backend)
    strategy = plan.make_strategy(problem)
    with Store(run_dir, problem, plan.recipe.seed) as store:
        evaluation = _Evaluation(plan, backend, store, objective, reporter)
        reporter.begins(store.standing())
        rejected = 0
        try:
            while (ticket := store.claim(strategy.propose)) is not None:
                reporter.trial(ticket.number, ticket.record)
                record = evaluation(ticket)
                waits = (record.failure or "").startswith(WAITING)
                over = (record.failure or "").startswith(REJECTED)
                (reporter.set_aside if waits or over else reporter.ended)(record)
                rejected = rejected + 1 if over else 0
                if rejected == HOPELESS:
                    raise Exhausted(f"{rejected} networks in a row were measured over budget")
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
        return self.objective(ticket.architecture, self.plan.recipe.seed, self.reporter.step)

    def _measured(self, ticket: Ticket, *, patient: bool) -> Ticket:
        if self.backend is None or self.plan.timing is None or ticket.record.latency_ms is not None:
            return ticket
        found = self.plan.timing.measure(self.backend, ticket.architecture, patient=patient, say=self.reporter.says)
        return self.store.measured(ticket, found)
