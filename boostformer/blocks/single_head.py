"""Token mixer in which a slice of the channels attends, with one head."""

from __future__ import annotations

from typing import Annotated

import torch
from torch import Tensor, nn
from torch.nn import functional

from boostformer.blocks.attention import as_map, keys_out_of_reach, tokens
from boostformer.blocks.block import Block, Channels, Options, Runs, Size
from boostformer.blocks.folding import absorb_output
from boostformer.blocks.norms import GroupNorm1
from boostformer.blocks.registry import OneOf, register


@register("mixer", "single_head_attention", source="SHViT, Yun & Ro 2024")
class SingleHeadAttention(Block):
    """One of ``part`` slices of the channels attends, by queries and keys of width ``dim``; the rest passes."""

    def __init__(
        self,
        width: int,
        *,
        part: Annotated[int, OneOf(2, 4, 8)] = 4,
        dim: Annotated[int, OneOf(16, 32)] = 16,
    ) -> None:
        super().__init__()
        self.dim, self.attending = dim, width // part
        self.norm = GroupNorm1(self.attending)
        inner = 2 * dim + self.attending
        self.qkv = nn.Sequential(nn.Conv2d(self.attending, inner, 1, bias=False), nn.BatchNorm2d(inner))
        last = nn.BatchNorm2d(width)
        nn.init.zeros_(last.weight)
        self.project = nn.Sequential(nn.ReLU(), nn.Conv2d(width, width, 1, bias=False), last)

    @staticmethod
    def refusal(width: int, size: Size, options: Options) -> str | None:
        if width % options["part"]:
            return f"width {width} has no {options['part']} equal parts"
        return None

    @staticmethod
    def out_of_reach(stage: int, size: Size, options: Options) -> str | None:
        if stage < 2:
            return "single-head attention is for the third stage and the fourth"
        return keys_out_of_reach(*size)

    def runs(self) -> dict[str, tuple[Runs, Runs]]:
        """Queries, keys and values."""
        inner: Runs = (self.dim, self.dim, self.attending)
        norm: dict[str, tuple[Runs, Runs]] = {
            f"qkv.1.{name}": (inner, ()) for name in ("weight", "bias", "running_mean", "running_var")
        }
        return {"qkv.0.weight": (inner, ())} | norm

    def forward(self, x: Tensor) -> Tensor:
        part, rest = x.split((self.attending, x.shape[1] - self.attending), dim=1)
        qkv = tokens(self.qkv(self.norm(part))).unsqueeze(1)
        query, key, value = qkv.split((self.dim, self.dim, self.attending), dim=3)
        attended = functional.scaled_dot_product_attention(query, key, value).squeeze(1)
        return self.project(torch.cat([as_map(attended, x), rest], dim=1))

    def absorb_output(self, scale: Channels, shift: Channels | None) -> bool:
        return absorb_output(self.project, scale, shift)
