"""Pictures of images with their classes in colour. Torch-free."""

from __future__ import annotations

import colorsys
import functools
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

OPACITY = 0.55
_ROWS_AT_ONCE = 64
_GOLDEN = 0.618033988749895
_FONT, _LINE, _SQUARE, _GAP = 13, 18, 24, 4

Row = tuple[NDArray[np.uint8], NDArray[np.integer], NDArray[np.integer]]
"""An image (h, w, 3), its label (h, w) and the prediction (h, w)."""


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


@functools.cache
def font(size: int) -> ImageFont.FreeTypeFont:
    """Load the font of pictures: matplotlib's, which is found without importing it; Pillow's own has no umlauts."""
    found = find_spec("matplotlib")
    assert found is not None and found.origin is not None, "it is installed with this package"
    return ImageFont.truetype(Path(found.origin).with_name("mpl-data") / "fonts/ttf/DejaVuSans.ttf", size)


def legend(names: list[str], colours: NDArray[np.uint8], height: int = 0) -> Image.Image:
    """Draw names under one another, each beside its colour (n, 3), at least ``height`` pixels high."""
    letters = font(_FONT)
    width = _SQUARE + max((int(letters.getlength(name)) for name in names), default=0) + 8
    canvas = Image.new("RGB", (width, max(height, _LINE * len(names) + 6)), "white")
    draw = ImageDraw.Draw(canvas)
    for row, (name, colour) in enumerate(zip(names, colours.tolist(), strict=True)):
        top = 4 + row * _LINE
        draw.rectangle((6, top + 2, 18, top + 14), fill=tuple(colour))
        draw.text((_SQUARE, top), name, fill="black", font=letters)
    return canvas


def shown(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Give a picture (h, w, 3) of any bands: of one or two the first as grey, of more the first three."""
    return np.repeat(image[..., :1], 3, axis=2) if image.shape[2] < 3 else np.ascontiguousarray(image[..., :3])


def side_by_side(
    image: NDArray[np.uint8], label: NDArray[np.integer], predicted: NDArray[np.integer], names: Sequence[str]
) -> Image.Image:
    """Draw the image, its label and the prediction beside each other, with a legend of the classes in either.

    Args:
        image: uint8 RGB (h, w, 3).
        label: class numbers (h, w); higher ones are ignored, and their pixels stay untinted.
        predicted: class numbers (h, w).
        names: of the classes.
    """
    return rows_side_by_side([(image, label, predicted)], names)


def rows_side_by_side(rows: Sequence[Row], names: Sequence[str]) -> Image.Image:
    """Draw several images as :func:`side_by_side` does, beneath each other, with one legend for all."""
    classes = len(names)
    counts = sum(np.bincount(part.ravel(), minlength=classes)[:classes] for _, *parts in rows for part in parts)
    panels = [[image, *(by_class(image, part, classes) for part in parts)] for image, *parts in rows]
    return _with_legend(panels, np.asarray(counts), names)


def by_class(image: NDArray[np.uint8], numbers: NDArray[np.integer], classes: int) -> NDArray[np.uint8]:
    """Mix an image (h, w, 3) with the colours of its pixels' ``numbers`` (h, w); those from ``classes`` on stay."""
    mixed = tinted(image, np.minimum(numbers, classes - 1), palette(classes))
    mixed[numbers >= classes] = image[numbers >= classes]
    return mixed


def _with_legend(
    rows: Sequence[Sequence[NDArray[np.uint8]]], counts: NDArray[np.integer], names: Sequence[str]
) -> Image.Image:
    occurring = [int(i) for i in np.argsort(-counts, kind="stable") if counts[i]]
    height = sum(panels[0].shape[0] + _GAP for panels in rows) - _GAP
    key = legend([names[i] for i in occurring], palette(len(names))[occurring], height)
    right = max(sum(panel.shape[1] + _GAP for panel in panels) for panels in rows) - _GAP
    canvas = Image.new("RGB", (right + key.width, key.height), "white")
    top = 0
    for panels in rows:
        for number, panel in enumerate(panels):
            canvas.paste(Image.fromarray(panel), (number * (panel.shape[1] + _GAP), top))
        top += panels[0].shape[0] + _GAP
    canvas.paste(key, (right, 0))
    return canvas
