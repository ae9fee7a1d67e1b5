"""A worker's loop: claim a trial, evaluate it and store the result, until the run has its number of trials.

Any number of processes may work on one run. The study is all that they share.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from boostformer.architecture import Architecture
from boostformer.start import LostWeights
from boostformer.training import TrainingFailure
from boostformer.training.loop import Progress
from evaluators.latency.backend import MeasureFailure, Unavailable
from evaluators.proxy import Beginning, Score
from results.summary import human
from results.trial import Status, Trial
from search.config.opening import OpenExperiment
from search.config.problem import Exhausted
from search.strategies import strategy_class
from search.strategies.base import Inheritance, Proposal
from search.strategies.history import Observation
from search.study.claim import KILLER, Claim
from search.study.curves import curve
from search.study.queue import Queue
from search.study.state import Scored
from search.worker.reporting import Reporter

HOPELESS = 200
"""Number of networks in a row measured over budget that ends the search."""


class Evaluator(Protocol):
    """Scoring of networks by training; :class:`evaluators.proxy.Proxy` is one."""

    def evaluate(
        self,
        arch: Architecture,
        seed: int,
        progress: Progress,
        *,
        rung: int,
        folder: Path,
        start: Beginning | None,
    ) -> Score:
        """Score a network; raises TrainingFailure, and LostWeights when those of ``start`` are needed and not there.

        Args:
            arch: the network.
            seed: of the training.
            progress: is told the training's steps.
            rung: length of the training, from 0.
            folder: keeps the training's state, for a worker that takes over and for higher rungs.
            start: the trained network that it begins from; None for random weights.
        """

    def tidy(self, folder: Path, rung: int) -> None:
        """Leave in ``folder`` only what the next rung continues from, once the score is stored."""


def work(opened: OpenExperiment, run_dir: Path, reporter: Reporter, evaluator: Evaluator | None = None) -> None:
    """Work on a run until its trials are concluded.

    Whatever is raised, on Ctrl-C as on a bug, an unended trial is given back, to be repeated.

    Args:
        opened: the experiment that ``run_dir`` was set up for.
        run_dir: the run's folder.
        reporter: is told what happens.
        evaluator: scores networks; by default the experiment's proxy training.
    """
    evaluator = evaluator or opened.proxy
    problem, search = opened.problem, opened.experiment.search
    inheritance = Inheritance(opened.start_key) if opened.experiment.inherit else None
    strategy = strategy_class(search.strategy)(problem, search.seed, inheritance)
    problem.share(draws=1)  # the first use prepares the tables: not while others wait for their turn

    def propose(history: Sequence[Observation]) -> Proposal:
        strategy.learn(history)
        return strategy.propose()

    with Queue(run_dir, opened, reporter.says) as queue:
        evaluation = _Evaluation(opened, queue, evaluator, reporter)
        reporter.begins(queue.standing())
        rejected = 0
        try:
            while (claim := queue.claim(propose)) is not None:
                reporter.trial(claim.trial, claim.standing)
                trial = evaluation(claim)
                (reporter.ended if trial.status.concludes else reporter.set_aside)(trial)
                if trial.is_finished:
                    evaluator.tidy(queue.states.folder(claim.key), claim.key.rung)
                    queue.states.share(claim.key)
                rejected = rejected + 1 if trial.status is Status.OVER_BUDGET else 0
                if rejected == HOPELESS:
                    queue.begin_no_more(f"{rejected} networks in a row were measured over budget")
        except Exhausted as end:
            reporter.exhausted(str(end))


@dataclass(frozen=True)
class _Evaluation:
    """Evaluation of a claimed trial: measured where its latency is not predicted, rejected over budget, and trained.

    Where latency is limited it is measured first, since no network over budget is trained. Otherwise a device that
    cannot be reached does not delay the training.
    """

    opened: OpenExperiment
    queue: Queue
    evaluator: Evaluator
    reporter: Reporter

    def __call__(self, claim: Claim) -> Trial:
        queue = self.queue
        if claim.is_deadly:
            return queue.fail(claim, KILLER, 0.0)
        started = time.perf_counter()
        limit = self.opened.experiment.budgets.get("latency_ms")
        try:
            if limit is not None:
                claim = self._measured(claim, patient=True)
                ms = claim.trial.latency_ms
                assert ms is not None
                if ms > limit:
                    return queue.reject(claim, f"{human('latency_ms', ms)} of {human('latency_ms', limit)}")
            score = self._score(claim)
            if not math.isfinite(score.miou):
                return queue.fail(claim, "nan", score.seconds)
            claim = queue.scored(claim, score)
            try:
                claim = self._measured(claim, patient=claim.patient)
            except Unavailable as error:
                return queue.postpone(claim, str(error))
        except TrainingFailure as failure:
            reason = str(failure) if failure.reason == "too_long" else failure.reason
            return queue.fail(claim, reason, time.perf_counter() - started)
        except LostWeights as error:
            return queue.orphan(claim, str(error))
        except MeasureFailure as failure:
            return queue.fail(claim, f"latency: {failure}", time.perf_counter() - started)
        return queue.finish(claim, score)

    def _score(self, claim: Claim) -> Scored:
        known, key = claim.trial, claim.key
        if known.miou is not None and known.seconds is not None:  # by a trial that had to wait for its device
            return Scored(known.miou, known.seconds, known.provenance, known.weights, known.iou)
        states = self.queue.states
        with states.shared(key) as copy, curve(self.queue.run_dir, known.number) as draw:
            found = self.evaluator.evaluate(
                claim.architecture,
                key.seed,
                self._step(draw, copy),
                rung=key.rung,
                folder=states.folder(key),
                start=self.queue.lineages.beginning(claim.trial),
            )
        weights = self.queue.lineages.keep(found.weights) if math.isfinite(found.miou) else None
        return Scored(found.miou, found.seconds, found.provenance, weights, found.iou)

    def _step(self, draw: Progress, copy: Callable[[], None]) -> Progress:
        """Make what a training tells its steps to, ``draw`` and ``copy`` among them; it ends one that is too long."""
        minutes, began = self.opened.experiment.proxy.minutes, time.monotonic()

        def step(done: int, total: int, loss: float) -> None:
            self.reporter.step(done, total, loss)
            draw(done, total, loss)
            copy()
            self.queue.tick()
            if minutes is not None and done < total and time.monotonic() - began > 60 * minutes:
                raise TrainingFailure("too_long", f"{done} of {total} iterations in proxy.minutes {minutes:g}")

        return step

    def _measured(self, claim: Claim, *, patient: bool) -> Claim:
        timing, backend = self.opened.experiment.latency, self.opened.backend
        if timing is None or backend is None or claim.trial.latency is not None:
            return claim
        found = timing.measure(backend, claim.architecture, patient=patient, say=self.reporter.says)
        return self.queue.measured(claim, found)
