"""Scoring of networks: a confusion matrix at the labels' original resolution, and top-1 accuracy."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from boostformer.data import Pictures, SegmentationSplit, resize_image
from boostformer.data.images import Array
from boostformer.data.normalise import normalisation_of, normalise
from boostformer.errors import UserError
from boostformer.training.failures import memory_failures
from boostformer.training.scores import Metrics, confusion_matrix, scores
from boostformer.training.views import PLAIN, View, predictions


@dataclass(frozen=True)
class Seen:
    """An image that was scored.

    Attributes:
        index: of the image in the split.
        label: classes (h, w).
        predicted: classes (h, w), also where the label is ignored.
        confusion: int64 (classes, classes), on the CPU.
    """

    index: int
    label: Array
    predicted: Array
    confusion: Tensor


def evaluate(
    model: nn.Module,
    split: SegmentationSplit,
    *,
    size: tuple[int, int],
    batch_size: int = 8,
    view: View = PLAIN,
    watch: Sequence[Callable[[Seen], None]] = (),
) -> Metrics:
    """Score a segmentation network on a split, on the device that it lies on.

    Logits are enlarged to each label's original size before the classes are chosen. The network's training mode stays
    as it was.

    Args:
        model: Maps float ``(B, 3, H, W)`` to logits ``(B, classes, h, w)``.
        split: Images and labels.
        size: Height and width in pixels to which images of an "exact" split are brought, and of windows, as over those
            of a "tile" split; those of a "short_side" split run whole.
        batch_size: How many images run at once, where they have one shape, or how many windows.
        view: How images are seen.
        watch: Called with each image once it is predicted.

    Raises:
        UserError: No pixel of the split is labelled.
        TrainingFailure: The memory does not suffice.
    """
    confusion = confusion_over(model, split, size=size, batch_size=batch_size, view=view, watch=watch)
    if not confusion.any():
        raise UserError("nothing to score: every pixel of the split is ignored")
    return scores(confusion, len(split))


@memory_failures()
def confusion_over(
    model: nn.Module,
    split: SegmentationSplit,
    *,
    size: tuple[int, int],
    batch_size: int = 8,
    view: View = PLAIN,
    watch: Sequence[Callable[[Seen], None]] = (),
) -> Tensor:
    """Count classes over a whole split, with the parameters of :func:`evaluate`; see :func:`confusion_matrix`.

    The result lies on the CPU.
    """
    device = next(model.parameters()).device
    confusion = torch.zeros((split.num_classes,) * 2, dtype=torch.int64, device=device)
    with scoring(model):
        for index, bands in predictions(model, split, size, batch_size, view):
            label, own = split.label(index), torch.zeros_like(confusion)
            drawn = np.empty(label.shape, label.dtype) if watch else label
            for rows, predicted in bands:
                known = torch.tensor(label[rows].astype(np.int64), device=device)
                own += confusion_matrix(predicted[0], known, split.num_classes)
                if watch:
                    drawn[rows] = predicted[0].cpu().numpy()
            confusion += own
            if watch:
                seen = Seen(index, label, drawn, own.cpu())
                for each in watch:
                    each(seen)
    return confusion.cpu()


def predicted_maps(
    model: nn.Module, split: SegmentationSplit, indices: Sequence[int], *, size: tuple[int, int], view: View = PLAIN
) -> Iterator[tuple[int, Array]]:
    """Yield some images' indices and predicted classes (h, w) at the label's size; parameters as :func:`evaluate`."""
    with scoring(model):
        for index, bands in predictions(model, split, size, 1, view, indices):
            yield index, np.concatenate([rows[0].cpu().numpy() for _, rows in bands]).astype(split.label(index).dtype)


@contextmanager
def scoring(model: nn.Module) -> Iterator[None]:
    """Put ``model`` in eval mode without gradients, and leave its mode as it was afterwards."""
    training = model.training
    model.eval()
    try:
        with torch.inference_mode():
            yield
    finally:
        model.train(training)


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
    hits = 0
    with scoring(model):
        for start in range(0, len(split), batch_size):
            indices = range(start, min(start + batch_size, len(split)))
            images = np.stack([resize_image(split.image(index), size) for index in indices])
            logits = model(normalise(torch.from_numpy(images).to(device), normalisation_of(model)))
            hits += int((logits.argmax(1).cpu() == torch.from_numpy(split.targets[indices])).sum())
    return hits / len(split)
