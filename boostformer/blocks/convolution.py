"""Token mixers that look at a neighbourhood only."""

from __future__ import annotations

from typing import Annotated

import torch
from torch import Tensor, nn
from torch.nn import functional

from boostformer.blocks.block import Block, Channels
from boostformer.blocks.folding import absorb_input, absorb_output, affine_of, set_weights
from boostformer.blocks.registry import OneOf, register

KERNELS = OneOf(3, 5, 7)


def depthwise(width: int, kernel: int | tuple[int, int], bias: bool = True) -> nn.Conv2d:
    """One filter for each channel; the map keeps its size."""
    rows, columns = kernel if isinstance(kernel, tuple) else (kernel, kernel)
    padding = (rows // 2, columns // 2)
    return nn.Conv2d(width, width, (rows, columns), padding=padding, groups=width, bias=bias)


@register("mixer", "identity", source="MetaFormer Baselines, Yu et al. 2022")
class Identity(Block):
    """Mixes nothing: what a layer is worth without its mixer."""

    def __init__(self, width: int) -> None:
        super().__init__()

    def forward(self, x: Tensor) -> Tensor:
        return x


@register("mixer", "pooling", source="PoolFormer, Yu et al. 2022")
class Pooling(Block):
    """Average of the neighbourhood minus the position itself; no parameters."""

    def __init__(self, width: int, *, kernel: Annotated[int, KERNELS] = 3) -> None:
        super().__init__()
        self.pool = nn.AvgPool2d(kernel, 1, kernel // 2, count_include_pad=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.pool(x) - x


@register("mixer", "reparam_depthwise", source="RepViT, Wang et al. 2024; FastViT's RepMixer, Vasu et al. 2023")
class ReparamDepthwise(Block):
    """Depthwise k x k, 1x1 and identity branches, each with BN; one depthwise convolution when folded."""

    def __init__(self, width: int, *, kernel: Annotated[int, KERNELS] = 3) -> None:
        super().__init__()
        self.wide = nn.Sequential(depthwise(width, kernel, bias=False), nn.BatchNorm2d(width))
        self.point = nn.Sequential(depthwise(width, 1, bias=False), nn.BatchNorm2d(width))
        self.skip = nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        return self.wide(x) + self.point(x) + self.skip(x)

    def absorb_output(self, scale: Channels, shift: Channels | None) -> bool:
        return absorb_output(self.skip, scale, shift) and all(
            absorb_output(branch, scale) for branch in (self.wide, self.point)
        )

    @torch.no_grad()
    def fold(self) -> nn.Module:
        """Become one convolution: the narrow branches are filters that are zero but for the middle."""
        wide, point = self.wide, self.point
        assert isinstance(wide, nn.Conv2d) and isinstance(point, nn.Conv2d)  # each branch is folded by now
        assert wide.bias is not None and point.bias is not None
        scale, shift = affine_of(self.skip)
        middle = functional.pad(point.weight.double() + scale.view(-1, 1, 1, 1), [wide.kernel_size[0] // 2] * 4)
        set_weights(wide, wide.weight.double() + middle, wide.bias.double() + point.bias.double() + shift)
        return wide


@register("mixer", "msca", source="SegNeXt, Guo et al. 2022")
class MultiScaleConvAttention(Block):
    """Depthwise 5x5 and strips of 7, 11 and 21 make a map that gates its own input, between two 1x1.

    SegNeXt adds the input before the first 1x1 to the output: here that is the layer's `local_connection`.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.enter = nn.Conv2d(width, width, 1)
        self.near = depthwise(width, 5)
        self.strips = nn.ModuleList(
            nn.Sequential(depthwise(width, (1, k)), depthwise(width, (k, 1))) for k in (7, 11, 21)
        )
        self.mix = nn.Conv2d(width, width, 1)
        self.project = nn.Conv2d(width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.gelu(self.enter(x))
        near = self.near(x)
        around = near
        for strip in self.strips:
            around = around + strip(near)
        return self.project(self.mix(around) * x)

    def absorb_input(self, scale: Channels, shift: Channels | None) -> bool:
        return absorb_input(self.enter, scale, shift)

    def absorb_output(self, scale: Channels, shift: Channels | None) -> bool:
        return absorb_output(self.project, scale, shift)
