"""NSGA-II over the whole history: the best networks so far are crossed and mutated.

Source: Deb et al., "A fast and elitist multiobjective genetic algorithm: NSGA-II", 2002; steady-state
(one child at a time), so that nobody waits for a generation to end.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from boostformer.architecture import Architecture
from results.front import OBJECTIVES, crowding_distance, non_dominated_rank
from search.problem import Observation
from search.strategies.base import Strategy

POPULATION = 20
CROSSOVER = 0.9


class NSGA2(Strategy):
    """Parents win binary tournaments of rank, then of loneliness; a child has one or two choices mutated."""

    startup = POPULATION

    def guesses(self, history: Sequence[Observation], rng: np.random.Generator) -> Iterator[Architecture]:
        population = self._population(history)  # the best first
        if not population:
            return
        space = self.problem.space
        while True:
            mother, father = (population[rng.integers(len(population), size=2).min()] for _ in range(2))
            child = space.crossover(mother, father, rng) if rng.random() < CROSSOVER else mother
            yield space.mutate(child, rng, changes=int(rng.integers(1, 3)))

    def _population(self, history: Sequence[Observation]) -> list[Architecture]:
        scored = [(o.architecture, o.miou, o.latency_ms) for o in history if o.miou is not None]
        if not scored:
            return []
        signs = np.array([OBJECTIVES[name] for name in self.problem.objectives])
        values = np.array([self.problem.values(*known) for known in scored]) * signs
        ranks = non_dominated_rank(values)
        lonely = np.zeros(len(scored))
        for rank in range(ranks.max() + 1):
            lonely[ranks == rank] = crowding_distance(values[ranks == rank])
        return [scored[i][0] for i in np.lexsort((-lonely, ranks))[:POPULATION]]
