"""Random variation of training images, as a function of a seed alone.

Each sample is varied from its own seed, so that batches do not depend on how many processes load them,
nor on where a run was interrupted.
"""

from __future__ import annotations

import os
import random
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # it would ask the network for a newer release

import albumentations as A  # noqa: E402, N812

from boostformer.data.images import Array  # noqa: E402
from boostformer.data.labels import IGNORED  # noqa: E402
from boostformer.data.split import resize_image, resize_label  # noqa: E402
from boostformer.data.variation import Variation  # noqa: E402

MOST_OF_ONE_CLASS = 0.75
CROP_ATTEMPTS = 10


class ScaledCrop(A.DualTransform):
    """Scale by a random factor, crop to ``size``, pad images with 0 and labels with the ignored one.

    Of up to ten crops the first is taken of which one class covers at most 75 % of the labelled pixels
    (or the last one). Only the crop is scaled, not the whole image, which costs a fraction and gives the
    same up to the crop's border. With ``quarter_turns`` it is turned by 0, 90, 180 or 270 degrees, too.
    """

    def __init__(self, size: tuple[int, int], scale: tuple[float, float], quarter_turns: bool = False) -> None:
        super().__init__(p=1.0)
        self.size, self.scale, self.quarter_turns = size, scale, quarter_turns

    @property
    def targets_as_params(self) -> list[str]:
        return ["image", "mask"]

    def get_params_dependent_on_data(self, params: dict[str, Any], data: dict[str, Any]) -> dict[str, Any]:
        factor = self.py_random.uniform(*self.scale)
        turns = self.py_random.randrange(4) if self.quarter_turns else 0
        size = self.size[::-1] if turns % 2 else self.size
        for _ in range(CROP_ATTEMPTS):
            box, shape = self._place(data["mask"].shape, size, factor)
            crop = resize_label(data["mask"][box], shape)
            if is_varied(crop):
                break
        return {"box": box, "shape": shape, "turns": turns}

    def _place(
        self, whole: Sequence[int], size: tuple[int, int], factor: float
    ) -> tuple[tuple[slice, slice], tuple[int, int]]:
        """Choose the crop in the unscaled image, and its shape once it is scaled (at most ``size``)."""
        slices, shape = [], []
        for length, target in zip(whole, size, strict=True):
            scaled = max(1, round(length * factor))
            kept = min(scaled, target)
            source = min(length, max(1, round(kept / factor)))
            start = self.py_random.randint(0, length - source)
            slices.append(slice(start, start + source))
            shape.append(kept)
        return (slices[0], slices[1]), (shape[0], shape[1])

    def apply(self, img: Array, box: tuple, shape: tuple[int, int], turns: int, **params: Any) -> Array:
        return self._pad(np.rot90(resize_image(img[box], shape), turns), 0)

    def apply_to_mask(self, mask: Array, box: tuple, shape: tuple[int, int], turns: int, **params: Any) -> Array:
        return self._pad(np.rot90(resize_label(mask[box], shape), turns), np.iinfo(mask.dtype).max)

    def _pad(self, array: Array, value: int) -> Array:
        below, right = self.size[0] - array.shape[0], self.size[1] - array.shape[1]
        if below == right == 0:
            return array
        if array.ndim == 3 and array.shape[2] != 3:  # OpenCV drops the axis of one band, and takes four at most
            return np.pad(array, ((0, below), (0, right), (0, 0)), constant_values=value)
        return cv2.copyMakeBorder(array, 0, below, 0, right, cv2.BORDER_CONSTANT, value=[value] * 3)  # type: ignore[return-value]


class Jitter(A.ColorJitter):
    """Colour jitter of RGB; of other numbers of bands brightness and contrast alone, alike on all bands."""

    def apply(
        self, img: Array, brightness: float, contrast: float, saturation: float, hue: float, order: Any, **params: Any
    ) -> Array:
        if img.shape[2] == 3:
            return super().apply(img, brightness, contrast, saturation, hue, order, **params)
        numbers = np.arange(256, dtype=np.float64)
        brighter = np.clip(numbers * brightness, 0, 255)
        # Contrast is about the mean of all bands as it is once they are brighter.
        mean = brighter @ np.bincount(img.ravel(), minlength=256) / img.size
        table = np.clip(mean + contrast * (brighter - mean), 0, 255)
        return np.round(table).astype(np.uint8)[img]


