"""The hypervolume, by which fronts and expected gains are judged."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]


def hypervolume(values: Points, reference: Sequence[float] | Points) -> float:
    """The exact volume that the points dominate below ``reference`` (shape (objectives,)).

    By slicing along the last objective (While et al., "A faster algorithm for calculating hypervolume",
    2006): quick up to three objectives, exponential beyond. Points that do not beat the reference in every
    objective add nothing.
    """
    corner = np.asarray(reference, dtype=np.float64)
    if corner.shape != values.shape[1:]:
        raise ValueError(f"reference has shape {corner.shape}, the points have {values.shape[1]} objectives")
    return _volume(values[(values < corner).all(axis=1)], corner)


def _volume(values: Points, corner: Points) -> float:
    if len(values) == 0:
        return 0.0
    if len(corner) == 1:
        return float(corner[0] - values.min())
    if len(corner) == 2:
        ordered = values[np.argsort(values[:, 0], kind="stable")]
        widths = np.diff(np.append(ordered[:, 0], corner[0]))
        return float(widths @ (corner[1] - np.minimum.accumulate(ordered[:, 1])))
    ordered = values[np.argsort(values[:, -1], kind="stable")]
    heights = np.diff(np.append(ordered[:, -1], corner[-1]))
    return sum(
        float(height) * _volume(ordered[: i + 1, :-1], corner[:-1]) for i, height in enumerate(heights) if height > 0
    )
