"""Token mixers whose attention has no softmax and so needs no scores."""

from __future__ import annotations

from typing import Annotated

import torch
from torch import Tensor, nn

from boostformer.blocks.attention import as_map, tokens
from boostformer.blocks.block import Block, Channels, Options, Runs, Size
from boostformer.blocks.convolution import depthwise
from boostformer.blocks.folding import absorb_input, absorb_output
from boostformer.blocks.precision import as_they_are, at_least_single
from boostformer.blocks.registry import OneOf, register

EPS = 1e-6
"""Added to the sum of a query's weights, which is zero where ReLU leaves nothing."""


@register("mixer", "lite_mla", source="EfficientViT, Cai et al. 2023")
class LiteMLA(Block):
    """ReLU linear attention in heads of width ``dim``, at one scale or two.

    ``scale`` is the kernel of the convolution that makes the second scale's queries, keys and values; 0: none.
    """

    def __init__(
        self,
        width: int,
        *,
        dim: Annotated[int, OneOf(8, 16, 32)] = 16,
        scale: Annotated[int, OneOf(0, 3, 5)] = 5,
    ) -> None:
        super().__init__()
        self.dim = dim
        inner = 3 * width
        self.qkv = nn.Conv2d(width, inner, 1, bias=False)
        self.coarser: nn.Module | None = None
        if scale:
            self.coarser = nn.Sequential(
                depthwise(inner, scale, bias=False),
                nn.Conv2d(inner, inner, 1, groups=inner // dim, bias=False),
            )
        self.project = nn.Sequential(
            nn.Conv2d(2 * width if scale else width, width, 1, bias=False), nn.BatchNorm2d(width)
        )

    @staticmethod
    def refusal(width: int, size: Size, options: Options) -> str | None:
        if width % options["dim"]:
            return f"heads of width {options['dim']} do not divide width {width}"
        return None

    def runs(self) -> dict[str, tuple[Runs, Runs]]:
        """Queries, keys and values; their heads are of one width, whatever the width."""
        width = self.qkv.in_channels
        inner: Runs = (width,) * 3
        scales: Runs = (width,) * (1 if self.coarser is None else 2)
        coarser = {f"coarser.{layer}.weight": (inner, ()) for layer in (0, 1)} if self.coarser is not None else {}
        return {"qkv.weight": (inner, ()), "project.0.weight": ((), scales)} | coarser

    def forward(self, x: Tensor) -> Tensor:
        scales = [self.qkv(x)]
        if self.coarser is not None:
            scales.append(self.coarser(scales[0]))
        attended = [self._attend(tokens(qkv)) for qkv in scales]
        return self.project(as_map(torch.cat(attended, dim=2) if len(attended) > 1 else attended[0], x))

    def _attend(self, qkv: Tensor) -> Tensor:
        """(B, N, 3C) -> (B, N, C)."""
        heads = (part.unflatten(2, (-1, self.dim)).transpose(1, 2) for part in qkv.chunk(3, dim=2))
        query, key, value = (at_least_single(part) for part in heads)
        with as_they_are(qkv):  # the sums over all positions overflow half precision
            query, key = query.relu(), key.relu()
            weighted = query @ (key.transpose(2, 3) @ value)
            total = query @ key.sum(dim=2, keepdim=True).transpose(2, 3)
            mixed = weighted / (total + EPS)
        return mixed.transpose(1, 2).flatten(2).to(qkv.dtype)

    def absorb_input(self, scale: Channels, shift: Channels | None) -> bool:
        return absorb_input(self.qkv, scale, shift)

    def absorb_output(self, scale: Channels, shift: Channels | None) -> bool:
        return absorb_output(self.project, scale, shift)
