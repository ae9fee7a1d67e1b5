"""A picture of a data set for people: samples beside their masks in colour, so that a wrong class catches the eye."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from boostformer.data.bands import RGB, ImageReading
from boostformer.data.config import SplitName
from boostformer.data.images import Array
from boostformer.data.mask_values import Meaning
from boostformer.data.samples import Sample
from boostformer.data.split import resize_image, resize_label
from boostformer.errors import UserError
from boostformer.files import replacing
from boostformer.overlay import font, legend, palette, shown, tinted

MOST_SAMPLES, MOST_CLASSES = 24, 60
SIDE = 288
"""Pixels of the longer side of a picture."""
_COLUMNS, _GAP, _TITLE = 4, 6, 18
_STRIPE = 4  # pixels
_DARK, _DARKER = 0.45, 0.15  # of ignored pixels
IGNORED = "ignored"


def draw_contact_sheet(
    samples: Mapping[SplitName, Sequence[Sample]], meaning: Meaning, file: Path, reading: ImageReading = RGB
) -> int:
    """Draw up to 24 samples, spread evenly over the splits, into a PNG; give how many there are.

    Each is drawn beside itself in its classes' colours, ignored pixels in dark stripes, under its split and file name;
    the classes that occur here stand at the bottom. UserError when there is nothing to draw, or ``file`` cannot be
    written.

    Args:
        samples: by split; each can be read, and has a mask of its image's size.
        meaning: of the mask values.
        file: to write.
        reading: of the images; of more than three bands the first three are shown.
    """
    chosen = list(chosen_samples(samples))
    if not chosen:
        raise UserError(f"{file}: no sample is without a fault, so there is nothing to draw")
    colours = np.concatenate([palette(len(meaning.labels)), np.array([[255, 0, 255], [40, 40, 40]], np.uint8)])
    pixels = np.zeros(len(colours), np.int64)
    cells = []
    for split, sample in chosen:
        image, numbers = _reduced(sample, meaning, reading)
        pixels += np.bincount(numbers.ravel(), minlength=len(colours))
        cells.append(_cell(f"{split} {sample.files()[0].name}", image, _overlay(image, numbers, colours)))
    sheet = _sheet(cells, _legend(meaning, pixels, colours))
    with replacing(file, parents=True) as part:
        sheet.save(part, "PNG")
    return len(cells)


def chosen_samples(samples: Mapping[SplitName, Sequence[Sample]]) -> Iterator[tuple[SplitName, Sample]]:
    """Choose up to 24 samples: as many of each split as there are, and of each at even distances."""
    left, parts = (
        MOST_SAMPLES,
        sorted((split for split in samples if samples[split]), key=lambda one: len(samples[one])),
    )
    count = {}
    for place, split in enumerate(parts):  # what a small one leaves is for the larger ones
        count[split] = min(len(samples[split]), left // (len(parts) - place))
        left -= count[split]
    for split, found in samples.items():
        for index in range(count.get(split, 0)):
            yield split, found[index * len(found) // count[split]]


def _reduced(sample: Sample, meaning: Meaning, reading: ImageReading) -> tuple[Array, NDArray[np.int64]]:
    """Read a sample at the sheet's scale: image and class numbers; behind the classes stand "no class" and ignored."""
    image, mask = shown(sample.image(reading)), sample.mask()
    scale = SIDE / max(mask.shape)
    shape = (max(1, round(mask.shape[0] * scale)), max(1, round(mask.shape[1] * scale)))
    label = meaning.classes[resize_label(mask.astype(np.uint16), shape)].astype(np.int64)
    behind = label >= meaning.ignored - 1
    label[behind] += len(meaning.labels) - (meaning.ignored - 1)
    return resize_image(np.ascontiguousarray(image), shape), label


def _overlay(image: Array, numbers: NDArray[np.int64], colours: Array) -> Array:
    drawn = tinted(image, numbers, colours)
    rows, columns = np.indices(numbers.shape)
    stripes = np.where((rows + columns) // _STRIPE % 2, _DARK, _DARKER)[..., None]
    ignored = (numbers == len(colours) - 1)[..., None]
    return np.where(ignored, (image * stripes).astype(np.uint8), drawn)


def _cell(title: str, image: Array, overlay: Array) -> Image.Image:
    """Draw two pictures beside each other under a title, which is cut where it is too long."""
    letters = font(12)
    width, height = 2 * image.shape[1] + 2, image.shape[0]
    canvas = Image.new("RGB", (2 * SIDE + 2, height + _TITLE), "white")
    while letters.getlength(title) > canvas.width:
        title = title.removesuffix("…")[:-1] + "…"
    ImageDraw.Draw(canvas).text((0, 1), title, fill="black", font=letters)
    canvas.paste(Image.fromarray(image), (0, _TITLE))
    canvas.paste(Image.fromarray(overlay), (width - image.shape[1], _TITLE))
    return canvas


def _legend(meaning: Meaning, pixels: NDArray[np.int64], colours: Array) -> Image.Image:
    """Name what occurs on the sheet, most frequent first, in as many columns as the sheet has."""
    names = [*meaning.labels, "without a class", IGNORED]
    shown = [int(i) for i in np.argsort(-pixels, kind="stable") if pixels[i]]
    hidden = shown[MOST_CLASSES:]
    shown = shown[:MOST_CLASSES]
    length = -(-len(shown) // _COLUMNS)
    columns = [shown[start : start + length] for start in range(0, len(shown), length)]
    blocks = [legend([names[i] for i in some], colours[some]) for some in columns]
    if hidden:
        blocks.append(legend([f"and {len(hidden)} more"], np.array([[255, 255, 255]], np.uint8)))
    canvas = Image.new("RGB", (sum(one.width for one in blocks), max(one.height for one in blocks)), "white")
    left = 0
    for block in blocks:
        canvas.paste(block, (left, 0))
        left += block.width
    return canvas


def _sheet(cells: Sequence[Image.Image], key: Image.Image) -> Image.Image:
    rows = [cells[start : start + _COLUMNS] for start in range(0, len(cells), _COLUMNS)]
    heights = [max(one.height for one in row) for row in rows]
    most = _COLUMNS * (2 * SIDE + 2 + _GAP) + _GAP
    key = key.crop((0, 0, min(key.width, most - 2 * _GAP), key.height))
    width = max(len(rows[0]) * (2 * SIDE + 2 + _GAP) + _GAP, key.width + 2 * _GAP)
    canvas = Image.new("RGB", (width, sum(heights) + _GAP * (len(rows) + 2) + key.height), "white")
    top = _GAP
    for row, height in zip(rows, heights, strict=True):
        for column, cell in enumerate(row):
            canvas.paste(cell, (_GAP + column * (2 * SIDE + 2 + _GAP), top))
        top += height + _GAP
    canvas.paste(key, (_GAP, top))
    return canvas
