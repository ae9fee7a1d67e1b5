"""Token mixers that attend: every position may look at every other."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from boostformer.blocks.block import Block, Channels, Options, Runs, Size
from boostformer.blocks.folding import absorb_input, absorb_output, set_weights
from boostformer.blocks.norms import LayerNorm2d
from boostformer.blocks.registry import OneOf, register

HEADS = OneOf(1, 2, 3, 4, 5, 6, 8, 10, 12, 16)


def tokens(x: Tensor) -> Tensor:
    """(B, C, H, W) -> (B, H*W, C); a view when the map is channels-last in memory."""
    return x.flatten(2).transpose(1, 2)


def as_map(x: Tensor, like: Tensor) -> Tensor:
    """(B, H*W, C) -> (B, C, H, W), channels-last in memory, with H and W of ``like``."""
    return x.transpose(1, 2).unflatten(2, like.shape[2:])


class AdaptivePool(nn.AdaptiveAvgPool2d):
    """Adaptive average pooling to a square grid; exported as two constant matrices, one for each axis.

    Exporters refuse its uneven windows or write a node for each.
    """

    def __init__(self, grid: int) -> None:
        super().__init__(grid)
        self.grid = grid

    def forward(self, x: Tensor) -> Tensor:
        if not torch.compiler.is_exporting():
            return super().forward(x)
        rows, columns = (_windows(x.shape[axis], self.grid, x) for axis in (2, 3))
        return rows @ x @ columns.T


def _windows(length: int | torch.SymInt, grid: int, like: Tensor) -> Tensor:
    """(grid, length): row i averages the positions of window i, as adaptive pooling places it."""
    if not isinstance(length, int):
        return _free_windows(length, grid, like)
    rows = []
    for i in range(grid):
        first, last = i * length // grid, -(-(i + 1) * length // grid)
        rows.append([1 / (last - first) if first <= position < last else 0.0 for position in range(length)])
    return torch.tensor(rows, dtype=like.dtype, device=like.device)


def _free_windows(length: Any, grid: int, like: Tensor) -> Tensor:
    """Compute the windows in the graph, whose ``length`` is free: of whole numbers 1 - x is above 0 for 0 alone."""
    window = torch.arange(grid, device=like.device, dtype=torch.float32)[:, None]
    first, last = (window * length / grid).floor(), ((window + 1) * length / grid).ceil()
    position = torch.arange(length, device=like.device, dtype=torch.float32)
    outside = (first - position).relu() + (position - (last - 1)).relu()
    return ((1 - outside).relu() / (last - first)).to(like.dtype)


def heads_refusal(width: int, heads: int) -> str | None:
    """Say why ``width`` channels cannot be split into ``heads``, if they cannot."""
    if width % heads:
        return f"heads {heads} does not divide width {width}"
    return None


KEYS = 2048
"""Most keys for each position that a search may ask for: SegFormer has as many in its first stages at 1024x2048."""


def keys_out_of_reach(height: int, width: int) -> str | None:
    """Say why no search should try attention of every position to ``height`` by ``width`` keys."""
    if height * width > KEYS:
        return f"{height:,}x{width:,} keys for each position are more than {KEYS:,}"
    return None


def in_runs(layers: Iterable[str], runs: Runs) -> dict[str, tuple[Runs, Runs]]:
    """Say that the outputs of these layers lie in ``runs``."""
    return {f"{layer}.{name}": (runs, ()) for layer in layers for name in ("weight", "bias")}


class Projections(Block):
    """Base of attention in ``heads``: linear layers to queries, keys and values, and with ``project`` one behind."""

    def __init__(self, width: int, heads: int, project: bool) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.project: nn.Module = nn.Linear(width, width) if project else nn.Identity()

    @staticmethod
    def refusal(width: int, size: Size, options: Options) -> str | None:
        return heads_refusal(width, options["heads"])

    def runs(self) -> dict[str, tuple[Runs, Runs]]:
        """Heads; without a last layer the values' channels are those of the trunk."""
        width = self.query.in_features
        heads: Runs = (width // self.heads,) * self.heads
        if not isinstance(self.project, nn.Linear):
            return in_runs(("query", "key"), heads)
        return in_runs(("query", "key", "value"), heads) | {"project.weight": ((), heads)}

    def split(self, x: Tensor) -> Tensor:
        """(B, N, C) -> (B, heads, N, C/heads)."""
        return x.unflatten(2, (self.heads, -1)).transpose(1, 2)


class Attention(Projections):
    """Scaled dot-product attention of query tokens to key/value tokens."""

    def attend(self, x: Tensor, context: Tensor) -> Tensor:
        """x (B, N, C), context (B, M, C) -> (B, N, C)."""
        query, key, value = self.query(x), self.key(context), self.value(context)
        mixed = functional.scaled_dot_product_attention(self.split(query), self.split(key), self.split(value))
        return self.project(mixed.transpose(1, 2).flatten(2))

    @torch.no_grad()
    def fold(self) -> nn.Module:
        """Drop biases: softmax cancels the keys', and its weights sum to one, so that of the values goes behind it."""
        set_weights(self.key, self.key.weight, None)
        if isinstance(self.project, nn.Linear) and self.value.bias is not None:
            passed = self.project.weight.double() @ self.value.bias.double()
            set_weights(self.project, self.project.weight, self.project.bias.double() + passed)
            set_weights(self.value, self.value.weight, None)
        return self

    def _take_layers(self, other: Attention) -> bool:
        names = ("query", "key", "value", "project")
        if any(type(getattr(self, name)) is not type(getattr(other, name)) for name in names):
            return False
        for name in names:
            getattr(self, name).load_state_dict(getattr(other, name).state_dict())
        return True

    def _absorb_input(self, layers: Iterable[nn.Module], scale: Channels, shift: Channels | None) -> bool:
        for layer in layers:
            absorb_input(layer, scale, shift)
        self.fold()  # the layers may have new biases
        return True

    def absorb_output(self, scale: Channels, shift: Channels | None) -> bool:
        """Change the projection, or without one the values' layer: attention sums its channels one by one."""
        last = self.project if isinstance(self.project, nn.Linear) else self.value
        return absorb_output(last, scale, shift)


@register("mixer", "efficient_attention", source="SegFormer, Xie et al. 2021")
class EfficientAttention(Attention):
    """Self-attention whose keys and values come from a map reduced by a strided convolution.

    Args:
        width: channels.
        heads: in which the channels attend.
        reduction: kernel and stride of the convolution.
        project: whether a linear layer follows.
    """

    def __init__(
        self,
        width: int,
        *,
        heads: Annotated[int, HEADS] = 1,
        reduction: Annotated[int, OneOf(1, 2, 4, 8)] = 1,
        project: Annotated[bool, OneOf(False, True)] = True,
    ) -> None:
        super().__init__(width, heads, project)
        self.reduce: nn.Module = nn.Identity()
        if reduction > 1:
            self.reduce = nn.Sequential(nn.Conv2d(width, width, reduction, reduction), LayerNorm2d(width))

    @staticmethod
    def refusal(width: int, size: Size, options: Options) -> str | None:
        if options["reduction"] > min(size):
            return f"reduction {options['reduction']} is larger than the map of {size[0]}x{size[1]}"
        return Attention.refusal(width, size, options)

    @staticmethod
    def out_of_reach(stage: int, size: Size, options: Options) -> str | None:
        return keys_out_of_reach(size[0] // options["reduction"], size[1] // options["reduction"])

    @torch.no_grad()
    def take(self, other: Block) -> bool:
        """Be the same as plain attention without reduction; with one, attend to averages."""
        if not isinstance(other, MultiHeadSelfAttention) or not self._take_layers(other):
            return False
        if isinstance(self.reduce, nn.Sequential):
            conv = self.reduce[0]
            assert isinstance(conv, nn.Conv2d) and conv.bias is not None
            conv.weight.copy_(torch.eye(len(conv.weight))[:, :, None, None] / conv.weight[0, 0].numel())
            conv.bias.zero_()
        return True

    def forward(self, x: Tensor) -> Tensor:
        return as_map(self.attend(tokens(x), tokens(self.reduce(x))), x)

    def absorb_input(self, scale: Channels, shift: Channels | None) -> bool:
        if isinstance(self.reduce, nn.Identity):
            return self._absorb_input((self.query, self.key, self.value), scale, shift)
        return self._absorb_input((self.query, self.reduce), scale, shift)


@register("mixer", "mhsa", source="Vaswani et al. 2017")
class MultiHeadSelfAttention(Attention):
    """Plain multi-head self-attention over all positions."""

    def __init__(
        self,
        width: int,
        *,
        heads: Annotated[int, HEADS] = 1,
        project: Annotated[bool, OneOf(False, True)] = True,
    ) -> None:
        super().__init__(width, heads, project)

    @staticmethod
    def out_of_reach(stage: int, size: Size, options: Options) -> str | None:
        return keys_out_of_reach(*size)

    def take(self, other: Block) -> bool:
        """Be the same as efficient attention without reduction; else attend to what that reduces."""
        return isinstance(other, EfficientAttention) and self._take_layers(other)

    def forward(self, x: Tensor) -> Tensor:
        x_tokens = tokens(x)
        return as_map(self.attend(x_tokens, x_tokens), x)

    def absorb_input(self, scale: Channels, shift: Channels | None) -> bool:
        return self._absorb_input((self.query, self.key, self.value), scale, shift)


@register("mixer", "pooled_attention", source="BoostFormer publication")
class PooledAttention(Attention):
    """Attention to the map pooled to a fixed grid, by default without output projection.

    Args:
        width: channels.
        heads: in which the channels attend.
        pool: side of the grid.
        project: whether a linear layer follows.
    """

    def __init__(
        self,
        width: int,
        *,
        heads: Annotated[int, HEADS] = 1,
        pool: Annotated[int, OneOf(3, 5, 7, 9, 11)] = 7,
        project: Annotated[bool, OneOf(False, True)] = False,
    ) -> None:
        super().__init__(width, heads, project)
        self.pool = AdaptivePool(pool)
        self.norm = LayerNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        context = functional.gelu(self.norm(self.pool(x)))
        return as_map(self.attend(tokens(x), tokens(context)), x)


@register("mixer", "separable_attention", source="MobileViTv2, Mehta & Rastegari 2022")
class SeparableAttention(Block):
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

    def fold(self) -> nn.Module:
        """Drop the scores' common bias, which softmax over the positions cancels."""
        set_weights(self.query, self.query.weight, None)
        return self

    def absorb_input(self, scale: Channels, shift: Channels | None) -> bool:
        for layer in (self.query, self.key, self.value):
            absorb_input(layer, scale, shift)
        self.fold()
        return True

    def absorb_output(self, scale: Channels, shift: Channels | None) -> bool:
        return absorb_output(self.project, scale, shift)
