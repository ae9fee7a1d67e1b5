"""All that is asked of a network on a split: its scores, those near borders, each image's, and the confusion matrix."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from torch import Tensor, nn

from boostformer.data import SegmentationSplit
from boostformer.errors import UserError
from boostformer.training.boundary import BoundaryCounts
from boostformer.training.metrics import Seen, confusion_over
from boostformer.training.scores import ImageScore, Metrics, image_score, mean, scores
from boostformer.training.views import PLAIN, View


@dataclass(frozen=True)
class Evaluation:
    """Results over a split.

    Attributes:
        metrics: over the whole split.
        confusion: int64 (classes, classes), pixels by label (row) and prediction, on the CPU.
        images: the scores of each image, in the split's order.
        shapes: (h, w) of each image itself.
    """

    metrics: Metrics
    confusion: Tensor
    images: list[ImageScore]
    shapes: list[tuple[int, int]]

    def worst(self, count: int) -> list[int]:
        """Give the indices of the images of lowest mIoU, the lowest first; images without labels are left out."""
        known = [(image.miou, index) for index, image in enumerate(self.images) if image.miou is not None]
        return [index for _, index in sorted(known)[:count]]


def evaluate_fully(
    model: nn.Module,
    split: SegmentationSplit,
    *,
    size: tuple[int, int],
    batch_size: int = 8,
    view: View = PLAIN,
    boundary: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Evaluation:
    """Score a network in all respects; the other parameters and the errors are those of ``metrics.evaluate``.

    Args:
        model: maps images to logits.
        split: images and labels.
        size: (H, W) in pixels at which images are seen, or of windows.
        batch_size: how many images or windows run at once.
        view: how images are seen.
        boundary: whether boundary IoU is computed, too.
        progress: called with (images done, of how many).
    """
    borders, images, shapes = BoundaryCounts(split.num_classes), list[ImageScore](), list[tuple[int, int]]()

    def see(seen: Seen) -> None:
        images.append(image_score(split.name(seen.index), seen.confusion))
        shapes.append(seen.label.shape)
        if boundary:
            borders.add(seen.label, seen.predicted, split.ignored)
        if progress is not None:
            progress(len(images), len(split))

    confusion = confusion_over(model, split, size=size, batch_size=batch_size, view=view, watch=[see])
    if not confusion.any():
        raise UserError("nothing to score: every pixel of the split is ignored")
    metrics = scores(confusion, len(split))
    if boundary:
        shares = borders.per_class()
        metrics = replace(metrics, boundary_miou=mean(shares), boundary_per_class=shares)
    return Evaluation(metrics, confusion, images, shapes)
