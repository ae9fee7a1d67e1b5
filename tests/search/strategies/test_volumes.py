"""The yardstick itself, against inclusion and exclusion."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from volumes import Points, hypervolume


def points(most: int, objectives: st.SearchStrategy[int]) -> st.SearchStrategy[Points]:
    """Few distinct values, so that ties and repeats are common."""

    def of(width: int) -> st.SearchStrategy[Points]:
        rows = st.lists(st.tuples(*[st.integers(0, 6)] * width), max_size=most)
        return rows.map(lambda found: np.array(found, dtype=float).reshape(-1, width))

    return objectives.flatmap(of)


@given(points(7, st.integers(1, 4)))
def test_hypervolume_is_the_volume_of_the_union_of_boxes(values: Points) -> None:
    """Inclusion-exclusion over all subsets: exact in integers."""
    corner = np.full(values.shape[1], 5.0)
    boxes = [v for v in values if (v < corner).all()]
    expected = 0.0
    for size in range(1, len(boxes) + 1):
        for chosen in itertools.combinations(boxes, size):
            expected += (-1) ** (size + 1) * float(np.prod(corner - np.max(chosen, axis=0)))
    assert hypervolume(values, corner) == expected


def test_hypervolume_by_hand() -> None:
    assert hypervolume(np.array([[1.0, 3.0], [2.0, 1.0], [3.0, 3.0]]), [4.0, 4.0]) == 3 + 4
    assert hypervolume(np.empty((0, 3)), [1.0, 1.0, 1.0]) == 0
    with pytest.raises(ValueError, match="2 objectives"):
        hypervolume(np.ones((1, 2)), [1.0])
