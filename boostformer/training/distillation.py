"""Losses of a student against its teacher: sums that a :class:`DistillationConfig` describes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from boostformer.training.distillation_config import DistillationConfig
from boostformer.training.heads import Outputs

_NOWHERE = -1e4
"""Logit of a place that does not count: its share of a softmax is exactly 0, and no difference of two is infinite."""
_WHOLE = 0.999


@dataclass(frozen=True)
class Taught:
    """Targets of a batch.

    Attributes:
        labels: of the classes, int64 (B, H, W).
        where: pixels on which the teacher counts, bool (B, H, W).
        logits: the teacher's, (B, its classes, h, w) of any h and w.
        maps: of the teacher's stages, if it has any.
    """

    labels: Tensor
    where: Tensor
    logits: Tensor
    maps: tuple[Tensor, ...] = ()


class DistillationLoss(nn.Module):
    """The loss of a student's outputs against the teacher's, a scalar; a batch without any place that counts costs 0.

    ``rows`` has for each of the student's classes the teacher's channel, None for one that the teacher lacks: such a
    logit is left out of both sides.
    """

    own: Tensor
    theirs: Tensor

    def __init__(self, config: DistillationConfig, rows: Sequence[int | None]) -> None:
        super().__init__()
        self.config = config
        known = [(own, row) for own, row in enumerate(rows) if row is not None]
        for name, numbers in zip(("own", "theirs"), zip(*known, strict=True), strict=True):
            self.register_buffer(name, torch.tensor(numbers), persistent=False)

    def forward(self, outputs: Outputs, taught: Taught) -> Tensor:
        config = self.config
        total = outputs.logits.new_zeros((), dtype=torch.float32)
        if config.logits or config.channels:
            student = outputs.logits.float().index_select(1, self.own)
            teacher = resized(taught.logits.float().index_select(1, self.theirs), student.shape[-2:])
            where = shrunk(taught.where, student.shape[-2:])
            if config.logits:
                total = total + config.logits * pixel_divergence(student, teacher, where, config.temperature)
            if config.channels:
                loss = channel_divergence(student, teacher, where, config.channel_temperature)
                total = total + config.channels * loss
        for number, own in zip(config.stage_numbers, outputs.adapted, strict=True) if outputs.adapted else ():
            theirs = resized(taught.maps[number - 1].float(), own.shape[-2:])
            loss = map_distance(own.float(), theirs, shrunk(taught.where, own.shape[-2:]))
            total = total + config.stages * loss / len(config.stage_numbers)
        return total

    def chance(self, places: int) -> float:
        """Bound from above the loss of a student whose logits are all equal, with maps of so many ``places``."""
        config = self.config
        pixels = config.logits * config.temperature**2 * math.log(len(self.own))
        # Two maps that are normalised over channels differ by at most 4.
        return pixels + config.channels * config.channel_temperature**2 * math.log(places) + 4 * config.stages


def resized(maps: Tensor, shape: Sequence[int]) -> Tensor:
    """Resize maps (B, C, h, w) bilinearly to ``shape``."""
    if maps.shape[-2:] == tuple(shape):
        return maps
    return F.interpolate(maps, tuple(shape), mode="bilinear", align_corners=False)


def shrunk(where: Tensor, shape: Sequence[int]) -> Tensor:
    """Tell for each cell of ``shape`` whether all of its pixels (B, H, W) count: bool (B, h, w)."""
    return F.interpolate(where[:, None].float(), tuple(shape), mode="area")[:, 0] > _WHOLE


def pixel_divergence(student: Tensor, teacher: Tensor, where: Tensor, temperature: float) -> Tensor:
    """Compute T² · KL(teacher ‖ student) of each pixel's softened probabilities, the mean over the pixels that count.

    Args:
        student: logits (B, classes, h, w).
        teacher: logits of the same shape.
        where: pixels that count, bool (B, h, w).
        temperature: T, which divides the logits.
    """
    own, theirs = (F.log_softmax(logits / temperature, 1) for logits in (student, teacher))
    divergence = F.kl_div(own, theirs, reduction="none", log_target=True).sum(1)
    return temperature**2 * (divergence * where).sum() / where.sum().clamp(min=1)


def channel_divergence(student: Tensor, teacher: Tensor, where: Tensor, temperature: float) -> Tensor:
    """Compute T² · KL(teacher ‖ student) of each channel's softmax over space, the mean over channels and images.

    Parameters are those of :func:`pixel_divergence`; places that do not count are no part of the space.
    """
    own, theirs = (
        F.log_softmax((logits / temperature).masked_fill(~where[:, None], _NOWHERE).flatten(2), 2)
        for logits in (student, teacher)
    )
    divergence = F.kl_div(own, theirs, reduction="none", log_target=True).sum(2)
    return temperature**2 * divergence.mean()


def map_distance(student: Tensor, teacher: Tensor, where: Tensor) -> Tensor:
    """Compute the mean squared difference of maps (B, C, h, w), normalised over channels, at the places that count."""
    own, theirs = (F.layer_norm(maps.permute(0, 2, 3, 1), maps.shape[1:2]) for maps in (student, teacher))
    return ((own - theirs).square().mean(3) * where).sum() / where.sum().clamp(min=1)
