"""A small data set whose classes can be told by their colour: rectangles on grey, in ADE20K's layout."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

COLOURS = {"red": (200, 40, 40), "green": (40, 180, 60), "blue": (40, 60, 200)}


def draw_coloured(rng: np.random.Generator) -> tuple[np.ndarray, list[tuple[str, int, int]]]:
    """Draw 96x64 pixels with a 20x30 rectangle of every colour; give them and each one's colour, left and top."""
    pixels, boxes = np.full((64, 96, 3), 128, np.uint8), []
    for column, colour in enumerate(rng.permutation(list(COLOURS))):
        top, left = int(rng.integers(2, 30)), 32 * column + int(rng.integers(1, 10))
        pixels[top : top + 30, left : left + 20] = COLOURS[colour]
        boxes.append((str(colour), left, top))
    return np.clip(pixels + rng.normal(0, 5, pixels.shape), 0, 255).astype(np.uint8), boxes


def write_coloured(
    root: Path, names: tuple[str, ...] | None = tuple(COLOURS), *, training: int = 12, validation: int = 4
) -> Path:
    """Write images of 96x64 pixels, each with one rectangle of every colour.

    Args:
        root: the folder to make.
        names: the colours in the order of their mask values, also written to ``classes.txt``; without them values are
            in the order of :data:`COLOURS` and no names are written.
        training: number of training images.
        validation: number of validation images.
    """
    rng = np.random.default_rng(0)
    for split, count in (("training", training), ("validation", validation)):
        for kind in ("images", "annotations"):
            (root / kind / split).mkdir(parents=True)
        for number in range(count):
            pixels, boxes = draw_coloured(rng)
            mask = np.zeros((64, 96), np.uint8)
            for colour, left, top in boxes:
                mask[top : top + 30, left : left + 20] = (names or tuple(COLOURS)).index(colour) + 1
            Image.fromarray(pixels).save(root / "images" / split / f"{number:02d}.png")
            Image.fromarray(mask).save(root / "annotations" / split / f"{number:02d}.png")
    if names is not None:
        (root / "classes.txt").write_text("".join(f"{name}\n" for name in names))
    return root
