"""Layers and orders of points, against comparing all with all."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from results.pareto import non_dominated_rank
from search.strategies.ranking import best_first, front_of

points = st.integers(0, 30).flatmap(
    lambda n: arrays(np.float64, (n, 3), elements=st.integers(0, 5).map(float))  # with many ties
)


@given(points)
def test_the_front_is_that_of_comparing_all_with_all(values: np.ndarray) -> None:
    ranks = non_dominated_rank(values) if len(values) else np.empty(0)
    assert sorted(front_of(values)) == list(np.flatnonzero(ranks == 0))


@given(points, st.integers(0, 35))
def test_the_best_come_layer_by_layer(values: np.ndarray, count: int) -> None:
    order = best_first(values, count)
    assert len(set(order.tolist())) == len(order) == min(count, len(values))
    if len(values):
        ranks = non_dominated_rank(values)
        assert list(ranks[order]) == sorted(ranks)[: len(order)]


def test_within_a_layer_a_large_crowding_distance_comes_first() -> None:
    values = np.array([[0.0, 4.0], [1.0, 3.0], [1.1, 2.9], [2.5, 1.5], [4.0, 0.0]])
    assert best_first(values, 5).tolist() == [0, 4, 3, 2, 1]
