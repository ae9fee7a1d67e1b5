"""Decoder fusions: four maps of one width become one map at the finest resolution."""

from __future__ import annotations

from typing import Annotated

import torch
from torch import Tensor, nn
from torch.nn import functional

from boostformer.blocks.registry import OneOf, register


def upsample(x: Tensor, like: Tensor) -> Tensor:
    """Bilinear resize to the height and width of ``like``; itself when they agree."""
    if x.shape[2:] == like.shape[2:]:
        return x
    return functional.interpolate(x, size=like.shape[2:], mode="bilinear", align_corners=False)


@register("fusion", "concat", source="SegFormer, Xie et al. 2021")
class ConcatFusion(nn.Module):
    """Upsample, concatenate, one linear layer without bias."""

    def __init__(self, width: int, maps: int) -> None:
        super().__init__()
        self.linear = nn.Conv2d(maps * width, width, 1, bias=False)

    def forward(self, features: list[Tensor]) -> Tensor:
        # Coarsest first: the order of the published weights.
        return self.linear(torch.cat([upsample(x, features[0]) for x in reversed(features)], dim=1))


@register("fusion", "weighted_sum", source="BoostFormer publication; BiFPN, Tan et al. 2020")
class WeightedSumFusion(nn.Module):
    """Upsample and add, each map with a learned weight, free or normalised to a sum of one."""

    def __init__(self, width: int, maps: int, *, normalised: Annotated[bool, OneOf(False, True)] = False) -> None:
        super().__init__()
        self.normalised = normalised
        self.weights = nn.Parameter(torch.ones(maps))

    def forward(self, features: list[Tensor]) -> Tensor:
        weights: Tensor = self.weights
        if self.normalised:
            positive = weights.relu()
            weights = positive / (1e-4 + positive.sum())
        total = weights[0] * features[0]
        for weight, x in zip(weights[1:], features[1:], strict=True):
            total = total + upsample(weight * x, features[0])
        return total
