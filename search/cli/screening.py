"""Screening as a search begins: networks are compared with its start, and the most alike are to be trained first."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from search.cli.output import note, progress

if TYPE_CHECKING:
    from search.config.opening import OpenExperiment

FIRST = 5
"""So many of the networks that were compared are trained first."""


def screened(opened: OpenExperiment, count: int, *, only_say: bool = False) -> OpenExperiment:
    """Compare ``count`` networks with the start; give the search that first proposes the most alike of them.

    It is the same search where there is no start, where the start is within the budgets and so the most alike itself,
    and where it has no answers for these classes, which is said. With ``only_say`` nothing but the cost is.
    """
    import numpy as np

    from boostformer.start import answers_for
    from evaluators.likeness import Likeness
    from search.strategies.screening import most_alike
    from search.worker.progress import duration

    start, key, problem = opened.start, opened.start_key, opened.problem
    if not count or start is None or key is None or problem.fits(key):
        return opened
    if not answers_for(start, opened.proxy.labels):
        note(f"screen   not done: {start.id} has no answers for these classes to compare networks by")
        return opened
    seed = opened.experiment.search.seed
    likeness = Likeness(start, opened.proxy, seed)
    began = time.perf_counter()
    likeness(problem.space.decode(key))
    took = duration((time.perf_counter() - began) * count)
    note(f"screen   {count} untrained networks are compared with the start, at most {took}")
    if only_say:
        return opened
    best, compared = float("inf"), 0

    def told(done: int, least: float) -> None:
        nonlocal best, compared
        if done < count:
            tell(done, count, f"the best {least:.3f} nats from it")
        best, compared = least, done

    with progress("networks compared with the start") as tell:
        rng = np.random.default_rng(seed)
        found = most_alike(problem, key, lambda genes: likeness(problem.space.decode(genes)), count, FIRST, rng, told)
        tell(compared, compared, f"the best {best:.3f} nats from it")
    note(f"screen   of {compared} the {len(found)} most alike are tried first, the best {best:.3f} nats from the start")
    return opened.having_screened([problem.space.decode(genes) for genes in found])
