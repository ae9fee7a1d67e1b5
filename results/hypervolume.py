"""The hypervolume of a front: the share of the space of objectives that a search has conquered so far.

Functions take ``values`` of shape (points, objectives), all minimised and without NaN. What does not lie beneath the
reference point in every objective counts nothing.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]

QUANTILES = (0.1, 0.9)
"""Between these lie four of five random orders."""


def growth(values: Values, reference: Values) -> Values:
    """Compute the volume (points,) that is dominated after each point, in their order.

    Args:
        values: of the points.
        reference: the corner (objectives,) up to which volume counts.
    """
    front, total, found = np.empty((0, values.shape[1])), 0.0, np.zeros(len(values))
    for number, point in enumerate(values):
        if (point < reference).all() and not (front <= point).all(axis=1).any():
            total += _gain(point, front, reference)
            front = np.vstack([front[~(front >= point).all(axis=1)], point])
        found[number] = total
    return found


def in_random_order(values: Values, reference: Values, draws: int = 32) -> Values:
    """Compute what the same points give in random orders: mean, low and high (3, points), four of five between them.

    Args:
        values: of the points.
        reference: as for :func:`growth`.
        draws: number of orders.
    """
    rng = np.random.default_rng(0)
    orders = np.array([growth(rng.permutation(values), reference) for _ in range(draws)])
    return np.array([orders.mean(axis=0), *np.quantile(orders, QUANTILES, axis=0)])


def _gain(point: Values, front: Values, reference: Values) -> float:
    """Compute the volume that ``point`` (objectives,) dominates and the ``front`` (points, objectives) does not.

    Source: While et al., "A fast way of calculating exact hypervolumes", 2012 (WFG): of the whole box of the point, all
    but what the front dominates within it.
    """
    return float(np.prod(reference - point)) - _volume(np.maximum(front, point), reference)


def _volume(points: Values, reference: Values) -> float:
    points = _non_dominated(points)
    if not len(points):
        return 0.0
    if points.shape[1] == 2:
        heights = np.append(reference[1], points[:-1, 1]) - points[:, 1]  # sorted, so the second one falls
        return float(((reference[0] - points[:, 0]) * heights).sum())
    return sum(_gain(point, points[number + 1 :], reference) for number, point in enumerate(points))


def _non_dominated(points: Values) -> Values:
    """Return those that no other dominates, each once, sorted by their objectives."""
    points = np.unique(points, axis=0)
    no_worse = (points[:, None] <= points[None]).all(axis=2)
    return points[no_worse.sum(axis=0) == 1]
