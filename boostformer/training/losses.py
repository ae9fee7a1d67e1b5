"""Losses of segmentation: sums that a :class:`~boostformer.training.loss_config.LossConfig` describes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from boostformer.data import SegmentationSplit
from boostformer.errors import UserError
from boostformer.training.loss_config import LossConfig

MOST_COUNTED = 500
"""Labels that are read, at network scale, to find the classes' shares."""
LEAST = 1e-6
"""Pixels' weights in all at least, so that a batch without any labelled one costs 0, not 0/0."""
SIDE_BY_SIDE = 16
"""Fewest classes at which a CPU is faster with those of a pixel side by side, by a half or more; below it loses."""
LIGHTEST, HEAVIEST = 0.1, 10.0
"""Bounds of a class's automatic weight."""


class SegmentationLoss(nn.Module):
    """The loss of logits ``(B, classes, h, w)`` against labels ``(B, H, W)``, a scalar.

    Pixels with the label ``ignored`` do not count; a batch without any other costs 0.

    Args:
        config: which losses, and how they are weighed.
        classes: how many there are.
        ignored: the label of pixels that do not count.
        class_weights: one per class, None for equal ones.
    """

    def __init__(self, config: LossConfig, classes: int, ignored: int, class_weights: Tensor | None = None) -> None:
        super().__init__()
        self.config, self.classes, self.ignored = config, classes, ignored
        self.class_weights: Tensor | None
        self.register_buffer("class_weights", class_weights, persistent=False)

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        config = self.config
        if config.resolution == "label":
            logits = F.interpolate(logits.float(), labels.shape[-2:], mode="bilinear", align_corners=False)
        else:
            logits, labels = logits.float(), _nearest(labels, logits.shape[-2:])
        counted = labels != self.ignored
        total = logits.new_zeros(())
        if config.cross_entropy or config.focal:
            total = total + self._per_pixel(logits, labels, counted)
        if config.dice or config.lovasz:
            shares = logits.softmax(1).permute(0, 2, 3, 1)[counted]
            truth = labels[counted]
            if config.dice:
                total = total + config.dice * dice(shares, truth)
            if config.lovasz:
                total = total + config.lovasz * lovasz_softmax(shares, truth)
        return total

    def _per_pixel(self, logits: Tensor, labels: Tensor, counted: Tensor) -> Tensor:
        config = self.config
        plain = not (config.focal or config.boundary) and config.hardest == 1
        how: dict[str, Any] = {
            "weight": self.class_weights,
            "ignore_index": self.ignored,
            "label_smoothing": config.label_smoothing,
        }
        if plain:
            total = cross_entropy(logits, labels, reduction="sum", **how)
            return config.cross_entropy * total / self._weight(labels, counted).sum().clamp(min=LEAST)
        costs = cross_entropy(logits, labels, reduction="none", **how)
        factor = torch.full_like(costs, config.cross_entropy)
        if config.focal:
            right = logits.detach().softmax(1).gather(1, labels.where(counted, 0)[:, None])[:, 0]
            factor = factor + config.focal * (1 - right) ** config.focal_gamma
        weight = self._weight(labels, counted).float()
        if config.boundary:
            near = 1 + config.boundary * near_boundary(labels, config.boundary_width)
            factor, weight = factor * near, weight * near
        costs = (factor * costs).flatten()
        weight = weight.flatten()
        if config.hardest < 1:
            kept = max(1, int(config.hardest * int(counted.sum())))
            costs, places = costs.topk(kept)
            weight = weight[places]
        return costs.sum() / weight.sum().clamp(min=LEAST)

    def weight(self, labels: Tensor) -> Tensor:
        """Sum up how much the labels' pixels count in the loss, a scalar; with resolution "logits" nearly so."""
        weight = self._weight(labels, labels != self.ignored).float()
        if self.config.boundary:
            weight = weight * (1 + self.config.boundary * near_boundary(labels, self.config.boundary_width))
        return weight.sum()

    def _weight(self, labels: Tensor, counted: Tensor) -> Tensor:
        """Weigh each pixel's cross-entropy."""
        if self.class_weights is None:
            return counted
        return self.class_weights[labels.where(counted, 0)] * counted


