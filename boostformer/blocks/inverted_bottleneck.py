"""Inverted bottlenecks: token mixers that also expand the channels."""

from __future__ import annotations

from collections import OrderedDict
from typing import Annotated

from torch import nn

from boostformer.blocks.block import Block
from boostformer.blocks.convolution import depthwise
from boostformer.blocks.registry import OneOf, register

KERNELS = OneOf(0, 3, 5)


@register("mixer", "universal_inverted_bottleneck", source="MobileNetV4, Qin et al. 2024")
class UniversalInvertedBottleneck(Block, nn.Sequential):
    """Depthwise (`start`), expand, depthwise (`middle`), project; a kernel of 0 leaves that one out.

    Only `middle`: an inverted bottleneck; only `start`: ConvNeXt's order; both: extra depthwise; none: an FFN.

    Args:
        width: channels.
        start: kernel of the depthwise convolution before the expansion, or 0.
        middle: kernel of the one behind it, or 0.
        ratio: channels behind the expansion for each of ``width``.
    """

    def __init__(
        self,
        width: int,
        *,
        start: Annotated[int, KERNELS] = 3,
        middle: Annotated[int, KERNELS] = 3,
        ratio: Annotated[int, OneOf(2, 3, 4, 6)] = 4,
    ) -> None:
        hidden = ratio * width
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        if start:
            layers["start"] = _conv_norm(width, width, start)
        layers["expand"] = _conv_norm(width, hidden, 1)
        layers["activation1"] = nn.ReLU(inplace=True)
        if middle:
            layers["middle"] = _conv_norm(hidden, hidden, middle)
            layers["activation2"] = nn.ReLU(inplace=True)
        layers["project"] = _conv_norm(hidden, width, 1)
        super().__init__(layers)


def _conv_norm(in_width: int, width: int, kernel: int) -> nn.Sequential:
    """A convolution, depthwise if it looks around, and BN."""
    conv = depthwise(width, kernel, bias=False) if kernel > 1 else nn.Conv2d(in_width, width, 1, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(width))
