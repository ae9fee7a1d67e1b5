"""Patch embeds: they stride the map and set a stage's width."""

from __future__ import annotations

from typing import Annotated

from torch import Tensor, nn

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

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.proj(x))


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

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.proj(self.pool(x)))
