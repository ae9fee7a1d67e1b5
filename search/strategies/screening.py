"""Screening: of many networks within the budgets, those that a glance finds most promising."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from itertools import islice

import numpy as np

from search.strategies.history import Candidates, Key
from search.strategies.walk import near
from search_space.genes import Genes, keys
from search_space.nearness import apart

FROM_START = 0.25
"""Share of the networks that come from the start, by a way into the budgets; the others from the best so far."""
PARENTS, DRAWN, BRED, CHANGES = 20, 200, 20, (1, 4)
"""Numbers of parents, of children drawn of them at a time, of those that are seen, and (1 to 3) of changes in each."""
IDLE = 20
"""Rounds in a row without a new network that end the screening."""
DISTINCT = 0.06
"""Share of the choices in which networks that are given differ at least: about two."""


def most_promising(
    candidates: Candidates,
    start: Key,
    glance: Callable[[Key], float],
    count: int,
    wanted: int,
    rng: np.random.Generator,
    is_new: Callable[[Key], bool] = lambda key: True,
) -> list[Key]:
    """Look for the best networks within the budgets, by evolution from the start.

    Args:
        candidates: the networks.
        start: from which ways lead into the budgets.
        glance: scores a network, with minus infinity one that fails.
        count: how many to see.
        wanted: how many to give at most.
        rng: random numbers.
        is_new: tells which may be given; from others networks are only bred.

    Returns:
        The best first, each differing from all before it in some choices. None where no way leads into the budgets, or
        all fail.
    """
    found: dict[Key, float] = {}

    def ranked() -> list[Key]:
        return sorted(found, key=found.__getitem__, reverse=True)

    def see(some: Iterable[Key], most: int) -> None:
        begun = len(found)
        for key in some:
            if len(found) >= min(count, begun + most):
                break
            if key not in found and candidates.fits(key):
                found[key] = glance(key)

    first = max(1, round(count * FROM_START))
    see(islice(near(candidates, start, rng), 2 * first), first)
    idle = 0
    while found and len(found) < count and idle < IDLE:
        before = len(found)
        see(keys(_children(candidates, ranked()[:PARENTS], rng)), BRED)
        idle = idle + 1 if len(found) == before else 0
    return _distinct(candidates, [key for key in ranked() if math.isfinite(found[key]) and is_new(key)], wanted)


def _children(candidates: Candidates, best: list[Key], rng: np.random.Generator) -> Genes:
    """Draw children of the ``best``, of earlier ones more."""
    space, parents = candidates.genes, np.array(best, dtype=np.int16).reshape(len(best), -1)
    ranks = np.minimum(rng.exponential(len(parents) / 3, size=DRAWN).astype(np.int64), len(parents) - 1)
    mothers, fathers = parents[ranks], parents[rng.integers(len(parents), size=DRAWN)]
    crossed = (rng.random(DRAWN) < 0.5)[:, None]
    drawn = np.where(crossed, space.crossover(mothers, fathers, rng), mothers)
    drawn = space.mutate(drawn, rng, rng.integers(*CHANGES, size=DRAWN))
    return drawn[candidates.excess(drawn) <= 0]


def _distinct(candidates: Candidates, ranked: list[Key], wanted: int) -> list[Key]:
    """Give the first ones of ``ranked`` that are all apart."""
    given: list[Key] = []
    for key in ranked:
        if len(given) == wanted:
            break
        row, others = (np.array(some, dtype=np.int16).reshape(len(some), len(key)) for some in ([key], given))
        if (apart(candidates.genes, row, others) >= DISTINCT).all():
            given.append(key)
    return given
