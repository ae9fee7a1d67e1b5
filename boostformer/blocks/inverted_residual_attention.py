"""Token mixer that attends in dilated windows and convolves, between an expansion and a projection."""

from __future__ import annotations

from typing import Annotated

import torch
from torch import Tensor, nn
from torch.nn import functional

from boostformer.blocks.attention import HEADS, heads_refusal, in_runs, tokens
from boostformer.blocks.block import Block, Channels, Options, Runs, Size
from boostformer.blocks.convolution import depthwise
from boostformer.blocks.folding import absorb_input, absorb_output
from boostformer.blocks.registry import OneOf, register


@register("mixer", "inverted_residual_attention", source="EMO, Zhang et al. 2023")
class InvertedResidualAttention(Block):
    """Expanded values attended to in dilated windows, plus their depthwise convolution; projected.

    Of a map cut into n x n windows, a window holds every n-th position in both directions and so spans the map.

    Args:
        width: channels.
        heads: in which the channels attend.
        ratio: channels of the values for each of ``width``.
        window: most positions along a side of a window.
        kernel: of the depthwise convolution.
    """

    def __init__(
        self,
        width: int,
        *,
        heads: Annotated[int, HEADS] = 1,
        ratio: Annotated[int, OneOf(1, 2, 3, 4)] = 2,
        window: Annotated[int, OneOf(4, 7, 8)] = 7,
        kernel: Annotated[int, OneOf(3, 5)] = 5,
    ) -> None:
        super().__init__()
        self.heads, self.window = heads, window
        hidden = ratio * width
        self.widths = (width, width, hidden)
        self.qkv = nn.Linear(width, sum(self.widths))
        self.local = nn.Sequential(depthwise(hidden, kernel, bias=False), nn.BatchNorm2d(hidden), nn.SiLU())
        self.project = nn.Conv2d(hidden, width, 1)

    @staticmethod
    def refusal(width: int, size: Size, options: Options) -> str | None:
        return heads_refusal(width, options["heads"])

    def forward(self, x: Tensor) -> Tensor:
        x = self.attend(x)
        return self.project(x + self.local(x))

    def runs(self) -> dict[str, tuple[Runs, Runs]]:
        """Heads, in the queries, the keys and the values."""
        query, _, value = ((width // self.heads,) * self.heads for width in self.widths)
        local = {f"local.1.{name}": (value, ()) for name in ("weight", "bias", "running_mean", "running_var")}
        return (
            in_runs(["qkv"], query + query + value)
            | local
            | {"local.0.weight": (value, ()), "project.weight": ((), value)}
        )

    def attend(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, ratio*C, H, W)."""
        batch, height, length = len(x), int(x.shape[2]), int(x.shape[3])
        # Windows of at most ``window`` positions a side, and no larger than the map needs: less is padded.
        rows, columns = -(-height // self.window), -(-length // self.window)
        tall, wide = -(-height // rows), -(-length // columns)
        below, right = rows * tall - height, columns * wide - length

        qkv = self.qkv(tokens(x)).unflatten(1, (height, length))
        if below or right:
            qkv = functional.pad(qkv, (0, 0, 0, right, 0, below))
        qkv = qkv.view(batch, tall, rows, wide, columns, -1).permute(0, 2, 4, 1, 3, 5)
        parts = qkv.reshape(batch * rows * columns, tall * wide, -1).split(self.widths, dim=2)
        query, key, value = (part.unflatten(2, (self.heads, -1)).transpose(1, 2) for part in parts)
        mask = None
        if below or right:
            inside = _inside(rows, tall, height, x)[:, None, :, None] & _inside(columns, wide, length, x)[:, None]
            mask = torch.where(inside, 0.0, -torch.inf).to(query.dtype).flatten(2)
            mask = mask.expand(batch, -1, -1, -1).reshape(-1, 1, 1, tall * wide)
        mixed = functional.scaled_dot_product_attention(query, key, functional.gelu(value), mask)
        mixed = mixed.transpose(1, 2).reshape(batch, rows, columns, tall, wide, -1).permute(0, 3, 1, 4, 2, 5)
        return mixed.reshape(batch, tall * rows, wide * columns, -1)[:, :height, :length].permute(0, 3, 1, 2)

    def absorb_input(self, scale: Channels, shift: Channels | None) -> bool:
        return absorb_input(self.qkv, scale, shift)

    def absorb_output(self, scale: Channels, shift: Channels | None) -> bool:
        return absorb_output(self.project, scale, shift)


def _inside(windows: int, side: int, length: int, like: Tensor) -> Tensor:
    """(windows, side): which positions of each window lie on the map, along one axis."""
    return (torch.arange(windows * side, device=like.device) < length).view(side, windows).transpose(0, 1)
