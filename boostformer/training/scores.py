"""Scores of a segmentation: the numbers that follow from a confusion matrix, over a whole split or one image."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Shares = list[float | None]
"""A number in 0…1 for each class, None where it is not defined."""


@dataclass(frozen=True)
class Metrics:
    """Scores in 0…1 over a whole split.

    Attributes:
        miou: mean of ``per_class`` over the classes that occur.
        accuracy: share of the labelled pixels that are right.
        per_class: intersection over union of each class; None for one that occurs neither in labels nor in predictions.
        images: how many there were.
        mean_accuracy: mean of ``recall`` over the classes that labels have.
        dice: mean of ``dice_per_class`` over the classes that occur.
        frequency_weighted_iou: ``per_class`` weighted by the classes' pixels.
        precision: share of the pixels predicted as a class that are of it; None for one that is never predicted.
        recall: share of a class's pixels that are predicted as it; None for one that labels do not have.
        dice_per_class: twice the intersection over the sum of both areas (also called F1); None as in ``per_class``.
        pixels: labelled pixels of each class.
        boundary_miou: mean of ``boundary_per_class`` over the classes that occur; None where it was not asked for.
        boundary_per_class: see :mod:`boostformer.training.boundary`; None where it was not asked for.
    """

    miou: float
    accuracy: float
    per_class: Shares
    images: int
    mean_accuracy: float
    dice: float
    frequency_weighted_iou: float
    precision: Shares
    recall: Shares
    dice_per_class: Shares
    pixels: list[int]
    boundary_miou: float | None = None
    boundary_per_class: Shares | None = None


def confusion_matrix(predicted: Tensor, label: Tensor, num_classes: int) -> Tensor:
    """Count the pixels by class (row) and prediction (column), but for ignored ones: int64 ``(classes, classes)``.

    ``predicted`` and ``label`` hold class numbers and have the same shape.
    """
    # Ignored pixels, which have a higher label, land in bins past the matrix: that costs less than picking the others.
    row = label.long().clamp(max=num_classes)
    counts = torch.bincount((row * num_classes + predicted).flatten(), minlength=num_classes**2)
    return counts[: num_classes**2].reshape(num_classes, num_classes)


def scores(confusion: Tensor, images: int) -> Metrics:
    """Compute the metrics of a confusion matrix (rows: labels, columns: predictions) over so many ``images``."""
    matrix = confusion.cpu().double().numpy()
    hits, labelled, predicted = matrix.diagonal(), matrix.sum(1), matrix.sum(0)
    union = labelled + predicted - hits
    iou, recall, dice = shares(hits, union), shares(hits, labelled), shares(2 * hits, labelled + predicted)
    return Metrics(
        miou=mean(iou),
        accuracy=float(hits.sum() / matrix.sum()),
        per_class=iou,
        images=images,
        mean_accuracy=mean(recall),
        dice=mean(dice),
        frequency_weighted_iou=float(sum((each or 0) * count for each, count in zip(iou, labelled, strict=True)))
        / float(matrix.sum()),
        precision=shares(hits, predicted),
        recall=recall,
        dice_per_class=dice,
        pixels=labelled.astype(int).tolist(),
    )


@dataclass(frozen=True)
class ImageScore:
    """Scores of one image, each over the classes that occur in it; None where no pixel of it is labelled."""

    name: str
    miou: float | None
    accuracy: float | None
    per_class: Shares


def image_score(name: str, confusion: Tensor) -> ImageScore:
    """Compute the scores of the image ``name`` from its own confusion matrix."""
    if not confusion.any():
        return ImageScore(name, None, None, [None] * len(confusion))
    found = scores(confusion, 1)
    return ImageScore(name, found.miou, found.accuracy, found.per_class)


def shares(parts: NDArray[np.floating], wholes: NDArray[np.floating]) -> Shares:
    """Divide; None where the whole is 0."""
    return [part / whole if whole else None for part, whole in zip(parts.tolist(), wholes.tolist(), strict=True)]


def mean(values: Shares) -> float:
    """Average those that are defined; ValueError where none is."""
    known = [value for value in values if value is not None]
    if not known:
        raise ValueError("no class occurs")
    return float(np.mean(known))
