"""Augmentation: a function of its seed; images and labels stay together; crops are varied."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from boostformer.data.augment import SegmentationAugmentation, is_varied
from boostformer.data.augment_pictures import classification_augmentation
from boostformer.data.normalise import MEAN, STD, normalise
from boostformer.data.variation import Variation

SIZE = (48, 64)
seeds = st.integers(0, 2**40)


def coded_pair(height: int = 40, width: int = 56) -> tuple[np.ndarray, np.ndarray]:
    """A label of large patches, and an image whose colour tells the label."""
    label = (np.arange(height)[:, None] // 10 * 6 + np.arange(width)[None] // 10).astype(np.uint8)
    return np.repeat((label * 8 + 10)[..., None], 3, axis=2), label


segmentation = SegmentationAugmentation(SIZE)
classification = classification_augmentation(SIZE)
geometry = SegmentationAugmentation(SIZE, Variation(flip=0, colour=0))


@given(seeds)
def test_same_seed_same_sample(seed: int) -> None:
    image, label = coded_pair()
    segmentation(seed + 1, image=image, mask=label)  # what went before does not matter
    first = segmentation(seed, image=image, mask=label)
    second = SegmentationAugmentation(SIZE)(seed, image=image, mask=label)
    assert first["image"].shape == (*SIZE, 3) and first["mask"].shape == SIZE
    assert first["image"].dtype == first["mask"].dtype == np.uint8
    for key in first:
        np.testing.assert_array_equal(first[key], second[key])


def test_the_defaults_give_what_they_always_gave() -> None:
    digest = hashlib.sha256()
    for seed in range(40):
        image, label = coded_pair(*((40, 56), (90, 70))[seed % 2])
        varied = SegmentationAugmentation(SIZE, Variation())(seed, image=image, mask=label)
        digest.update(varied["image"].tobytes() + varied["mask"].tobytes())
    assert digest.hexdigest() == "8a5d1e5815bdcde4239151d967eddf896279095713b55112aa6630ec3a3e1666"


def test_all_turned_off_leaves_a_crop() -> None:
    image, label = coded_pair(*SIZE)
    still = SegmentationAugmentation(SIZE, Variation(scale=(1, 1), flip=0, colour=0))
    for seed in range(10):
        varied = still(seed, image=image, mask=label)
        np.testing.assert_array_equal(varied["image"], image)
        np.testing.assert_array_equal(varied["mask"], label)


def test_samples_are_new_arrays() -> None:
    """Even where nothing is varied: those of the cache cannot be written to."""
    image, label = coded_pair(*SIZE)
    varied = SegmentationAugmentation(SIZE, Variation(scale=(1, 1), flip=0, colour=0))(0, image=image, mask=label)
    assert not np.shares_memory(varied["image"], image) and not np.shares_memory(varied["mask"], label)


def orientations(count: int = 200, **how) -> set[tuple[str, bool]]:
    """All (the side of what was on top, mirrored or not) of an image that is larger than the crop either way."""
    label = np.zeros((400, 400), np.uint16)
    label += np.arange(400, dtype=np.uint16)[:, None] // 10 * 40 + np.arange(400, dtype=np.uint16) // 10
    image = np.zeros((400, 400, 3), np.uint8)
    vary = SegmentationAugmentation((60, 80), Variation(scale=(1, 1), colour=0, **how))
    found = set()
    for seed in range(count):
        mask = vary(seed, image=image, mask=label)["mask"].astype(int)
        assert mask.shape == (60, 80) and mask.max() < 1600
        down, right = mask[30, 0] - mask[0, 0], mask[0, 30] - mask[0, 0]  # 120 along a column, 3 along a row
        side = {120: "top", -120: "bottom", 3: "left", -3: "right"}[down]
        found.add((side, (down, right) not in {(120, 3), (-120, -3), (3, -120), (-3, 120)}))
    return found


def test_flips_and_turns_are_those_asked_for() -> None:
    assert orientations() == {("top", False), ("top", True)}
    assert orientations(flip=1) == {("top", True)}
    assert orientations(flip=0, vertical_flip=1) == {("bottom", True)}
    turned = orientations(flip=0, quarter_turns=True)
    assert {side for side, _ in turned} == {"top", "bottom", "left", "right"} and not any(m for _, m in turned)
    assert len(orientations(quarter_turns=True)) == 8


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_rotation_ignores_what_comes_in_from_outside(dtype: type) -> None:
    ignored = np.iinfo(dtype).max
    image, label = coded_pair(*SIZE)
    vary = SegmentationAugmentation(SIZE, Variation(scale=(1, 1), flip=0, colour=0, rotate=20))
    shares = []
    for seed in range(20):
        varied = vary(seed, image=image, mask=label.astype(dtype))
        outside = varied["mask"] == ignored
        assert (varied["image"][outside] < 250).all() and varied["mask"].dtype == dtype
        told = (varied["image"][..., 0].astype(int) - 6) // 8
        assert (told == varied["mask"])[~outside].mean() > 0.6
        shares.append(outside.mean())
    assert 0 < max(shares) < 0.35 and min(shares) < 0.1 < max(shares)


def test_strength_of_colours() -> None:
    image, label = coded_pair(*SIZE)

    def change(strength: float) -> float:
        vary = SegmentationAugmentation(SIZE, Variation(scale=(1, 1), flip=0, colour=strength))
        changed = [vary(seed, image=image, mask=label)["image"].astype(int) - image for seed in range(30)]
        return float(np.abs(changed).mean())

    assert 0 == change(0) < change(0.2) < change(1) < change(2)


def test_classes_that_tell_left_from_right_are_remarked() -> None:
    labels = ["road", "Left lane", "hand_right"]
    said = Variation().remark(labels)
    assert said is not None and "'Left lane', 'hand_right'" in said and "--set flip=0" in said
    assert "--set vertical_flip=0" in str(Variation(flip=0, vertical_flip=0.5).remark(labels))
    assert Variation(flip=0).remark(labels) is None
    assert Variation().remark(["bright", "cleft", "road"]) is None


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
    frame = SegmentationAugmentation((200, 200), Variation(flip=0, colour=0))
    image, label = coded_pair(60, 60)
    scales = [(frame(seed, image=image, mask=label)["mask"][0] != 255).sum() / 60 for seed in range(400)]
    assert 0.5 <= min(scales) < 0.56 and 1.94 < max(scales) <= 2.0
    assert abs(np.mean(scales) - 1.25) < 0.08


def test_flips_are_independent_of_scales() -> None:
    ramp = np.repeat(np.tile(np.arange(60, dtype=np.uint8) * 4, (60, 1))[..., None], 3, axis=2)
    label = np.tile(np.arange(60, dtype=np.uint8) // 10, (60, 1))
    flips, scales = [], []
    frame = SegmentationAugmentation((120, 120))
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
    crop = SegmentationAugmentation((40, 60), Variation(scale=(1, 1), flip=0, colour=0))
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
    deep = np.where(label == 255, 65535, label).astype(np.uint16)
    assert is_varied(deep) == varied
    for large in (label.repeat(30, 0).repeat(30, 1), deep.repeat(30, 0).repeat(30, 1)):  # not all of which is counted
        assert is_varied(large) == varied


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
