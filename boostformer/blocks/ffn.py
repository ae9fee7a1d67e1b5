"""Feed-forward networks: they mix the channels of each position."""

from __future__ import annotations

from typing import Annotated

import torch
from torch import Tensor, nn
from torch.nn import functional

from boostformer.blocks.registry import OneOf, register

RATIOS = OneOf(1, 2, 3, 4, 6, 8)


def depthwise(width: int, kernel: int) -> nn.Conv2d:
    return nn.Conv2d(width, width, kernel, padding=kernel // 2, groups=width)


@register("ffn", "mix_ffn", source="SegFormer, Xie et al. 2021")
class MixFFN(nn.Module):
    """Expand, 3x3 depthwise convolution, GELU, project."""

    def __init__(self, width: int, *, ratio: Annotated[int, RATIOS] = 4) -> None:
        super().__init__()
        hidden = ratio * width
        self.expand = nn.Conv2d(width, hidden, 1)
        self.depthwise = depthwise(hidden, 3)
        self.project = nn.Conv2d(hidden, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.project(functional.gelu(self.depthwise(self.expand(x))))


@register("ffn", "mix_cfn", source="BoostFormer publication; MixConv, Tan & Le 2019")
class MixCFN(nn.Module):
    """Expand, BN, half the channels 3x3 and half 5x5 depthwise, BN, GELU, project."""

    def __init__(self, width: int, *, ratio: Annotated[int, RATIOS] = 4) -> None:
        super().__init__()
        if reason := self.refusal(width, ratio):
            raise ValueError(reason)
        hidden = ratio * width
        self.expand = nn.Conv2d(width, hidden, 1)
        self.norm1 = nn.BatchNorm2d(hidden)
        self.depthwise3 = depthwise(hidden // 2, 3)
        self.depthwise5 = depthwise(hidden // 2, 5)
        self.norm2 = nn.BatchNorm2d(hidden)
        self.project = nn.Conv2d(hidden, width, 1)

    @staticmethod
    def refusal(width: int, ratio: int) -> str | None:
        if ratio * width % 2:
            return f"ratio {ratio} times width {width} is odd: its two halves would differ"
        return None

    def forward(self, x: Tensor) -> Tensor:
        near, far = self.norm1(self.expand(x)).chunk(2, dim=1)
        x = torch.cat([self.depthwise3(near), self.depthwise5(far)], dim=1)
        return self.project(functional.gelu(self.norm2(x)))


@register("ffn", "conv_mlp", source="PoolFormer, Yu et al. 2022")
class ConvMLP(nn.Module):
    """Expand, GELU, project: no neighbours are seen."""

    def __init__(self, width: int, *, ratio: Annotated[int, RATIOS] = 4) -> None:
        super().__init__()
        self.expand = nn.Conv2d(width, ratio * width, 1)
        self.project = nn.Conv2d(ratio * width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.project(functional.gelu(self.expand(x)))
