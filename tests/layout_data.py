"""The small data set that every layout's writer writes, rectangles of three classes on grey, which is no class.

Beside it what tests of layouts look at it with.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from coloured_data import COLOURS, draw_coloured
from PIL import Image

from boostformer.data import DataConfig, SegmentationSplit, open_split
from boostformer.data.config import SplitName
from boostformer.errors import UserError

CLASSES = ("road", "fence", "car")
"""Names of mask values 1, 2, 3, which Cityscapes and CamVid have, too; 0 is no class."""
COUNTS: Mapping[str, int] = {"training": 12, "validation": 4}


@dataclass(frozen=True)
class Made:
    """An image, its mask of values 0…3, and the rectangles in it: value, left, top, right, bottom, ends excluded."""

    name: str
    pixels: np.ndarray
    mask: np.ndarray
    boxes: tuple[tuple[int, int, int, int, int], ...]

    def write(self, image: Path, mask: Path, values: object = range(4), palette: object = None) -> None:
        """Write both files.

        Args:
            image: the image's file; a JPEG or whatever its suffix says.
            mask: the mask's file, a PNG.
            values: what is written for 0, 1, 2 and 3: numbers, or colours (r, g, b).
            palette: colours (n, 3) of the numbers, if the file is to have any.
        """
        for path in (image, mask):
            path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(self.pixels).save(image)
        painted = Image.fromarray(np.array(values, np.uint8)[self.mask])
        if palette is not None:
            painted.putpalette(np.array(palette, np.uint8).ravel().tolist())
        painted.save(mask)


@cache
def made() -> Mapping[str, tuple[Made, ...]]:
    """Draw the images of each part, 96x64 but for the first, which is 95x63; names are such as Cityscapes has."""
    rng = np.random.default_rng(0)
    parts = {}
    for city, (split, count) in zip(("aachen", "bochum"), COUNTS.items(), strict=True):
        parts[split] = tuple(_draw(rng, f"{city}_{number:06}_000019", odd=number == 0) for number in range(count))
    return parts


def short(name: str) -> str:
    """The two digits of a made image's name in which it differs from the others of its part."""
    return name[11:13]


def _draw(rng: np.random.Generator, name: str, odd: bool) -> Made:
    pixels, drawn = draw_coloured(rng)
    mask, boxes = np.zeros(pixels.shape[:2], np.uint8), []
    for colour, left, top in drawn:
        value = list(COLOURS).index(colour) + 1
        mask[top : top + 30, left : left + 20] = value
        boxes.append((value, left, top, left + 20, top + 30))
    height, width = (63, 95) if odd else (64, 96)
    return Made(name, pixels[:height, :width], mask[:height, :width], tuple(boxes))


def opened(root: Path, split: SplitName = "training", **settings: object) -> SegmentationSplit:
    return open_split(DataConfig(**{"root": root, "size": "32x48", **settings}), split)


def refused(root: Path, **settings: object) -> str:
    """The one line that opening the training part is refused with, which names something below the root."""
    with pytest.raises(UserError) as caught:
        opened(root, **settings)
    assert "\n" not in str(caught.value) and str(root) in str(caught.value)
    return str(caught.value)


def said(split: SegmentationSplit) -> str:
    return "\n".join(split.remarks)


def first_labels(split: SegmentationSplit) -> dict[int, set[int]]:
    """The labels that the first training image has where the made mask has each value."""
    label, mask = split.label(0), made()["training"][0].mask
    return {value: {int(found) for found in np.unique(label[mask == value])} for value in range(4)}
