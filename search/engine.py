"""The engine: claim a trial, evaluate it, record it, until the run has its number of trials.

Any number of processes may work on one run. The study is the only thing they share.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from boostformer.architecture import Architecture
from boostformer.training import TrainingFailure
from evaluators.proxy import Progress, Score
from results.record import Record
from search.plan import Plan
from search.problem import Exhausted
from search.store import Standing, Store, Ticket

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

    def exhausted(self, reason: str) -> None:
        """The search ends early, because there is nothing more to try."""


def work(plan: Plan, run_dir: Path, objective: Objective, reporter: Reporter) -> None:
    """Works on the run in ``run_dir``, which was set up for ``plan``, until its trials are concluded.

    Whatever is raised, a trial that was not ended is given back, to be repeated: on Ctrl-C as on a bug.
    """
    problem = plan.problem()
    strategy = plan.make_strategy(problem)
    with Store(run_dir, problem, plan.recipe.seed) as store:
        reporter.begins(store.standing())
        try:
            while (ticket := store.claim(strategy.propose)) is not None:
                reporter.trial(ticket.number, ticket.record)
                reporter.ended(_evaluate(store, ticket, objective, plan.recipe.seed, reporter.step))
        except Exhausted as end:
            reporter.exhausted(str(end))


def _evaluate(store: Store, ticket: Ticket, objective: Objective, seed: int, step: Progress) -> Record:
    started = time.perf_counter()
    try:
        score = objective(ticket.architecture, seed, step)
    except TrainingFailure as failure:
        return store.fail(ticket, failure.reason, time.perf_counter() - started)
    if not math.isfinite(score.miou):
        return store.fail(ticket, "nan", score.seconds)
    return store.finish(ticket, score)
