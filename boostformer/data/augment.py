"""Random variation of training images, as a function of a seed alone.

Each sample is varied from its own seed, so that batches do not depend on how many processes load them,
nor on where a run was interrupted.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import cv2
import numpy as np

from boostformer.data.colour_jitter import ColourJitter
from boostformer.data.images import Array
from boostformer.data.split import by_bands, resize_image, resize_label
from boostformer.data.variation import Variation

MOST_OF_ONE_CLASS = 0.75
CROP_ATTEMPTS = 10
COUNTED = 1024
"""About so many pixels, or all where there are fewer, tell whether a crop is varied."""

Seed = int | Sequence[int]


class Augmentation(Protocol):
    """A random variation whose every choice follows from the seed of the call."""

    def __call__(self, seed: Seed, **arrays: Any) -> dict[str, Any]:
        """Vary ``image=`` uint8 (h, w, bands) and, if any, ``mask=`` and int32 ``places=`` (h, w) alike."""
        ...


def outside(array: Array) -> int:
    """Give what stands for pixels from outside: 0 in images (h, w, bands), the highest of its type in maps (h, w)."""
    return 0 if array.ndim == 3 else int(np.iinfo(array.dtype).max)


def is_varied(label: Array) -> bool:
    """Tell whether no class covers more than 75 % of the pixels that are not ignored, the highest of the type.

    Of a large label only every so many-th row and column is looked at.
    """
    step = max(1, math.isqrt(label.size // COUNTED))
    counts = np.bincount((label[::step, ::step] + 1).ravel())[1:]  # the ignored one has become 0
    return counts.size > 0 and bool(counts.max() <= MOST_OF_ONE_CLASS * counts.sum())


@dataclass(frozen=True)
class Move:
    """Fate of the places of pixels, drawn once for an image and its maps.

    Args:
        box: what is cropped from the whole.
        shape: (h, w) that the crop is scaled to.
        turns: quarter turns that follow.
        flip: whether left and right are swapped then.
        vertical_flip: whether top and bottom are.
        size: (H, W) that the result is padded to, below and right or, of a flipped one, opposite.
        angle: degrees that all is rotated by in the end, about its centre.
    """

    box: tuple[slice, slice]
    shape: tuple[int, int]
    turns: int
    flip: bool
    vertical_flip: bool
    size: tuple[int, int]
    angle: float

    @classmethod
    def draw(cls, label: Array, size: tuple[int, int], how: Variation, rng: random.Random) -> Move:
        """Draw a move of the image with ``label`` (h, w); of up to ten crops the first that is varied, or the last."""
        factor = rng.uniform(*how.scale)
        turns = rng.randrange(4) if how.quarter_turns else 0
        flip, vertical_flip = rng.random() < how.flip, rng.random() < how.vertical_flip
        angle = rng.uniform(-how.rotate, how.rotate)
        shape = [
            min(max(1, round(length * factor)), most)
            for length, most in zip(label.shape, size[::-1] if turns % 2 else size, strict=True)
        ]
        # Only the crop is scaled, not the whole image: the same up to the crop's border, for a fraction of the time.
        source = [min(n, max(1, round(kept / factor))) for n, kept in zip(label.shape, shape, strict=True)]
        for _ in range(CROP_ATTEMPTS):
            top, left = (int(rng.random() * (n - length + 1)) for n, length in zip(label.shape, source, strict=True))
            box = slice(top, top + source[0]), slice(left, left + source[1])
            if is_varied(label[box]):
                break
        return cls(box, (shape[0], shape[1]), turns, flip, vertical_flip, size, angle)

    @property
    def grows(self) -> bool:
        return self.shape[0] * self.shape[1] > math.prod(part.stop - part.start for part in self.box)

    def image(self, image: Array, colours: ColourJitter | None) -> Array:
        """Move an image (h, w, bands) and change its ``colours``."""
        crop = image[self.box]
        if colours is not None and self.grows:  # wherever there are fewer pixels
            crop = colours(crop)
        crop = resize_image(crop, self.shape, least_area=0.5)
        if colours is not None and not self.grows:
            crop = colours(crop)
        return self._framed(crop)

    def map(self, array: Array) -> Array:
        """Move a map (h, w) of numbers that are not to be mixed."""
        return self._framed(resize_label(array[self.box], self.shape))

    def _framed(self, array: Array) -> Array:
        """Turn and flip, pad and rotate what is scaled."""
        if self.turns:
            code = (cv2.ROTATE_90_COUNTERCLOCKWISE, cv2.ROTATE_180, cv2.ROTATE_90_CLOCKWISE)[self.turns - 1]
            array = by_bands(lambda part: cv2.rotate(part, code), array)
        if self.flip or self.vertical_flip:
            axes = -1 if self.flip and self.vertical_flip else int(self.flip)
            array = by_bands(lambda part: cv2.flip(part, axes), array)
        (height, width), bands = array.shape[:2], array.shape[2:]
        top = self.size[0] - height if self.vertical_flip else 0
        left = self.size[1] - width if self.flip else 0
        whole = np.full((*self.size, *bands), outside(array), array.dtype)
        whole[top : top + height, left : left + width] = array
        return self._rotated(whole) if self.angle else whole

    def _rotated(self, array: Array) -> Array:
        centre = (self.size[1] - 1) / 2, (self.size[0] - 1) / 2
        matrix = cv2.getRotationMatrix2D(centre, self.angle, 1)
        mixing = cv2.INTER_LINEAR if array.ndim == 3 else cv2.INTER_NEAREST
        fill = [outside(array)] * 4
        return by_bands(
            lambda part: cv2.warpAffine(part, matrix, self.size[::-1], flags=mixing, borderValue=fill), array
        )


class SegmentationAugmentation:
    """SegFormer's training augmentation (NVlabs), as far as ``variation`` leaves it so.

    That is a crop of an image scaled at random, a flip and photometric distortion.

    Args:
        size: (H, W) of the crops.
        variation: how strongly images are varied; by default as there.
    """

    def __init__(self, size: tuple[int, int], variation: Variation | None = None) -> None:
        self._size, self._how = size, variation or Variation()

    def __call__(self, seed: Seed, **arrays: Any) -> dict[str, Any]:
        """Vary ``image=`` and its label ``mask=``, and ``places=`` if there are any; all that is given back is new."""
        rng = random.Random(" ".join(map(str, (seed,) if isinstance(seed, int) else seed)))
        image = arrays.pop("image")
        move = Move.draw(arrays["mask"], self._size, self._how, rng)
        colours = ColourJitter.draw(self._how.colour, rng)
        return {"image": move.image(image, colours)} | {name: move.map(array) for name, array in arrays.items()}
