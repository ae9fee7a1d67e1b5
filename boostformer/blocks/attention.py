"""Token mixers that attend: every position may look at every other."""

from __future__ import annotations

from typing import Annotated

from torch import Tensor, nn
from torch.nn import functional

from boostformer.blocks.norms import LayerNorm2d
from boostformer.blocks.registry import OneOf, register

HEADS = OneOf(1, 2, 3, 4, 5, 6, 8, 10, 12, 16)


def tokens(x: Tensor) -> Tensor:
    """(B, C, H, W) -> (B, H*W, C); a view when the map is channels-last in memory."""
    return x.flatten(2).transpose(1, 2)


def as_map(x: Tensor, like: Tensor) -> Tensor:
    """(B, H*W, C) -> (B, C, H, W), channels-last in memory, with H and W of ``like``."""
    return x.transpose(1, 2).unflatten(2, like.shape[2:])


def heads_refusal(width: int, heads: int) -> str | None:
    """Why ``width`` channels cannot be split into ``heads``, if they cannot."""
    if width % heads:
        return f"heads {heads} does not divide width {width}"
    return None


class _Attention(nn.Module):
    """Scaled dot-product attention of query tokens to key/value tokens."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        if reason := heads_refusal(width, heads):
            raise ValueError(reason)
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(2, (self.heads, -1)).transpose(1, 2)

    def attend(self, x: Tensor, context: Tensor) -> Tensor:
        """x (B, N, C), context (B, M, C) -> (B, N, C)."""
        query, key, value = self.query(x), self.key(context), self.value(context)
        mixed = functional.scaled_dot_product_attention(self._split(query), self._split(key), self._split(value))
        return mixed.transpose(1, 2).flatten(2)


@register("mixer", "efficient_attention", source="SegFormer, Xie et al. 2021")
class EfficientAttention(_Attention):
    """Self-attention whose keys and values come from a map reduced by a strided convolution."""

    def __init__(
        self,
        width: int,
        *,
        heads: Annotated[int, HEADS] = 1,
        reduction: Annotated[int, OneOf(1, 2, 4, 8)] = 1,
    ) -> None:
        super().__init__(width, heads)
        self.reduce: nn.Module = nn.Identity()
        if reduction > 1:
            self.reduce = nn.Sequential(nn.Conv2d(width, width, reduction, reduction), LayerNorm2d(width))
        self.project = nn.Linear(width, width)

    @staticmethod
    def refusal(width: int, heads: int, reduction: int) -> str | None:
        return heads_refusal(width, heads)

    def forward(self, x: Tensor) -> Tensor:
        return as_map(self.project(self.attend(tokens(x), tokens(self.reduce(x)))), x)


@register("mixer", "mhsa", source="Vaswani et al. 2017")
class MultiHeadSelfAttention(_Attention):
    """Plain multi-head self-attention over all positions."""

    def __init__(self, width: int, *, heads: Annotated[int, HEADS] = 1) -> None:
        super().__init__(width, heads)
        self.project = nn.Linear(width, width)

    @staticmethod
    def refusal(width: int, heads: int) -> str | None:
        return heads_refusal(width, heads)

    def forward(self, x: Tensor) -> Tensor:
        x_tokens = tokens(x)
        return as_map(self.project(self.attend(x_tokens, x_tokens)), x)


@register("mixer", "pooled_attention", source="BoostFormer publication")
class PooledAttention(_Attention):
    """Attention to the map pooled to a fixed grid, without output projection."""

    def __init__(
        self,
        width: int,
        *,
        heads: Annotated[int, HEADS] = 1,
        pool: Annotated[int, OneOf(3, 5, 7, 9, 11)] = 7,
    ) -> None:
        super().__init__(width, heads)
        self.pool = nn.AdaptiveAvgPool2d(pool)
        self.norm = LayerNorm2d(width)

    @staticmethod
    def refusal(width: int, heads: int, pool: int) -> str | None:
        return heads_refusal(width, heads)

    def forward(self, x: Tensor) -> Tensor:
        context = functional.gelu(self.norm(self.pool(x)))
        return as_map(self.attend(tokens(x), tokens(context)), x)


@register("mixer", "separable_attention", source="MobileViTv2, Mehta & Rastegari 2022")
class SeparableAttention(nn.Module):
    """Attention through one global context vector: linear in the number of positions."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.query = nn.Linear(width, 1)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.project = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        x_tokens = tokens(x)
        scores = self.query(x_tokens).softmax(dim=1)  # over the positions: a weight for each
        context = (scores * self.key(x_tokens)).sum(dim=1, keepdim=True)
        return as_map(self.project(functional.relu(self.value(x_tokens)) * context), x)
