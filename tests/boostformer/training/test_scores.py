"""Scores of a confusion matrix against torchmetrics, and those near borders against their definition."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import binary_erosion
from torchmetrics.classification import (
    MulticlassAccuracy,
    MulticlassF1Score,
    MulticlassJaccardIndex,
    MulticlassPrecision,
    MulticlassRecall,
)

from boostformer.training.boundary import DIAGONAL_SHARE, BoundaryCounts, near_border
from boostformer.training.scores import confusion_matrix, scores

IGNORED = 255


def guessed(classes: int, seed: int, shape: tuple[int, int] = (40, 60)) -> tuple[torch.Tensor, torch.Tensor]:
    """Labels in which all classes occur, some pixels ignored, and predictions half of which are right."""
    rng = np.random.default_rng(seed)
    label = rng.integers(0, classes, shape)
    label.flat[:classes] = range(classes)
    predicted = np.where(rng.random(shape) < 0.5, label, rng.integers(0, classes, shape))
    predicted.flat[:classes] = range(classes)
    label[-5:][rng.random((5, shape[1])) < 0.5] = IGNORED
    return torch.from_numpy(predicted), torch.from_numpy(label)


@given(st.integers(2, 12), st.integers(0, 1000))
def test_scores_are_torchmetrics_s(classes: int, seed: int) -> None:
    predicted, label = guessed(classes, seed)
    found = scores(confusion_matrix(predicted, label, classes), 1)

    def theirs(metric: type, average: str | None) -> object:
        value = metric(num_classes=classes, ignore_index=IGNORED, average=average)(predicted[None], label[None])
        return pytest.approx(value.tolist(), abs=1e-6)

    assert found.mean_accuracy == theirs(MulticlassAccuracy, "macro")
    assert found.dice == theirs(MulticlassF1Score, "macro")
    assert found.frequency_weighted_iou == theirs(MulticlassJaccardIndex, "weighted")
    assert found.per_class == theirs(MulticlassJaccardIndex, "none")
    assert found.precision == theirs(MulticlassPrecision, None)
    assert found.recall == theirs(MulticlassRecall, None)
    assert found.dice_per_class == theirs(MulticlassF1Score, None)
    assert found.pixels == [int((label == number).sum()) for number in range(classes)]


def test_what_does_not_occur_has_no_score() -> None:
    # Class 1 is only predicted, class 2 only labelled, class 3 nowhere.
    found = scores(confusion_matrix(torch.tensor([[0, 1, 0]]), torch.tensor([[0, 0, 2]]), 4), 1)
    assert found.recall == [0.5, None, 0.0, None] and found.mean_accuracy == 0.25
    assert found.precision == [0.5, 0.0, None, None]
    assert found.dice_per_class == [0.5, 0.0, 0.0, None] and found.dice == pytest.approx(0.5 / 3)
    assert found.frequency_weighted_iou == pytest.approx(1 / 3 * 2 / 3)
    assert found.pixels == [2, 0, 1, 0]


def blobs(seed: int, shape: tuple[int, int], classes: int) -> np.ndarray:
    """Areas of several pixels, some of them ignored."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, classes + 1, (shape[0] // 8 + 1, shape[1] // 8 + 1))
    values = np.kron(coarse, np.ones((8, 8), int))[: shape[0], : shape[1]]
    return np.where(values == classes, IGNORED, values).astype(np.uint8)


@pytest.mark.parametrize("shape", [(60, 80), (90, 50), (3, 200)])
def test_boundary_iou_is_that_of_masks_eroded_one_by_one(shape: tuple[int, int]) -> None:
    counts, classes, distance = BoundaryCounts(4), 4, max(1, round(DIAGONAL_SHARE * float(np.hypot(*shape))))
    both, either = np.zeros(4), np.zeros(4)
    for seed in range(3):
        label, predicted = blobs(seed, shape, 3), np.roll(blobs(seed, shape, 3), (1, 2), (0, 1))
        predicted[predicted == IGNORED] = 2
        counts.add(label, predicted, IGNORED)
        for number in range(classes):
            ours, theirs = (
                mask & ~binary_erosion(mask, np.ones((3, 3)), iterations=distance)
                for mask in ((predicted == number) & (label != IGNORED), label == number)
            )
            both[number] += (ours & theirs).sum()
            either[number] += (ours | theirs).sum()
    expected = [b / e if e else None for b, e in zip(both, either, strict=True)]
    assert counts.per_class() == expected and expected[3] is None
    assert 0 < both[0] < either[0]


def test_borders_are_of_16_bits_too() -> None:
    values = np.zeros((9, 9), np.uint16)
    values[:, 5:] = 300
    expected = np.ones((9, 9), bool)
    expected[1:8, 1:4] = expected[1:8, 6:8] = False
    np.testing.assert_array_equal(near_border(values, 1), expected)
