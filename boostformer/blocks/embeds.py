"""Patch embeds: they stride the map and set a stage's width."""

from __future__ import annotations

from typing import Annotated

import torch
from torch import Tensor, nn
from torch.nn import functional

from boostformer.blocks.block import Block
from boostformer.blocks.norms import LayerNorm2d
from boostformer.blocks.registry import OneOf, register


@register("embed", "overlap_conv", source="SegFormer, Xie et al. 2021")
class OverlapConvEmbed(Block):
    """Strided convolution whose windows overlap, then LayerNorm.

    Args:
        in_width: channels of the input.
        width: channels of the output.
        stride: of the convolution.
        kernel: its side, in positions.
    """

    def __init__(self, in_width: int, width: int, stride: int, *, kernel: Annotated[int, OneOf(3, 5, 7)] = 3) -> None:
        super().__init__()
        self.proj = nn.Conv2d(in_width, width, kernel, stride, kernel // 2)
        self.norm = LayerNorm2d(width)

    @torch.no_grad()
    def take(self, other: Block) -> bool:
        """Spread the linear layer behind a pooling over its window: the same, but for the map's border."""
        if not isinstance(other, PoolingEmbed):
            return False
        window, own = other.pool.kernel_size, self.proj.kernel_size[0]
        assert isinstance(window, int)
        inner = min(window, own)
        spread = (other.proj.weight / inner**2).expand(-1, -1, inner, inner)
        self.proj.weight.copy_(functional.pad(spread, [(own - inner) // 2] * 4))
        return _take_rest(self, other)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.proj(x))


def _take_rest(own: OverlapConvEmbed | PoolingEmbed, other: OverlapConvEmbed | PoolingEmbed) -> bool:
    assert own.proj.bias is not None and other.proj.bias is not None
    own.proj.bias.copy_(other.proj.bias)
    own.norm.load_state_dict(other.norm.state_dict())
    return True


@register("embed", "pooling", source="BoostFormer publication")
class PoolingEmbed(Block):
    """Average pooling, then a linear layer per position and LayerNorm. In stage 1 it sees a blurred image.

    Args:
        in_width: channels of the input.
        width: channels of the output.
        stride: of the pooling.
        kernel: side of its windows, in positions.
    """

    def __init__(self, in_width: int, width: int, stride: int, *, kernel: Annotated[int, OneOf(3, 5, 7)] = 3) -> None:
        super().__init__()
        self.pool = nn.AvgPool2d(kernel, stride, kernel // 2, count_include_pad=False)
        self.proj = nn.Conv2d(in_width, width, 1)
        self.norm = LayerNorm2d(width)

    @torch.no_grad()
    def take(self, other: Block) -> bool:
        """Sum a convolution's filters: the same on a map that is smooth."""
        if not isinstance(other, OverlapConvEmbed):
            return False
        self.proj.weight.copy_(other.proj.weight.sum(dim=(2, 3), keepdim=True))
        return _take_rest(self, other)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.proj(self.pool(x)))
