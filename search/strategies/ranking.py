"""The best of many points, layer by layer, without comparing all with all."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from results.pareto import crowding_distance

Points = NDArray[np.float64]


def front_of(values: Points) -> NDArray[np.int64]:
    """Numbers of the points (N, M), all minimised, that none dominates; equal points are all kept.

    The point of the smallest sum is dominated by none of those left: it is kept, what it dominates goes, and so on.
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
    """Numbers of the ``count`` best points (N, M), by non-dominated rank, then by loneliness (as NSGA-II has it)."""
    left, found = np.arange(len(values)), np.empty(0, dtype=np.int64)
    while len(left) and len(found) < count:
        layer = np.sort(front_of(values[left]))
        lonely = crowding_distance(values[left[layer]])
        found = np.concatenate([found, left[layer[np.argsort(-lonely, kind="stable")]]])
        left = np.delete(left, layer)
    return found[:count]
