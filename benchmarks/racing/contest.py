"""`Contest`: one race of one contestant. It trains the networks asked for and counts them; trainings stop the clock."""

from __future__ import annotations

import time

import numpy as np

from racing.landscape import Floats, Landscape
from search.strategies.history import Key
from search_space.genes import Genes


class Over(Exception):
    """Raised for the training after the last one: the race is over."""


class Contest:
    """Trains on ``landscape`` for the race with this ``seed``: at most ``evaluations`` networks, each once."""

    def __init__(self, landscape: Landscape, seed: int, evaluations: int) -> None:
        self.landscape, self.seed, self.evaluations = landscape, seed, evaluations
        self.seen: dict[Key, float] = {}
        """The accuracy shown by every network trained, in their order."""
        self._wall, self._cpu = time.perf_counter(), time.process_time()
        self._not_counted = 0.0, 0.0

    def train(self, key: Key) -> float:
        """What a training of this network shows. A repeat costs nothing and shows the same again."""
        if key in self.seen:
            return self.seen[key]
        if len(self.seen) == self.evaluations:
            raise Over
        wall, cpu = time.perf_counter(), time.process_time()
        if not self.landscape.fits(key):
            raise ValueError(f"a contestant trained {key}, which is over budget")
        self.seen[key] = float(self.landscape.see(_row(key), self.seed)[0])
        self._not_counted = (
            self._not_counted[0] + time.perf_counter() - wall,
            self._not_counted[1] + time.process_time() - cpu,
        )
        return self.seen[key]

    def excess(self, key: Key) -> float:
        return float(self.landscape.excess(_row(key))[0])

    def costs(self, key: Key) -> Floats:
        """(C,): the costs among the objectives."""
        return np.asarray(self.landscape.costs(_row(key))[0])

    @property
    def genes(self) -> Genes:
        """(evaluations, G): what was trained, in order."""
        return np.array(list(self.seen), dtype=np.int16)

    def milliseconds(self) -> tuple[float, float]:
        """Wall and processor time of the contestant so far, per network trained, without the trainings."""
        wall = time.perf_counter() - self._wall - self._not_counted[0]
        cpu = time.process_time() - self._cpu - self._not_counted[1]
        return 1000 * wall / len(self.seen), 1000 * cpu / len(self.seen)


def _row(key: Key) -> Genes:
    return np.array([key], dtype=np.int16)
