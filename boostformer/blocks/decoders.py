"""Decoder fusions: four maps of one width become one map at the finest resolution."""

from __future__ import annotations

from typing import Annotated

import torch
from torch import Tensor, nn
from torch.nn import functional

from boostformer.blocks.block import Block, Channels, Runs
from boostformer.blocks.folding import absorb_output
from boostformer.blocks.registry import OneOf, register


def upsample(x: Tensor, like: Tensor) -> Tensor:
    """Bilinear resize to the height and width of ``like``; itself when they agree."""
    if x.shape[2:] == like.shape[2:]:
        return x
    return functional.interpolate(x, size=like.shape[2:], mode="bilinear", align_corners=False)


@register("fusion", "concat", source="SegFormer, Xie et al. 2021")
class ConcatFusion(Block):
    """Upsample, concatenate, one linear layer without bias."""

    def __init__(self, width: int, maps: int) -> None:
        super().__init__()
        self.maps = maps
        self.linear = nn.Conv2d(maps * width, width, 1, bias=False)

    def forward(self, features: list[Tensor]) -> Tensor:
        if self.training:
            return self._sum(features)
        # Coarsest first: the order of the published weights, and of what published costs count.
        return self.linear(torch.cat([upsample(x, features[0]) for x in reversed(features)], dim=1))

    def _sum(self, features: list[Tensor]) -> Tensor:
        """Compute the same for less: the linear layer commutes with the resize, so it acts at each map's own size."""
        total, *coarser = [functional.conv2d(x, w) for x, w in zip(features, self._weights(), strict=True)]
        for x in coarser:
            total = total + upsample(x, total)
        return total

    def _weights(self) -> tuple[Tensor, ...]:
        """The weights (width, width, 1, 1) of each map, finest first."""
        return self.linear.weight.chunk(self.maps, dim=1)[::-1]

    def runs(self) -> dict[str, tuple[Runs, Runs]]:
        """Maps."""
        return {"linear.weight": ((), (self.linear.out_channels,) * self.maps)}

    @torch.no_grad()
    def take(self, other: Block) -> bool:
        """Be the same sum as any linear fusion."""
        if not other.is_linear():
            return False
        one = torch.eye(self.linear.out_channels, dtype=torch.float64)
        parts = [part if part.dim() else part * one for part in other.linear_parts()]
        self.linear.weight.copy_(torch.cat(parts[::-1], dim=1)[:, :, None, None])
        return True

    def linear_parts(self) -> list[Tensor]:
        return [weight.detach().double().flatten(1) for weight in self._weights()]

    def absorb_output(self, scale: Channels, shift: Channels | None) -> bool:
        return absorb_output(self.linear, scale, shift)


@register("fusion", "weighted_sum", source="BoostFormer publication; BiFPN, Tan et al. 2020")
class WeightedSumFusion(Block):
    """Upsample and add, each map with a learned weight, free or normalised to a sum of one."""

    def __init__(self, width: int, maps: int, *, normalised: Annotated[bool, OneOf(False, True)] = False) -> None:
        super().__init__()
        self.normalised = normalised
        self.weights = nn.Parameter(torch.ones(maps))

    def forward(self, features: list[Tensor]) -> Tensor:
        weights = self._used(self.weights)
        total = weights[0] * features[0]
        for weight, x in zip(weights[1:], features[1:], strict=True):
            total = total + upsample(weight * x, features[0])
        return total

    def _used(self, weights: Tensor) -> Tensor:
        if not self.normalised:
            return weights
        positive = weights.relu()
        return positive / (1e-4 + positive.sum())

    def linear_parts(self) -> list[Tensor]:
        return list(self._used(self.weights.detach().double()))
