"""Windows of one size over an image that is larger than a network's."""

from __future__ import annotations

import math

import numpy as np

from boostformer.data.images import Array


def window_starts(length: int, window: int, overlap: float, grid: int = 1) -> list[int]:
    """Place windows along a side: as few as overlap by the share ``overlap``, evenly, the last at the border.

    All begin at multiples of ``grid``, of which ``window`` is one; the side counts as the next multiple. One shorter
    than a window has one, which sticks out.
    """
    room = max(0, math.ceil(length / grid) - window // grid)
    stride = max(1, math.floor(window / grid * (1 - overlap)))
    count = math.ceil(room / stride) + 1
    return [room * number // max(1, count - 1) * grid for number in range(count)]


def cut(image: Array, place: tuple[int, int], size: tuple[int, int]) -> Array:
    """Cut the window (H, W, channels) of ``size`` that begins at ``place``; outside of the image it is 0."""
    (top, left), (height, width) = place, size
    inside = image[top : top + height, left : left + width]
    if inside.shape[:2] == size:
        return inside
    window = np.zeros((*size, *image.shape[2:]), image.dtype)
    window[: inside.shape[0], : inside.shape[1]] = inside
    return window
