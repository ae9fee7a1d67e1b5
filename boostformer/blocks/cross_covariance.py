"""Token mixer that attends among channels instead of positions."""

from __future__ import annotations

from typing import Annotated

import torch
from torch import Tensor, nn

from boostformer.blocks.attention import HEADS, Projections, as_map, tokens
from boostformer.blocks.block import Channels
from boostformer.blocks.convolution import depthwise
from boostformer.blocks.folding import absorb_input, absorb_output
from boostformer.blocks.norms import LayerNorm2d
from boostformer.blocks.precision import at_least_single
from boostformer.blocks.registry import OneOf, register

EPS = 1e-6
"""Least length that a channel is divided by."""


@register("mixer", "cross_covariance", source="XCiT, El-Nouby et al. 2021")
class CrossCovarianceAttention(Projections):
    """Each channel attends to the channels of its head: linear in the number of positions.

    With ``interaction`` the output is a + LPI(LN(x + a)), where x is the block's input, a the attention and LPI the
    local patch interaction. These are XCiT's two residual branches as one: both share the layer's norm and scale, and
    LPI sees the normed x, where XCiT's sees the trunk.

    Args:
        width: channels.
        heads: in which the channels attend to each other.
        project: whether a linear layer follows the attention.
        interaction: whether the local patch interaction follows.
    """

    no_decay = ("temperature",)

    def __init__(
        self,
        width: int,
        *,
        heads: Annotated[int, HEADS] = 1,
        project: Annotated[bool, OneOf(False, True)] = True,
        interaction: Annotated[bool, OneOf(False, True)] = True,
    ) -> None:
        super().__init__(width, heads, project)
        self.temperature = nn.Parameter(torch.ones(heads, 1, 1))
        self.interaction: nn.Module | None = None
        if interaction:
            self.interaction = nn.Sequential(
                LayerNorm2d(width), depthwise(width, 3), nn.GELU(), nn.BatchNorm2d(width), depthwise(width, 3)
            )

    def forward(self, x: Tensor) -> Tensor:
        x_tokens = tokens(x)
        query, key = (self.split(unit(layer(x_tokens))) for layer in (self.query, self.key))
        scores = query.transpose(2, 3) @ key  # (B, h, d, d): few, whatever the size of the map
        weights = (self.temperature * scores).softmax(dim=-1)
        mixed = self.split(self.value(x_tokens)) @ weights.transpose(2, 3)
        attended = as_map(self.project(mixed.transpose(1, 2).flatten(2)), x)
        if self.interaction is None:
            return attended
        return attended + self.interaction(x + attended)

    def absorb_input(self, scale: Channels, shift: Channels | None) -> bool:
        if self.interaction is not None:  # it sees the input itself
            return False
        for layer in (self.query, self.key, self.value):
            absorb_input(layer, scale, shift)
        return True

    def absorb_output(self, scale: Channels, shift: Channels | None) -> bool:
        """Change the projection; without it, attention sums over the channels, each of which has its own factor."""
        return self.interaction is None and absorb_output(self.project, scale, shift)


def unit(x: Tensor) -> Tensor:
    """(B, N, C) with every channel of length one over the tokens."""
    exact = at_least_single(x)
    length = exact.square().sum(dim=1, keepdim=True).clamp(min=EPS**2).sqrt()  # which has no gradient at 0
    return (exact / length).to(x.dtype)
