"""Attention that chooses its positions, by windows or by offsets, against its formula."""

from __future__ import annotations

import pytest
import torch
from test_blocks_attention import attention, block_of, cost, map_of, picture, tokens_of
from torch import Tensor
from torch.nn import functional

from boostformer.architecture import BlockSpec
from boostformer.blocks.deformable import TABLE, sample
from evaluators.costs.counting import Cost

# Inverted residual attention


@torch.no_grad()
@pytest.mark.parametrize(("size", "window"), [((9, 13), 4), ((8, 8), 4), ((9, 5), 7), ((3, 2), 7), ((15, 8), 7)])
@pytest.mark.parametrize("heads", [1, 2])
def test_a_window_holds_every_nth_position(size: tuple[int, int], window: int, heads: int) -> None:
    """EMO's windows: of n x n, each holds the positions of one remainder by n; what is padded is never seen."""
    block = block_of(BlockSpec.of("inverted_residual_attention", heads=heads, ratio=3, window=window, kernel=3), 8)
    x = picture(8, *size)
    query, key, value = (tokens_of(x) @ block.qkv.weight.T + block.qkv.bias).split((8, 8, 24), dim=1)
    value = functional.gelu(value)
    rows, columns = (-(-length // window) for length in size)
    of = [(n // size[1] % rows, n % size[1] % columns) for n in range(size[0] * size[1])]
    mixed = torch.zeros_like(value)
    for place in set(of):
        inside = torch.tensor([n for n, other in enumerate(of) if other == place])
        for h in range(heads):
            narrow, wide = (slice(h * w // heads, (h + 1) * w // heads) for w in (8, 24))
            mixed[inside, wide] = attention(query[inside, narrow], key[inside, narrow], value[inside, wide])
    mixed = map_of(mixed, x)
    depthwise, norm, _ = block.local
    local = norm(functional.conv2d(mixed, depthwise.weight, None, 1, 1, 1, 24))
    expected = functional.conv2d(mixed + local * local.sigmoid(), block.project.weight, block.project.bias)
    torch.testing.assert_close(block(x), expected, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize(("ratio", "kernel"), [(1, 3), (4, 5)])
def test_the_cost_of_inverted_residual_attention(ratio: int, kernel: int) -> None:
    n, c, e = 14 * 21, 32, ratio
    weights = (2 + 2 * e) * c * c + kernel**2 * e * c
    assert cost("inverted_residual_attention", c, (14, 21), heads=4, ratio=e, kernel=kernel) == Cost(
        weights + (2 + e) * c + 2 * e * c + c, n * weights, n * 49 * (c + e * c)
    )


# Deformable attention


@pytest.mark.parametrize("groups", [1, 2])
def test_sampling_is_grid_sample(groups: int) -> None:
    x = picture(8, 5, 7, batch=2).requires_grad_()
    points = (1.3 * torch.randn(2, 40, groups, 2, dtype=torch.float64)).requires_grad_()  # many beyond the edge
    maps = x.unflatten(1, (groups, -1)).flatten(0, 1)
    grid = points.transpose(1, 2).flatten(0, 1)[:, None].flip(-1)
    expected = functional.grid_sample(maps, grid, padding_mode="zeros", align_corners=False)
    expected = expected.view(2, 8, 40).transpose(1, 2)
    found = sample(x, points)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)
    weights = torch.randn_like(found)
    for one, other in zip(
        torch.autograd.grad((found * weights).sum(), (x, points)),
        torch.autograd.grad((expected * weights).sum(), (x, points)),
        strict=True,
    ):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-11)


def test_without_offsets_every_position_is_sampled_as_it_is() -> None:
    block = block_of(BlockSpec.of("deformable_attention", stride=1, heads=1), 8)
    torch.nn.init.zeros_(block.offset.weight)
    x = picture(8, 5, 7)
    torch.testing.assert_close(sample(x, block.points(x)), x.flatten(2).transpose(1, 2))


def slowly(block: torch.nn.Module, x: Tensor, heads: int, groups: int, stride: int) -> tuple[Tensor, Tensor]:
    """The paper's formula for one image, by grid_sample and one head at a time; and the points."""
    (height, length), width = x.shape[2:], x.shape[1]
    query = tokens_of(x) @ block.query.weight.T + block.query.bias
    rows, columns = -(-height // stride), -(-length // stride)
    contexts, points = [], []
    for part, source in zip(map_of(query, x).chunk(groups, 1), x.chunk(groups, 1), strict=True):
        each, kernel = width // groups, block.look.weight.shape[-1]
        look = functional.conv2d(part, block.look.weight, block.look.bias, stride, kernel // 2, 1, each)
        look = functional.layer_norm(look.permute(0, 2, 3, 1), (each,), block.norm.weight, block.norm.bias)
        offset = torch.tanh(functional.gelu(look) @ block.offset.weight[:, :, 0, 0].T)[0]
        grid = torch.zeros(rows, columns, 2, dtype=x.dtype)
        for i in range(rows):
            for j in range(columns):
                grid[i, j, 1] = -1 + (2 * i + 1) / rows + 2 / rows * offset[i, j, 0]
                grid[i, j, 0] = -1 + (2 * j + 1) / columns + 2 / columns * offset[i, j, 1]
        sampled = functional.grid_sample(source, grid[None], padding_mode="zeros", align_corners=False)
        contexts.append(sampled[0].flatten(1).T)
        points.append(grid.view(-1, 2))
    context = torch.cat(contexts, dim=1)
    key, value = (context @ layer.weight.T + layer.bias for layer in (block.key, block.value))
    where = torch.tensor(
        [(-1 + (2 * j + 1) / length, -1 + (2 * i + 1) / height) for i in range(height) for j in range(length)],
        dtype=x.dtype,
    )
    outs = []
    for h in range(heads):
        one, mine = slice(h * width // heads, (h + 1) * width // heads), points[h * groups // heads]
        scores = query[:, one] @ key[:, one].T / (width // heads) ** 0.5
        if block.table is not None:
            way = (where[:, None] - mine) / 2
            scores = scores + functional.grid_sample(block.table[None, h : h + 1], way[None], align_corners=True)[0, 0]
        outs.append(scores.softmax(1) @ value[:, one])
    return map_of(block.project(torch.cat(outs, 1)), x), torch.cat(points)


@torch.no_grad()
@pytest.mark.parametrize(("heads", "groups", "stride"), [(1, 1, 1), (4, 1, 2), (4, 2, 2), (4, 4, 4), (2, 2, 8)])
@pytest.mark.parametrize("options", [{}, {"bias": False}, {"project": False}])
def test_deformable_attention_is_the_formula(heads: int, groups: int, stride: int, options: dict) -> None:
    spec = BlockSpec.of("deformable_attention", heads=heads, groups=groups, stride=stride, **options)
    block = block_of(spec, 16)
    block.offset.weight.mul_(5)
    x = picture(16, 9, 7)
    expected, points = slowly(block, x, heads, groups, stride)
    assert points.abs().max() > 1  # some leave the map
    torch.testing.assert_close(block(x), expected, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize(("groups", "stride", "kernel"), [(1, 1, 3), (2, 2, 5), (4, 4, 7), (1, 8, 9)])
def test_the_cost_of_deformable_attention(bias: bool, groups: int, stride: int, kernel: int) -> None:
    """The bias is interpolated by matrix products: these count too."""
    (height, length), c, heads = (9, 13), 32, 4
    n, m = height * length, -(-height // stride) * -(-length // stride)
    each = c // groups
    params = 4 * c * c + 4 * c + (kernel**2 + 1) * each + 2 * each + 2 * each + bias * heads * TABLE**2
    offsets = m * kernel**2 * c + m * 2 * c
    interpolation = bias * m * heads * height * TABLE * (TABLE + length)
    assert cost(
        "deformable_attention", c, (height, length), heads=heads, groups=groups, stride=stride, bias=bias
    ) == Cost(params, 2 * n * c * c + 2 * m * c * c + offsets, 2 * n * m * c + interpolation)


@torch.no_grad()
def test_the_points_are_exact_in_half_precision() -> None:
    block = block_of(BlockSpec.of("deformable_attention", stride=1), 16).to(torch.bfloat16)
    torch.nn.init.zeros_(block.offset.weight)
    points = block.points(picture(16, 40, 40).to(torch.bfloat16))
    assert points.dtype == torch.float32
    assert len(points[0, :, 0, 0].unique()) == 40


def test_positions_that_are_no_numbers_give_no_numbers() -> None:
    """As in a training that diverges, which its loss tells; on a GPU a wrong index would end the process."""
    points = torch.full((1, 4, 1, 2), torch.nan)
    points[:, 1:] = 0.0
    seen = sample(torch.ones(1, 8, 6, 7), points)
    assert seen[0, 0].isnan().all() and seen[0, 1:].isfinite().all()
