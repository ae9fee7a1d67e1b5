"""Hypervolumes: by hand, against inclusion and exclusion of boxes, and in random orders."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from results.hypervolume import growth, in_random_order


def union(points: np.ndarray, reference: np.ndarray) -> float:
    """The volume of a union of boxes by inclusion and exclusion, which needs few points."""
    total = 0.0
    for size in range(1, len(points) + 1):
        for some in itertools.combinations(points, size):
            total -= (-1) ** size * np.prod(np.maximum(reference - np.max(some, axis=0), 0))
    return total


def test_each_point_adds_what_no_other_dominates() -> None:
    values = np.array([[2.0, 2.0], [1.0, 3.0], [3.0, 3.0], [3.0, 1.0], [2.0, 2.0], [9.0, 0.0]])
    assert growth(values, np.array([4.0, 4.0])).tolist() == [4, 5, 5, 6, 6, 6]


@pytest.mark.parametrize("objectives", [1, 2, 3, 4])
def test_it_is_the_volume_of_the_union_of_boxes(objectives: int) -> None:
    values = np.random.default_rng(objectives).integers(0, 6, (9, objectives)).astype(float)
    reference = np.full(objectives, 5.0)
    found = growth(values, reference)
    assert [union(values[: n + 1], reference) for n in range(9)] == pytest.approx(found.tolist())


def test_random_orders_end_where_the_own_order_ends() -> None:
    values = np.random.default_rng(0).random((12, 3))
    mean, low, high = in_random_order(values, np.ones(3))
    assert (low <= mean + 1e-12).all() and (mean <= high + 1e-12).all() and (np.diff(mean) >= 0).all()
    assert [mean[-1], low[-1], high[-1]] == pytest.approx([growth(values, np.ones(3))[-1]] * 3)
