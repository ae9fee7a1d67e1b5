"""Advice that follows from a data set: a size at which networks see it, and classes that a flip confuses."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from boostformer.data.aspect import MOST_STRETCHED
from boostformer.data.config import Fit
from boostformer.data.summary import listed

MULTIPLE = 32
"""Networks halve images five times."""
_TOLERANCES = (1.02, 1.05, 1.1)


def best_size(shapes: NDArray[np.int64], most: int | None = None) -> tuple[int, int] | None:
    """Find the largest (H, W) of multiples of 32 that enlarges none of the images and keeps their proportions.

    Proportions are those of the median image, up to a few percent. None when images are too small, or when their own
    differ so much that one size would stretch many of them.

    Args:
        shapes: heights and widths (n, 2).
        most: pixels that it may have; without, as many as the images. Few sizes are small, so that proportions may then
            be off by up to :data:`boostformer.data.aspect.MOST_STRETCHED`.
    """
    aspects = shapes[:, 1] / shapes[:, 0]
    low, middle, high = np.quantile(aspects, (0.1, 0.5, 0.9))
    if high / low > MOST_STRETCHED:
        return None
    rows, columns = (np.arange(MULTIPLE, side + 1, MULTIPLE) for side in shapes.min(axis=0))
    height, width = (grid.ravel() for grid in np.meshgrid(rows, columns))
    ratio = (width / height) / middle
    stretch = np.where(height * width <= (most or np.inf), np.maximum(ratio, 1 / ratio), np.inf)
    for tolerance in _TOLERANCES if most is None else (*_TOLERANCES, MOST_STRETCHED):
        if (close := np.flatnonzero(stretch <= tolerance)).size:
            best = close[np.argmax((height * width)[close])]
            return int(height[best]), int(width[best])
    return None


def size_advice(shapes: NDArray[np.int64], size: tuple[int, int] | None, fit: Fit) -> list[str]:
    """Say which size suits the images, and what is wrong with ``size`` (H, W), if there is one.

    Args:
        shapes: heights and widths (n, 2) of the images.
        size: what the run file has.
        fit: how images are brought to it.
    """
    if not len(shapes):
        return []
    lines = []
    if size is not None:
        larger = _enlarged(shapes, size, fit)
        if larger:
            lines.append(f"size {size[0]}x{size[1]} enlarges {larger} of {len(shapes)} images, which adds no detail")
        if odd := [side for side in size if side % MULTIPLE]:
            lines.append(f"size {size[0]}x{size[1]}: {odd[0]} is no multiple of {MULTIPLE}")
    if (best := best_size(shapes)) is not None:
        lines.append(
            f"size {best[0]}x{best[1]} (height x width) is the largest of multiples of {MULTIPLE} that keeps "
            "proportions and enlarges no image; smaller ones are quicker"
        )
    else:
        side = max(MULTIPLE, int(shapes.min()) // MULTIPLE * MULTIPLE)
        lines.append(
            f"no size keeps the proportions of most images; `fit: short_side` with size {side}x{side} stretches none"
        )
    return lines


def _enlarged(shapes: NDArray[np.int64], size: tuple[int, int], fit: Fit) -> int:
    """Count the images that are smaller than networks see them."""
    if fit == "short_side":
        return int((shapes.min(axis=1) < min(size)).sum())
    return int((shapes < np.array(size)).any(axis=1).sum())


def flip_advice(labels: Sequence[str]) -> list[str]:
    """Say which classes tell left from right, if any."""
    sided = [name for name in labels if name.casefold().startswith(("left", "right"))]
    if not sided:
        return []
    return [f"{listed(sided)}: images are flipped at random in training, which makes left right; turn `flip` off"]
