"""Token mixer that attends to points of the map which it chooses itself."""

from __future__ import annotations

from typing import Annotated

import torch
from torch import Tensor, nn
from torch.nn import functional

from boostformer.blocks.attention import HEADS, Attention, as_map, keys_out_of_reach, tokens
from boostformer.blocks.block import Channels, Options, Size
from boostformer.blocks.norms import LayerNorm2d
from boostformer.blocks.precision import at_least_single
from boostformer.blocks.registry import OneOf, register

KERNELS = {1: 3, 2: 5, 4: 7, 8: 9}
"""The kernel of the offsets' convolution for its stride, DAT's."""
RANGE = 2.0
"""Farthest that a point may move, in halves of the distance between two: DAT's factor."""
TABLE = 15
"""Displacements a bias is learned for, along each axis; all others are interpolated."""


@register("mixer", "deformable_attention", source="DAT, Xia et al. 2022")
class DeformableAttention(Attention):
    """Attention to a grid of one point in ``stride`` x ``stride`` positions, each moved to where its query looks.

    Coordinates run from -1 to 1 between the outer edges of the map; a point that leaves it sees zeros there.

    Args:
        width: channels.
        heads: in which the channels attend.
        groups: of channels and heads, each of which moves its own points.
        stride: positions for each point, along each axis.
        bias: whether each head adds a learned term for the displacement between query and point, which is relative
            to the map, so that any map size will do.
        project: whether a linear layer follows.
    """

    no_decay = ("table",)

    def __init__(
        self,
        width: int,
        *,
        heads: Annotated[int, HEADS] = 4,
        groups: Annotated[int, OneOf(1, 2, 4)] = 1,
        stride: Annotated[int, OneOf(1, 2, 4, 8)] = 2,
        bias: Annotated[bool, OneOf(False, True)] = True,
        project: Annotated[bool, OneOf(False, True)] = True,
    ) -> None:
        super().__init__(width, heads, project)
        self.groups = groups
        each, kernel = width // groups, KERNELS[stride]
        self.look = nn.Conv2d(each, each, kernel, stride, kernel // 2, groups=each)
        self.norm = LayerNorm2d(each)
        self.offset = nn.Conv2d(each, 2, 1, bias=False)
        self.table: nn.Parameter | None = None
        if bias:
            self.table = nn.Parameter(nn.init.trunc_normal_(torch.empty(heads, TABLE, TABLE), std=0.01))

    @staticmethod
    def refusal(width: int, size: Size, options: Options) -> str | None:
        if options["heads"] % options["groups"]:
            return f"groups {options['groups']} does not divide heads {options['heads']}"
        return Attention.refusal(width, size, options)

    @staticmethod
    def out_of_reach(stage: int, size: Size, options: Options) -> str | None:
        return keys_out_of_reach(-(-size[0] // options["stride"]), -(-size[1] // options["stride"]))

    def forward(self, x: Tensor) -> Tensor:
        query = self.query(tokens(x))
        points = self.points(as_map(query, x))
        context = sample(x, points)
        bias = None if self.table is None else self._bias(points, x).to(query.dtype)
        if bias is not None and torch.compiler.is_exporting():
            bias = bias.detach()  # torch 2.13's exporter fails where attention's mask needs a gradient
        key, value = self.key(context), self.value(context)
        mixed = functional.scaled_dot_product_attention(
            self.split(query), self.split(key), self.split(value), attn_mask=bias
        )
        return as_map(self.project(mixed.transpose(1, 2).flatten(2)), x)

    def points(self, query: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, M, groups, 2): row and column of each point, in single precision at least."""
        maps = query.unflatten(1, (self.groups, -1)).flatten(0, 1)  # the groups share one small network
        moved = self.offset(functional.gelu(self.norm(self.look(maps))))
        offset = at_least_single(moved).tanh().unflatten(0, (-1, self.groups))  # (B, G, 2, H', W')
        size = (int(offset.shape[3]), int(offset.shape[4]))
        rows, columns = (centres(length, offset) for length in size)
        row = rows[:, None] + offset[:, :, 0] * (RANGE / size[0])
        column = columns + offset[:, :, 1] * (RANGE / size[1])
        return torch.stack([row, column], dim=4).flatten(2, 3).transpose(1, 2)

    def _bias(self, points: Tensor, x: Tensor) -> Tensor:
        """(B, heads, H*W, M): the table, interpolated at half the way from each query to each point.

        Interpolation is a product with the weights of its rows and its columns: no gathering of each pair.
        """
        assert self.table is not None
        points = points.transpose(1, 2)  # (B, G, M, 2)
        weights = []
        for axis in (0, 1):
            way = centres(int(x.shape[2 + axis]), points)[:, None] - points[..., axis, None, None]  # (B, G, M, H, 1)
            place = (way / 2 + 1) * ((TABLE - 1) / 2)
            weights.append(_nearness(place - torch.arange(TABLE, device=x.device)))
        rows, columns = weights
        table = self.table.unflatten(0, (self.groups, -1)).permute(0, 2, 1, 3).flatten(2).to(rows.dtype)  # (G, T, hT)
        bias = rows.flatten(2, 3) @ table  # (B, G, M*H, hT)
        bias = bias.view(*rows.shape[:3], -1, TABLE) @ columns.transpose(3, 4)  # (B, G, M, H*h, W)
        batch, groups = bias.shape[:2]  # which are one axis now: runtimes on phones take five at most
        bias = bias.flatten(0, 1).unflatten(2, (int(x.shape[2]), -1)).permute(0, 3, 2, 4, 1)  # (B*G, h, H, W, M)
        return bias.reshape(batch, groups * bias.shape[1], -1, bias.shape[4])

    def absorb_input(self, scale: Channels, shift: Channels | None) -> bool:
        """Take a factor but no term: points beyond the edge see zeros, not the term."""
        return shift is None and self._absorb_input((self.query, self.key, self.value), scale, shift)


def centres(length: int, like: Tensor) -> Tensor:
    """(length,): the coordinates of ``length`` even intervals' centres, from -1 to 1."""
    return (2 * torch.arange(length, device=like.device, dtype=like.dtype) + (1 - length)) / length


def _nearness(distance: Tensor) -> Tensor:
    """Weight of a grid's line in linear interpolation: 1 on it, 0 from the next one on."""
    return (1 - distance.abs()).relu()


def sample(x: Tensor, points: Tensor) -> Tensor:
    """(B, C, H, W) at ``points`` (B, M, G, 2) -> (B, M, C): bilinear, zero outside; group g of G reads its channels.

    What ``grid_sample`` computes, of operators that every exporter knows.
    """
    batch, count, groups, _ = points.shape
    height, length = int(x.shape[2]), int(x.shape[3])
    pixels = tokens(x).reshape(-1, x.shape[1] // groups)  # rows: of each image, each position, each group
    image = torch.arange(batch, device=x.device)[:, None, None] * (height * length)
    group = torch.arange(groups, device=x.device)
    axes = []
    for axis, size in ((0, height), (1, length)):
        place = ((points[..., axis] + 1) * size - 1) / 2
        before = place.floor()
        way = place - before
        lines = []
        for line, weight in ((before, 1 - way), (before + 1, way)):
            inside = line.clamp(0, size - 1)
            index = inside.long()
            if not torch.compiler.is_exporting():  # a training that diverges has NaN, of which long() is any number
                index = index.clamp(0, size - 1)
            # Both are whole numbers: 1 where they are equal, else 0, without a comparison that must become a number.
            lines.append((index, weight * (1 - (line - inside).abs()).relu()))
        axes.append(lines)
    total: Tensor | None = None
    for row, row_weight in axes[0]:
        for column, column_weight in axes[1]:
            places = (image + row * length + column) * groups + group
            part = functional.embedding(places, pixels) * (row_weight * column_weight).to(x.dtype)[..., None]
            total = part if total is None else total + part
    assert total is not None
    return total.flatten(2)
