"""The way from a trained network into the budgets, for the first networks of a search that starts from it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from search.strategies.history import Candidates, Key
from search_space.genes import keys
from search_space.nearness import nearer

NEAR, MOST_STEPS = (2, 33), 300
"""On the way from the start into the budgets: of how many changes, at random between these, the cheapest is taken each
time, but of several that fit the dearest; and the number of changes after which a way leads nowhere."""


def near(candidates: Candidates, start: Key, rng: np.random.Generator) -> Iterator[Key]:
    """Yield ``start``, then networks that differ from it in little more than the budgets ask for, without end.

    Each is the end of a way that leads from the start into the budgets by a change at a time, and back as far as they
    allow. A way that leads nowhere ends outside of them.
    """
    yield start
    space, begin = candidates.genes, np.array([start], dtype=np.int16)
    is_over = candidates.excess(begin)[0] > 0
    while True:
        drawn, here = int(rng.integers(*NEAR)), space.mutate(begin, rng)
        excess = float(candidates.excess(here)[0])
        for _ in range(MOST_STEPS):
            if excess <= 0:
                break
            changed = space.mutate(np.repeat(here, drawn, axis=0), rng)
            values = candidates.excess(changed)
            fits = values <= 0
            best = np.where(fits, values, -np.inf).argmax() if fits.any() else values.argmin()
            if values[best] < excess:
                here, excess = changed[[best]], float(values[best])
        while is_over and excess <= 0:
            back = nearer(space, here[0], begin[0])
            fitting = back[candidates.excess(back) <= 0]
            if not len(fitting):
                break
            here = fitting[[rng.integers(len(fitting))]]
        yield keys(here)[0]
