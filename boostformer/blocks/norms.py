"""Normalisation over the channels of a map, as registered blocks, and LayerScale."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from boostformer.blocks.block import Block
from boostformer.blocks.registry import register


@register("norm", "layer", source="Ba et al. 2016")
class LayerNorm2d(Block, nn.LayerNorm):
    """LayerNorm over the channels of each position."""

    def __init__(self, width: int) -> None:
        super().__init__(width)

    def forward(self, x: Tensor) -> Tensor:
        # A channels-last map is already (B, H, W, C) in memory: neither permute copies.
        x = functional.layer_norm(x.permute(0, 2, 3, 1), self.normalized_shape, self.weight, self.bias, self.eps)
        return x.permute(0, 3, 1, 2)


@register("norm", "batch", source="Ioffe & Szegedy 2015")
class BatchNorm2d(Block, nn.BatchNorm2d):
    """BatchNorm over the batch and all positions; folds into its neighbours for deployment."""

    def __init__(self, width: int) -> None:
        super().__init__(width)


@register("norm", "group", source="PoolFormer, Yu et al. 2022")
class GroupNorm1(Block, nn.GroupNorm):
    """GroupNorm with one group: over the channels and positions of each image together."""

    def __init__(self, width: int) -> None:
        super().__init__(1, width)


class LayerScale(nn.Module):
    """A learned factor per channel on a residual branch, starting at 1e-5 (CaiT, Touvron et al. 2021)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.full((width,), 1e-5))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> the same shape."""
        return x * self.gamma[:, None, None]
