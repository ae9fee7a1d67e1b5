"""Pictures of images with their classes in colour. Torch-free."""

from __future__ import annotations

import colorsys

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

OPACITY = 0.55
_ROWS_AT_ONCE = 64
_GOLDEN = 0.618033988749895
_FONT, _LINE, _SQUARE = 13, 18, 24


def palette(classes: int) -> NDArray[np.uint8]:
    """Make RGB colours (classes, 3) that are well apart: hues by the golden ratio, three lightnesses."""
    colours = [colorsys.hls_to_rgb(i * _GOLDEN % 1, (0.5, 0.68, 0.36)[i % 3], 0.85) for i in range(classes)]
    return (np.array(colours) * 255).astype(np.uint8).reshape(-1, 3)


def tinted(image: NDArray[np.uint8], numbers: NDArray[np.integer], colours: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Mix an image (h, w, 3) with the ``colours`` (n, 3) of its pixels' ``numbers`` (h, w)."""
    mixed = np.empty_like(image)
    for top in range(0, len(image), _ROWS_AT_ONCE):  # bounds memory: the sum is of doubles
        rows = slice(top, top + _ROWS_AT_ONCE)
        mixed[rows] = image[rows] * (1 - OPACITY) + colours[numbers[rows]] * OPACITY
    return mixed


def legend(names: list[str], colours: NDArray[np.uint8], height: int = 0) -> Image.Image:
    """Draw names under one another, each beside its colour (n, 3), at least ``height`` pixels high."""
    font = ImageFont.load_default(_FONT)
    width = _SQUARE + max((int(font.getlength(name)) for name in names), default=0) + 8
    canvas = Image.new("RGB", (width, max(height, _LINE * len(names) + 6)), "white")
    draw = ImageDraw.Draw(canvas)
    for row, (name, colour) in enumerate(zip(names, colours.tolist(), strict=True)):
        top = 4 + row * _LINE
        draw.rectangle((6, top + 2, 18, top + 14), fill=tuple(colour))
        draw.text((_SQUARE, top), name, fill="black", font=font)
    return canvas
