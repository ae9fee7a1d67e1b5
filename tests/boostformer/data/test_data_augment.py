"""Augmentation: a function of its seed; images and labels stay together; crops are varied."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from boostformer.data.augment import (
    Augmentation,
    ScaledCrop,
    classification_augmentation,
    is_varied,
    segmentation_augmentation,
)
from boostformer.data.normalise import MEAN, STD, normalise

SIZE = (48, 64)
seeds = st.integers(0, 2**40)


def coded_pair(height: int = 40, width: int = 56) -> tuple[np.ndarray, np.ndarray]:
    """A label of large patches, and an image whose colour tells the label."""
    label = (np.arange(height)[:, None] // 10 * 6 + np.arange(width)[None] // 10).astype(np.uint8)
    return np.repeat((label * 8 + 10)[..., None], 3, axis=2), label


segmentation = segmentation_augmentation(SIZE)
classification = classification_augmentation(SIZE)
geometry = Augmentation([ScaledCrop(SIZE, (0.5, 2.0))])


@given(seeds)
def test_same_seed_same_sample(seed: int) -> None:
    image, label = coded_pair()
    segmentation(seed + 1, image=image, mask=label)  # what went before does not matter
    first = segmentation(seed, image=image, mask=label)
    second = segmentation_augmentation(SIZE)(seed, image=image, mask=label)
    assert first["image"].shape == (*SIZE, 3) and first["mask"].shape == SIZE
    assert first["image"].dtype == first["mask"].dtype == np.uint8
    for key in first:
        np.testing.assert_array_equal(first[key], second[key])


def test_other_seeds_other_samples() -> None:
    image, label = coded_pair()
    samples = {segmentation(seed, image=image, mask=label)["image"].tobytes() for seed in range(30)}
    assert len(samples) == 30


@given(seeds)
def test_image_and_label_move_together(seed: int) -> None:
    image, label = coded_pair()
    varied = geometry(seed, image=image, mask=label)
    padded = varied["mask"] == 255
    assert (varied["image"][padded] == 0).all()
    told = (varied["image"][..., 0].astype(int) - 6) // 8
    agree = told[~padded] == varied["mask"][~padded]
    assert agree.mean() > 0.7, "but for the blurred borders of the patches, colours tell the label"


def test_scales_span_the_range_evenly() -> None:
    # A small image in a large frame: what is not padded tells the scale.
    frame = Augmentation([ScaledCrop((200, 200), (0.5, 2.0))])
    image, label = coded_pair(60, 60)
    scales = [(frame(seed, image=image, mask=label)["mask"][0] != 255).sum() / 60 for seed in range(400)]
    assert 0.5 <= min(scales) < 0.56 and 1.94 < max(scales) <= 2.0
    assert abs(np.mean(scales) - 1.25) < 0.08


def test_flips_are_independent_of_scales() -> None:
    ramp = np.repeat(np.tile(np.arange(60, dtype=np.uint8) * 4, (60, 1))[..., None], 3, axis=2)
    label = np.tile(np.arange(60, dtype=np.uint8) // 10, (60, 1))
    flips, scales = [], []
    frame = segmentation_augmentation((120, 120))
    for seed in range(300):
        varied = frame(seed, image=ramp, mask=label)["mask"][0]
        inside = varied[varied != 255].astype(int)
        flips.append(inside[0] > inside[-1])
        scales.append(len(inside))
    assert abs(np.mean(flips) - 0.5) < 0.1
    assert abs(np.corrcoef(flips, scales)[0, 1]) < 0.2


def test_crops_avoid_one_class_where_they_can() -> None:
    label = np.zeros((40, 200), np.uint8)
    label[:, 100:] = 1
    image = np.zeros((40, 200, 3), np.uint8)
    crop = Augmentation([ScaledCrop((40, 60), (1.0, 1.0))])
    varied = [is_varied(crop(seed, image=image, mask=label)["mask"]) for seed in range(200)]
    # A single random crop succeeds in about 30 of 141 places; ten attempts in 1 - (111 / 141)^10 = 91 %.
    assert 0.84 < np.mean(varied) < 0.97
    only_one = crop(0, image=image, mask=np.zeros_like(label))
    assert (only_one["mask"] == 0).all(), "gives up gracefully"


@pytest.mark.parametrize(
    ("counts", "varied"), [((75, 25, 0), True), ((76, 24, 0), False), ((30, 10, 60), True), ((0, 0, 100), False)]
)
def test_varied_counts_labelled_pixels_only(counts: tuple[int, int, int], varied: bool) -> None:
    label = np.repeat(np.array([0, 1, 255], np.uint8), counts).reshape(10, 10)
    assert is_varied(label) == varied


@given(seeds)
def test_classification_samples(seed: int) -> None:
    image, _ = coded_pair(64, 64)
    first, second = (classification(seed, image=image)["image"] for _ in range(2))
    assert first.shape == (*SIZE, 3) and first.dtype == np.uint8
    np.testing.assert_array_equal(first, second)


def test_normalisation_is_imagenet_s() -> None:
    assert MEAN == (0.485, 0.456, 0.406) and STD == (0.229, 0.224, 0.225)
    images = torch.randint(0, 256, (2, 5, 7, 3), dtype=torch.uint8)
    out = normalise(images)
    assert out.shape == (2, 3, 5, 7) and out.dtype == torch.float32
    for channel in range(3):
        expected = (images[..., channel] / 255 - MEAN[channel]) / STD[channel]
        torch.testing.assert_close(out[:, channel], expected)
