"""The best of many points by non-dominated rank, without comparing all with all."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from results.pareto import crowding_distance

Points = NDArray[np.float64]


def front_of(values: Points) -> NDArray[np.int64]:
    """Find the points (N, M), all minimised, that no other dominates -> their indices; equal points are all kept.

    Of the points left the one with the smallest sum is never dominated: it is kept, what it dominates is dropped, and
    so on.
    """
    spread = np.ptp(values, axis=0) if len(values) else 0
    scaled = (values - values.min(axis=0, initial=np.inf)) / np.where(spread > 0, spread, 1)
    left = np.argsort(scaled.sum(axis=1), kind="stable")
    kept: list[int] = []
    while len(left):
        first, others = left[0], left[1:]
        kept.append(int(first))
        no_better = (values[others] >= values[first]).all(axis=1)
        equal = (values[others] == values[first]).all(axis=1)
        left = others[~no_better | equal]
    return np.array(kept, dtype=np.int64)


def best_first(values: Points, count: int) -> NDArray[np.int64]:
    """Find the ``count`` best points (N, M) -> their indices, by non-dominated rank, then by crowding distance.

    Source: Deb et al., "A fast and elitist multiobjective genetic algorithm: NSGA-II", 2002.
    """
    left, found = np.arange(len(values)), np.empty(0, dtype=np.int64)
    while len(left) and len(found) < count:
        layer = np.sort(front_of(values[left]))
        distance = crowding_distance(values[left[layer]])
        found = np.concatenate([found, left[layer[np.argsort(-distance, kind="stable")]]])
        left = np.delete(left, layer)
    return found[:count]
