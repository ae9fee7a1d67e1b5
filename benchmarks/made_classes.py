"""Make images of generated classes, six shapes times four surfaces, to pre-train an encoder on with `pretrain`.

`python benchmarks/made_classes.py DIR [--each 200] [--size 64]`

DIR gets train/CLASS/*.png and val/CLASS/*.png, a tenth of as many in val. Colours, places, sizes, angles and a noisy
background are drawn, so that a class is told by its edges and its surface alone. `pretrain ARCH --data DIR` makes the
encoder that `lightening.py --encoder` starts from.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from itertools import product
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Field = NDArray[np.float64]
Shape = Callable[[Field, Field], NDArray[np.bool_]]
"""Tells which points are inside, x and y being 0 in its middle and 1 at its border."""

SHAPES: dict[str, Shape] = {
    "disc": lambda x, y: np.hypot(x, y) < 1,
    "ring": lambda x, y: abs(np.hypot(x, y) - 0.75) < 0.25,
    "square": lambda x, y: np.maximum(abs(x), abs(y)) < 0.8,
    "triangle": lambda x, y: (y < 0.7) & (y > 2 * abs(x) - 1),
    "cross": lambda x, y: (np.minimum(abs(x), abs(y)) < 0.3) & (np.maximum(abs(x), abs(y)) < 1),
    "bars": lambda x, y: (abs(y) < 0.9) & (abs((2.5 * x) % 1 - 0.5) < 0.25) & (abs(x) < 1),
}
SURFACES: dict[str, Callable[[Field, Field, np.random.Generator], Field]] = {
    "plain": lambda x, y, rng: np.ones_like(x),
    "checks": lambda x, y, rng: (np.floor(5 * x) + np.floor(5 * y)) % 2,
    "slope": lambda x, y, rng: np.clip((x + 1) / 2, 0, 1),
    "grain": lambda x, y, rng: rng.random(x.shape),
}


def drawn(shape: str, surface: str, size: int, rng: np.random.Generator) -> Image.Image:
    """Draw one image of a class."""
    rows, columns = np.mgrid[0:size, 0:size] / size
    radius, angle = rng.uniform(0.15, 0.35), rng.uniform(0, 2 * np.pi)
    middle = rng.uniform(radius, 1 - radius, size=2)
    right, down = (columns - middle[0]) / radius, (rows - middle[1]) / radius
    x, y = np.cos(angle) * right + np.sin(angle) * down, np.cos(angle) * down - np.sin(angle) * right
    ground, dark, light = rng.uniform(0, 1, size=(3, 3))
    pixels = ground + rng.normal(0, 0.08, size=(size, size, 3))
    inside = SHAPES[shape](x, y)
    share = SURFACES[surface](x, y, rng)[..., None]
    pixels = np.where(inside[..., None], share * light + (1 - share) * dark, pixels)
    return Image.fromarray((255 * np.clip(pixels, 0, 1)).astype(np.uint8))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path, metavar="DIR")
    parser.add_argument("--each", type=int, default=200, help="training images of each class")
    parser.add_argument("--size", type=int, default=64, help="pixels along a side")
    options = parser.parse_args()
    for number, (shape, surface) in enumerate(product(SHAPES, SURFACES)):
        rng = np.random.default_rng(number)
        for split, count in (("train", options.each), ("val", max(1, options.each // 10))):
            folder = options.out / split / f"{surface}_{shape}"
            folder.mkdir(parents=True, exist_ok=True)
            for index in range(count):
                drawn(shape, surface, options.size, rng).save(folder / f"{index:04d}.png")


if __name__ == "__main__":
    main()
