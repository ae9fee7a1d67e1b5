"""Origins of the pixels of a varied image: a map that is varied like a mask, beside the mask.

Its values are far above any label, so that whatever a transform fills up with means "from outside".
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_FIRST = 1 << 16

Places = NDArray[np.int32]


def numbered_places(shape: tuple[int, int]) -> Places:
    """Number the pixels of an image of ``shape`` (h, w), row by row."""
    height, width = shape
    return (_FIRST + np.arange(height * width, dtype=np.int32)).reshape(height, width)


def inside(places: Places, shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Tell which pixels of the varied map come from the image of ``shape``."""
    return (places >= _FIRST) & (places < _FIRST + shape[0] * shape[1])


def places_of(places: Places, shape: tuple[int, int]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Give the row and the column in the image of ``shape`` that each pixel comes from; anything where from outside."""
    rows, columns = np.divmod(places.astype(np.int64) - _FIRST, shape[1])
    return rows.astype(np.float64), columns.astype(np.float64)