def cross_entropy(logits: Tensor, labels: Tensor, reduction: str, **how: Any) -> Tensor:
    """Compute torch's of logits ``(B, classes, H, W)``, which are not copied when they are channels-last on a CPU."""
    rows = logits.device.type == "cpu" and logits.shape[1] >= SIDE_BY_SIDE
    if not (rows and logits.is_contiguous(memory_format=torch.channels_last)):
        return F.cross_entropy(logits, labels, reduction=reduction, **how)
    costs = F.cross_entropy(logits.permute(0, 2, 3, 1).flatten(0, 2), labels.flatten(), reduction=reduction, **how)
    return costs.view_as(labels) if reduction == "none" else costs


def dice(shares: Tensor, truth: Tensor) -> Tensor:
    """Compute 1 - the mean Dice coefficient of the classes that occur in ``truth``.

    Args:
        shares: probabilities ``(pixels, classes)``.
        truth: class numbers ``(pixels,)``.
    """
    hits = torch.zeros_like(shares[:0].sum(0)).index_add(0, truth, shares.gather(1, truth[:, None])[:, 0])
    sizes = torch.bincount(truth, minlength=shares.shape[1])
    occurs = sizes > 0
    coefficient = 2 * hits / (shares.sum(0) + sizes).clamp(min=1e-6)
    return (1 - coefficient)[occurs].sum() / occurs.sum().clamp(min=1)


def lovasz_softmax(shares: Tensor, truth: Tensor) -> Tensor:
    """Compute the Lovász extension of 1 - IoU, the mean over the classes that occur; parameters as :func:`dice`."""
    costs = []
    for number in truth.unique():
        inside = (truth == number).float()
        errors, order = (inside - shares[:, number]).abs().sort(descending=True)
        sorted_inside = inside[order]
        # The loss of predicting the k pixels of largest error wrongly, and its growth with each of them.
        union = sorted_inside.sum() + (1 - sorted_inside).cumsum(0)
        jaccard = 1 - (sorted_inside.sum() - sorted_inside.cumsum(0)) / union
        growth = torch.cat([jaccard[:1], jaccard[1:] - jaccard[:-1]])
        costs.append(errors @ growth)
    return torch.stack(costs).mean() if costs else shares.sum() * 0


def near_boundary(labels: Tensor, width: int) -> Tensor:
    """Mark the pixels ``(B, H, W)`` within ``width`` pixels of one with another label: 1, else 0."""
    values = labels[:, None].float()
    # A maximum pads with minus infinity, so the image's border is no boundary.
    highest, lowest = (sign * F.max_pool2d(sign * values, 2 * width + 1, 1, width) for sign in (1, -1))
    return (highest != lowest)[:, 0].float()


def _nearest(labels: Tensor, shape: Sequence[int]) -> Tensor:
    return F.interpolate(labels[:, None].float(), tuple(shape), mode="nearest-exact")[:, 0].long()


def chance(config: LossConfig, classes: int) -> float:
    """Bound the loss when all ``classes`` are guessed alike, from above."""
    per_pixel = config.cross_entropy + config.focal
    heaviest = max(config.class_weights) if isinstance(config.class_weights, tuple) else HEAVIEST
    if config.class_weights == "none" or config.hardest == 1:
        heaviest = 1.0  # a mean, weighted or not, of equal costs
    heads = 1 + config.auxiliary * len(config.auxiliary_stages)
    return heads * (per_pixel * heaviest * math.log(classes) + config.dice + config.lovasz)


def class_weights(config: LossConfig, split: SegmentationSplit) -> Tensor | None:
    """Compute the classes' weights on a split, float ``(classes,)``; None for equal ones.

    "auto" is the square root of the median share over the class's own share of the pixels at network scale, within
    0.1…10, of at most 500 images evenly spread; a class that does not occur has 1. UserError when as many numbers are
    given as there are no classes.
    """
    given = config.class_weights
    if given == "none":
        return None
    if given != "auto":
        if len(given) != split.num_classes:
            raise UserError(f"loss.class_weights: {len(given)} numbers for {split.num_classes} classes")
        return torch.tensor(given, dtype=torch.float32)
    counts = np.zeros(split.num_classes, np.int64)
    for index in range(0, len(split), max(1, len(split) // MOST_COUNTED)):
        label = split.resized(index)[1]
        counts += np.bincount(label[label < split.num_classes], minlength=split.num_classes)
    occurs = counts > 0
    weights = np.ones(split.num_classes)
    weights[occurs] = np.sqrt(np.median(counts[occurs]) / counts[occurs]).clip(LIGHTEST, HEAVIEST)
    return torch.tensor(weights, dtype=torch.float32)
