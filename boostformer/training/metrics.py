"""Metrics: mean intersection over union at the labels' original resolution, and top-1 accuracy."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from boostformer.data import SegmentationSplit, TinyImageNet, resize_image
from boostformer.data.images import Array
from boostformer.data.normalise import normalise
from boostformer.errors import UserError
from boostformer.training.failures import memory_failures

MOST_VALUES = 2**27
"""Numbers of 4 bytes that enlarged logits of one image may take at once: 512 MiB. Larger ones are made by bands."""
BANDS = 8
"""A band holds so many times fewer, since it needs the rows above and below, too."""
COUNTING = 10
"""As many numbers of 4 bytes per pixel does it take to choose a class and to count it."""


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
        size: Height and width in pixels to which images of an "exact" split are brought; those of a "short_side" split
            run whole.
        batch_size: How many images run at once, where they have one shape.

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
            for indices, images in _batches(split, size, batch_size):
                logits = model(normalise(torch.from_numpy(images).to(device)))
                for index, one in zip(indices, logits.split(1), strict=True):  # bounds memory
                    label = split.label(index)
                    for rows, predicted in predicted_bands(one, label.shape):
                        seen = torch.tensor(label[rows].astype(np.int64), device=device)
                        confusion += confusion_matrix(predicted[0], seen, split.num_classes)
    finally:
        model.train(training)
    return confusion.cpu()


def predict_labels(logits: Tensor, shape: tuple[int, ...] | torch.Size) -> Tensor:
    """Enlarge logits ``(B, classes, h, w)`` to ``shape``, then choose the classes: int64 ``(B, H, W)``."""
    return torch.cat([predicted for _, predicted in predicted_bands(logits, shape)], 1)


def predicted_bands(
    logits: Tensor, shape: tuple[int, ...] | torch.Size, most: int = MOST_VALUES
) -> Iterator[tuple[slice, Tensor]]:
    """Yield :func:`predict_labels` by bands of rows, in memory that does not grow with ``shape``.

    Each is ``(rows, int64 (B, len(rows), W))``. What takes at most ``most`` values is one band. In several, enlarged
    logits may differ from those in one by rounding (1e-6 of the largest), since torch enlarges only whole maps.
    """
    # Channels last, a pixel's classes lie side by side: ten times faster to choose from on a CPU.
    logits = logits.float().contiguous(memory_format=torch.channels_last)
    (batch, classes, h, _), (height, width) = logits.shape, shape
    row = batch * width * (classes + COUNTING)
    if row * height <= most:
        large = F.interpolate(logits, (height, width), mode="bilinear", align_corners=False)
        yield slice(0, height), large.argmax(1)
        return
    place = ((torch.arange(height, device=logits.device) + 0.5) * (h / height) - 0.5).clamp(min=0)
    above = place.long().clamp(max=h - 1)
    below = (above + 1).clamp(max=h - 1)
    share = (place - above)[:, None, None]
    step = max(1, most // BANDS // row)
    for start in range(0, height, step):
        rows = slice(start, min(start + step, height))
        first, last = int(above[rows.start]), int(below[rows.stop - 1]) + 1
        # Enlarged along the width alone: equal heights leave the rows as they are.
        wide = F.interpolate(logits[:, :, first:last], (last - first, width), mode="bilinear", align_corners=False)
        wide = wide.permute(0, 2, 3, 1)
        upper, lower = (wide.index_select(1, near[rows] - first) for near in (above, below))
        yield rows, upper.lerp_(lower, share[rows]).argmax(3)


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


def _batches(split: SegmentationSplit, size: tuple[int, int], batch_size: int) -> Iterator[tuple[list[int], Array]]:
    """Yield neighbouring images of one shape: ``(indices, uint8 (B, H, W, 3))``."""
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
    if images:
        yield indices, np.stack(images)


@memory_failures()
def top1(model: nn.Module, split: TinyImageNet, *, size: tuple[int, int], batch_size: int = 64) -> float:
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
                logits = model(normalise(torch.from_numpy(images).to(device)))
                hits += int((logits.argmax(1).cpu() == torch.from_numpy(split.targets[indices])).sum())
    finally:
        model.train(training)
    return hits / len(split)
