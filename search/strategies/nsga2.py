"""NSGA-II over the whole history: the best networks so far are crossed and mutated.

Source: Deb et al., "A fast and elitist multiobjective genetic algorithm: NSGA-II", 2002; steady-state
(one child at a time), so that nobody waits for a generation to end.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from search.strategies.base import Strategy
from search.strategies.history import Key
from search.strategies.ranking import best_first
from search_space.genes import keys

POPULATION = 20
CROSSOVER = 0.9


class NSGA2(Strategy):
    """Crosses winners of binary tournaments, by rank and crowding distance, and mutates one or two choices."""

    startup = POPULATION

    def guesses(self, rng: np.random.Generator) -> Iterator[Key]:
        fitting = self.history.fitting
        if not len(fitting):
            return
        population = fitting[best_first(self.history.values(fitting), POPULATION)]
        space, genes = self.candidates.genes, self.history.genes
        while True:
            mother, father = (
                genes[[population[rng.integers(len(population), size=2).min()]]] for _ in range(2)
            )  # the best stand first in the population
            child = space.crossover(mother, father, rng) if rng.random() < CROSSOVER else mother
            yield keys(space.mutate(child, rng, changes=int(rng.integers(1, 3))))[0]
