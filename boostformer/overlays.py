"""Pictures of classes on photos: tints, legends, and a photo beside its label and what a network predicts."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

OPACITY = 0.55
ROWS_AT_ONCE = 64
_GOLDEN = 0.618033988749895
_LINE, _GAP = 18, 4


def palette(classes: int) -> NDArray[np.uint8]:
    """Make RGB colours (classes, 3) that are well apart: hues by the golden ratio, three lightnesses."""
    colours = [colorsys.hls_to_rgb(i * _GOLDEN % 1, (0.5, 0.68, 0.36)[i % 3], 0.85) for i in range(classes)]
    return (np.array(colours) * 255).astype(np.uint8)


def overlay(image: NDArray[np.uint8], predicted: NDArray[np.unsignedinteger], names: Sequence[str]) -> Image.Image:
    """Tint the image (h, w, 3) by class, and add a legend of the classes that occur, most frequent first."""
    return _with_legend(
        [_tinted(image, predicted, len(names))], np.bincount(predicted.ravel(), minlength=len(names)), names
    )


def side_by_side(
    image: NDArray[np.uint8],
    label: NDArray[np.unsignedinteger],
    predicted: NDArray[np.unsignedinteger],
    names: Sequence[str],
) -> Image.Image:
    """Draw the image, its label and the prediction beside each other, with a legend of the classes in either.

    Args:
        image: uint8 RGB (h, w, 3).
        label: class numbers (h, w); higher ones are ignored, and their pixels stay untinted.
        predicted: class numbers (h, w).
        names: of the classes.
    """
    classes = len(names)
    counts = sum(np.bincount(part.ravel(), minlength=classes)[:classes] for part in (label, predicted))
    panels = [Image.fromarray(image), *(_tinted(image, part, classes) for part in (label, predicted))]
    return _with_legend(panels, np.asarray(counts), names)


def _tinted(image: NDArray[np.uint8], values: NDArray[np.unsignedinteger], classes: int) -> Image.Image:
    colours, mixed = palette(classes), image.copy()
    for top in range(0, len(image), ROWS_AT_ONCE):  # bounds memory: the sum is of doubles
        rows = slice(top, top + ROWS_AT_ONCE)
        known = values[rows] < classes
        mixed[rows][known] = image[rows][known] * (1 - OPACITY) + colours[values[rows][known]] * OPACITY
    return Image.fromarray(mixed)


def _with_legend(panels: Sequence[Image.Image], counts: NDArray[np.integer], names: Sequence[str]) -> Image.Image:
    shown = [int(i) for i in np.argsort(-counts, kind="stable") if counts[i]]
    colours, font = palette(len(names)), ImageFont.load_default(13)
    left = sum(panel.width + _GAP for panel in panels) - _GAP
    width = 24 + max(int(font.getlength(names[i])) for i in shown) + 8
    canvas = Image.new("RGB", (left + width, max(panels[0].height, _LINE * len(shown) + 6)), "white")
    for number, panel in enumerate(panels):
        canvas.paste(panel, (number * (panel.width + _GAP), 0))
    draw = ImageDraw.Draw(canvas)
    for row, i in enumerate(shown):
        top = 4 + row * _LINE
        draw.rectangle((left + 6, top + 2, left + 18, top + 14), fill=tuple(colours[i].tolist()))
        draw.text((left + 24, top), names[i], fill="black", font=font)
    return canvas
