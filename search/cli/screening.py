"""Screening as a search begins: a glance at many networks that inherit from its start; the best are tried first."""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Collection
from typing import TYPE_CHECKING

import typer

from boostformer.shown import number_of
from search.cli.output import note, progress

if TYPE_CHECKING:
    from search.config.opening import OpenExperiment
    from search.config.problem import Key

USUAL, SHARE = 100, 0.1
"""Networks that are seen unless told, and the share of a search's iterations, and of its hours, that this may take."""
OVER_STEPS = 1.4
"""Ratio of what a glance takes to its steps alone, as measured on CamVid with small networks."""
FIRST = 5
"""Number of the networks seen that are tried first, or all that are to be tried if these are fewer."""


def screened(
    opened: OpenExperiment,
    trials: int,
    known: Collection[str] = (),
    *,
    hours: float | None = None,
    only_say: bool = False,
) -> OpenExperiment:
    """See ``search.screen`` networks that inherit from the start; give the search that proposes the best of them first.

    It is the same search where that is needless, which is said. Exits with code 130 on Ctrl-C.

    Args:
        opened: the search, which has not begun.
        trials: how many networks are to be tried.
        known: ids of networks that need not be tried.
        hours: for how long the search may be worked on.
        only_say: see none, only say what it would cost.
    """
    if opened.experiment.start is None or opened.experiment.search.screen == 0:
        return opened
    if reason := _needless(opened):
        note(f"screen   not done: {reason}")
        return opened
    try:
        return _screened(opened, trials, known, math.inf if hours is None else 3600 * SHARE * hours, only_say)
    except KeyboardInterrupt:
        note("stopped before the search began; the same command begins it anew")
        raise typer.Exit(130) from None


def _needless(opened: OpenExperiment) -> str | None:
    """Say why there is nothing to look for, if that is so."""
    experiment, problem = opened.experiment, opened.problem
    if "latency_ms" in experiment.budgets and problem.latency is None:
        return "latency is only known once it is measured, so which networks are within the budgets is not"
    assert experiment.start_network is not None and opened.start_key is not None
    if problem.space.decode(opened.start_key).id == experiment.start_network.id and problem.fits(opened.start_key):
        return "the start is within the budgets itself"
    return None


def _screened(
    opened: OpenExperiment, trials: int, known: Collection[str], seconds: float, only_say: bool
) -> OpenExperiment:
    import numpy as np
    import torch

    from boostformer.training import TrainingFailure
    from evaluators.glance import STEPS, Glance
    from search.strategies.screening import most_promising
    from search.worker.progress import duration

    problem, key, start, seed = opened.problem, opened.start_key, opened.start, opened.experiment.search.seed
    assert key is not None and start is not None
    asked, usual_count = opened.experiment.search.screen, SHARE * trials * opened.proxy.recipes[0].iterations / STEPS
    count = min(USUAL, int(usual_count)) if asked is None else asked
    if not count:
        note("screen   not done: the search is too short for it; `screen: N` in the run file does it nevertheless")
        return opened
    glance, rng = Glance(start, opened.proxy, seed), np.random.default_rng(seed)
    until, best, seen = math.inf, -math.inf, 0

    def see(genes: Key) -> float:
        nonlocal best, seen
        if seen and time.monotonic() > until:
            return -math.inf
        score = glance(problem.space.decode(genes))
        best, seen = max(best, score), seen + 1
        tell(seen, count, f"best mIoU {best:.1%}" if math.isfinite(best) else "")
        return score

    try:
        each = OVER_STEPS * STEPS * opened.proxy.seconds_per_step(problem.space.decode(problem.random(rng, ())))
        count = max(1, int(min(count, seconds / max(each, 1e-3))))
        cost = f"about {duration(each * count)}"
    except TrainingFailure as failure:
        cost = f"for a time that is unknown ({failure})"
    note(f"screen   {number_of(count, 'network')} of {STEPS} iterations each, before any is trained longer: {cost}")
    if only_say:
        return opened
    passed = {*known, *(first.network.id for first in opened.experiment.first)}
    until = time.monotonic() + seconds
    with progress("networks screened") as tell:
        found = most_promising(
            problem,
            key,
            see,
            count,
            min(FIRST, trials),
            rng,
            is_new=lambda genes: problem.space.decode(genes).id not in passed,
        )
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()  # for the workers
    if not found:
        note(f"screen   of {number_of(seen, 'network')} within the budgets none can be tried first")
        return opened
    most = "the best is" if len(found) == 1 else f"the {len(found)} best are"
    note(f"screen   {number_of(seen, 'network')} seen, up to a mIoU of {best:.1%}; {most} tried first")
    return opened.having_screened([problem.space.decode(genes).to_dict() for genes in found])
