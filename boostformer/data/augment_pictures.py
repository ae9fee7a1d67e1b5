"""Random variation of the images of classification, by albumentations, as a function of a seed alone.

It is apart from that of segmentation because the library takes most of a second to import.
"""

from __future__ import annotations

import os
import random
from typing import Any

import numpy as np

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # it would ask the network for a newer release

import albumentations as A  # noqa: E402, N812

from boostformer.data.augment import Seed  # noqa: E402


class TransformChain:
    """A chain of albumentations' transforms of images alone."""

    def __init__(self, transforms: list[A.BasicTransform]) -> None:
        self._chain = A.Compose(transforms)

    def __call__(self, seed: Seed, **arrays: Any) -> dict[str, Any]:
        # One stream for the whole chain: ``set_random_seed`` would start each transform from the same
        # numbers, so that, say, flipped images were always the enlarged ones.
        generator = np.random.default_rng(seed)
        self._chain.set_random_state(generator, random.Random(int(generator.integers(2**63))))
        varied: dict[str, Any] = self._chain(**arrays)
        return varied


def classification_augmentation(
    size: tuple[int, int], magnitude: int = 9, erasing: float = 0.25, flip: float = 0.5
) -> TransformChain:
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
    return TransformChain(chain)
