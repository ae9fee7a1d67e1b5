"""Regularised evolution: the best of a few recent networks is mutated, and the old ones are forgotten.

Source: Real et al., "Regularized evolution for image classifier architecture search", 2019; with several
objectives the tournament is decided by non-dominated rank, then by crowding distance.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from search.strategies.base import Strategy
from search.strategies.history import Key
from search.strategies.ranking import best_first
from search_space.genes import keys

POPULATION, TOURNAMENT = 50, 10


class Evolution(Strategy):
    """Mutates one choice of the winner of a tournament among the youngest networks; they alone are parents."""

    startup = 20

    def breeding(self) -> NDArray[np.int64]:
        return self.history.heritable[-POPULATION:]

    def guesses(self, rng: np.random.Generator) -> Iterator[Key]:
        alive = self.history.fitting[-POPULATION:]
        if not len(alive):
            return
        while True:
            rows = rng.permutation(alive)[:TOURNAMENT]
            winner = rows[best_first(self.history.values(rows), 1)]
            yield keys(self.candidates.genes.mutate(self.history.genes[winner], rng))[0]
