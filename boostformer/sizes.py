"""Sizes of images as users write them. Torch-free."""

from __future__ import annotations

import re

SMALLEST_SIDE = 32


def parse_size(value: object) -> tuple[int, int]:
    """Read ``"512x768"`` or ``[512, 768]`` as (H, W) in pixels; ValueError when it is neither or too small."""
    sides: list[object] = list(value) if isinstance(value, tuple | list) else []
    if isinstance(value, str) and (match := re.fullmatch(r"\s*(\d+)\s*[x×]\s*(\d+)\s*", value)):
        sides = [int(side) for side in match.groups()]
    height, width = sides if len(sides) == 2 else (0, 0)
    if not (type(height) is int and type(width) is int and min(height, width) >= SMALLEST_SIDE):
        raise ValueError(
            f"{value!r} is not a size: write HEIGHTxWIDTH in pixels, such as 512x512, both at least {SMALLEST_SIDE}"
        )
    return height, width
