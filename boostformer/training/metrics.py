"""Metrics: mean intersection over union at the labels' original resolution, and top-1 accuracy."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from boostformer.data import Pictures, SegmentationSplit, resize_image
from boostformer.data.images import Array
from boostformer.data.normalise import normalisation_of, normalise
from boostformer.errors import UserError
from boostformer.training.bands import Bands, predicted_bands
from boostformer.training.failures import memory_failures
from boostformer.training.windows import windowed_bands


@dataclass(frozen=True)
class Metrics:
    """Scores in 0…1 over a whole split.

    ``per_class`` is the intersection over union of each class, None for one that occurs neither in labels
    nor in predictions; ``miou`` is the mean of the others. ``accuracy`` is of all labelled pixels.
    """

    miou: float
    accuracy: float
    per_class: list[float | None]
    images: int


def evaluate(model: nn.Module, split: SegmentationSplit, *, size: tuple[int, int], batch_size: int = 8) -> Metrics:
    """Score a segmentation network on a split, on the device that it lies on.

    Logits are enlarged to each label's original size before the classes are chosen. The network's training mode stays
    as it was.

    Args:
        model: Maps float ``(B, 3, H, W)`` to logits ``(B, classes, h, w)``.
        split: Images and labels.
        size: Height and width in pixels to which images of an "exact" split are brought, and of the windows over those
            of a "tile" split; those of a "short_side" split run whole.
        batch_size: How many images run at once, where they have one shape, or how many windows.

    Raises:
        UserError: No pixel of the split is labelled.
        TrainingFailure: The memory does not suffice.
    """
    confusion = confusion_over(model, split, size=size, batch_size=batch_size)
    if not confusion.any():
        raise UserError("nothing to score: every pixel of the split is ignored")
    return scores(confusion, len(split))


@memory_failures()
def confusion_over(model: nn.Module, split: SegmentationSplit, *, size: tuple[int, int], batch_size: int = 8) -> Tensor:
    """Count classes over a whole split, with the parameters of :func:`evaluate`; see :func:`confusion_matrix`.

    The result lies on the CPU.
    """
    device = next(model.parameters()).device
    confusion = torch.zeros((split.num_classes,) * 2, dtype=torch.int64, device=device)
    training = model.training
    model.eval()
    try:
        with torch.inference_mode():
            for index, bands in _predictions(model, split, size, batch_size):
                label = split.label(index)
                for rows, predicted in bands:
                    seen = torch.tensor(label[rows].astype(np.int64), device=device)
                    confusion += confusion_matrix(predicted[0], seen, split.num_classes)
    finally:
        model.train(training)
    return confusion.cpu()


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
    matrix = confusion.cpu().double()
    hits = matrix.diagonal()
    union = matrix.sum(0) + matrix.sum(1) - hits
    occurs = union > 0
    return Metrics(
        miou=(hits[occurs] / union[occurs]).mean().item(),
        accuracy=(hits.sum() / matrix.sum()).item(),
        per_class=[hit / whole if whole else None for hit, whole in zip(hits.tolist(), union.tolist(), strict=True)],
        images=images,
    )


def _predictions(
    model: nn.Module, split: SegmentationSplit, size: tuple[int, int], batch_size: int
) -> Iterator[tuple[int, Bands]]:
    """Yield each image's index, and its classes at the label's size by bands."""
    if split.fit == "tile":
        for index in range(len(split)):
            yield index, windowed_bands(model, split.resized(index)[0], size, split.overlap, batch_size)
        return
    device = next(model.parameters()).device
    for indices, images in _batches(split, size, batch_size):
        logits = model(normalise(torch.from_numpy(images).to(device), normalisation_of(model)))
        for index, one in zip(indices, logits.split(1), strict=True):  # bounds memory
            yield index, predicted_bands(one, split.label(index).shape)


def _batches(split: SegmentationSplit, size: tuple[int, int], batch_size: int) -> Iterator[tuple[list[int], Array]]:
    """Yield neighbouring images of one shape: ``(indices, uint8 (B, H, W, bands))``."""
    indices: list[int] = []
    images: list[Array] = []
    for index in range(len(split)):
        image = split.resized(index)[0]
        if split.fit == "exact":
            image = resize_image(image, size)
        if images and (len(images) == batch_size or image.shape != images[0].shape):
            yield indices, np.stack(images)
            indices, images = [], []
        indices.append(index)
        images.append(image)
    yield indices, np.stack(images)


@memory_failures()
def top1(model: nn.Module, split: Pictures, *, size: tuple[int, int], batch_size: int = 64) -> float:
    """Compute the share of images whose class has the highest logit.

    Args:
        model: Maps float ``(B, 3, H, W)`` to logits ``(B, classes)``.
        split: Images and their classes.
        size: Height and width in pixels to which images are brought.
        batch_size: How many images run at once.

    Raises:
        TrainingFailure: The memory does not suffice.
    """
    device = next(model.parameters()).device
    training, hits = model.training, 0
    model.eval()
    try:
        with torch.inference_mode():
            for start in range(0, len(split), batch_size):
                indices = range(start, min(start + batch_size, len(split)))
                images = np.stack([resize_image(split.image(index), size) for index in indices])
                logits = model(normalise(torch.from_numpy(images).to(device), normalisation_of(model)))
                hits += int((logits.argmax(1).cpu() == torch.from_numpy(split.targets[indices])).sum())
    finally:
        model.train(training)
    return hits / len(split)
