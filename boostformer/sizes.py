"""Sizes and counts as they are written, with bounds: nothing is built that no machine could hold. Torch-free."""

from __future__ import annotations

import re
from typing import Any

from boostformer.errors import short

SMALLEST_SIDE, LARGEST_SIDE = 32, 16_384
MOST = {"width": 8_192, "depth": 256, "classes": 65_535, "bands": 4_096}
"""The largest value of each count of a network; all are at least 1."""


def count_refusal(key: str, value: object) -> str | None:
    """Say why ``value`` cannot be the count ``key`` of a network, one of :data:`MOST`; None where it can."""
    if type(value) is not int or value < 1:
        return f"{short(value)} is not a whole number of at least 1"
    if value > MOST[key]:
        return f"{short(value)} is more than {MOST[key]:,}, the most that is allowed"
    return None


def parse_size(value: object) -> tuple[int, int]:
    """Read ``"512x768"`` or ``[512, 768]`` as (H, W) in pixels; ValueError when it is neither, or out of bounds."""
    sides: list[Any] = list(value) if isinstance(value, tuple | list) else []
    if isinstance(value, str) and (match := re.fullmatch(r"\s*(\d{1,9})\s*[x×]\s*(\d{1,9})\s*", value)):
        sides = [int(side) for side in match.groups()]
    height, width = sides if len(sides) == 2 else (0, 0)
    if any(type(side) is not int or not SMALLEST_SIDE <= side <= LARGEST_SIDE for side in (height, width)):
        raise ValueError(
            f"{short(value)} is not a size: write HEIGHTxWIDTH in pixels, such as 512x512, both at least "
            f"{SMALLEST_SIDE} and at most {LARGEST_SIDE:,}"
        )
    return height, width