def is_varied(label: Array) -> bool:
    """Tell whether no class covers more than 75 % of the pixels that are not ignored, the highest of the type."""
    counts = np.bincount(label.ravel(), minlength=np.iinfo(label.dtype).max + 1)[:-1]
    return counts.max() <= MOST_OF_ONE_CLASS * counts.sum() and counts.max() > 0


class Augmentation:
    """A chain of transforms whose every random choice follows from the seed of the call."""

    def __init__(self, transforms: list[A.BasicTransform]) -> None:
        self._chain = A.Compose(transforms, additional_targets={"places": "mask"})

    def __call__(self, seed: int | Sequence[int], **arrays: Any) -> dict[str, Any]:
        """Vary ``image=`` uint8 (h, w, bands) and, if any, ``mask=`` and int32 ``places=`` (h, w) alike."""
        # One stream for the whole chain: ``set_random_seed`` would start each transform from the same
        # numbers, so that, say, flipped images were always the enlarged ones.
        generator = np.random.default_rng(seed)
        self._chain.set_random_state(generator, random.Random(int(generator.integers(2**63))))
        return self._chain(**arrays)


def segmentation_augmentation(
    size: tuple[int, int], variation: Variation | None = None, ignored: int = IGNORED
) -> Augmentation:
    """SegFormer's training augmentation (NVlabs), as far as ``variation`` leaves it so.

    That is a scaled crop, a flip and photometric distortion.

    Args:
        size: (H, W) of the crops.
        variation: how strongly images are varied; by default as there.
        ignored: the label of pixels that a rotation brings in from outside.
    """
    how = variation or Variation()
    chain: list[A.BasicTransform] = [ScaledCrop(size, how.scale, how.quarter_turns)]
    if how.rotate:
        # The label's nearest pixel, and no colours from outside: such pixels do not count.
        chain.append(A.Rotate((-how.rotate, how.rotate), fill=0, fill_mask=ignored, p=1))
    chain.append(A.HorizontalFlip(p=how.flip))
    if how.vertical_flip:
        chain.append(A.VerticalFlip(p=how.vertical_flip))
    if how.colour:
        half = (1 - 0.5 * how.colour, 1 + 0.5 * how.colour)
        brightness = (1 - 0.125 * how.colour, 1 + 0.125 * how.colour)
        hue = (-0.1 * how.colour, 0.1 * how.colour)
        chain.append(Jitter(brightness=brightness, contrast=half, saturation=half, hue=hue, p=0.75))
    return Augmentation(chain)


def classification_augmentation(
    size: tuple[int, int], magnitude: int = 9, erasing: float = 0.25, flip: float = 0.5
) -> Augmentation:
    """Random resized crop, flip, two operations of RandAugment (Cubuk et al. 2020), random erasing.

    Args:
        size: (H, W) of the results.
        magnitude: of RandAugment, from 0 (nothing) to 10.
        erasing: a probability.
        flip: the probability that left and right are swapped.
    """
    m = magnitude / 10
    factor = (1 - 0.9 * m, 1 + 0.9 * m)
    operations: list[A.BasicTransform] = [
        A.AutoContrast(p=1),
        A.Equalize(p=1),
        A.Rotate(limit=(-30 * m, 30 * m), p=1),
        A.Affine(shear=(-17 * m, 17 * m), p=1),
        A.Affine(translate_percent=(-0.45 * m, 0.45 * m), p=1),
        A.Solarize(threshold_range=(1 - m, 1), p=1),
        A.Posterize(num_bits=min(7, 8 - round(4 * m)), p=1),
        A.ColorJitter(brightness=factor, contrast=(1, 1), saturation=(1, 1), hue=(0, 0), p=1),
        A.ColorJitter(brightness=(1, 1), contrast=factor, saturation=(1, 1), hue=(0, 0), p=1),
        A.ColorJitter(brightness=(1, 1), contrast=(1, 1), saturation=factor, hue=(0, 0), p=1),
        A.Sharpen(alpha=(0, 0.9 * m), p=1),
    ]
    chain: list[A.BasicTransform] = [
        A.RandomResizedCrop(size=size, scale=(0.08, 1.0), p=1),
        A.HorizontalFlip(p=flip),
    ]
    if magnitude:
        chain.append(A.SomeOf(operations, n=2, replace=True, p=1))
    chain.append(A.Erasing(scale=(0.02, 0.33), ratio=(0.3, 3.3), p=erasing))
    return Augmentation(chain)
