"""Channel, linear and single-head attention against their formulas; what all five later attentions promise."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from block_cases import make, specs, trained
from torch import Tensor, nn
from torch.nn import functional

from boostformer.architecture import BlockSpec
from boostformer.blocks import registry
from boostformer.blocks.block import Block
from boostformer.blocks.cross_covariance import unit
from boostformer.blocks.folding import absorb_input, absorb_output
from boostformer.fold import fold
from evaluators.costs.counting import Cost, count

NAMES = (
    "cross_covariance",
    "deformable_attention",
    "inverted_residual_attention",
    "lite_mla",
    "single_head_attention",
)
WIDTH = 64
SPECS = [
    pytest.param(spec, id="-".join((name, *(f"{k}{v}" for k, v in spec.options))))
    for name in NAMES
    for spec in specs(registry.get("mixer", name))
    if not registry.get("mixer", name).refusal(WIDTH, (5, 7), dict(spec.options))
    and dict(spec.options).get("heads") in (None, 1, 4)
]


def block_of(spec: BlockSpec, width: int = WIDTH) -> Any:
    return trained(make("mixer", spec, width)).double()


def picture(width: int, height: int, length: int, batch: int = 1) -> Tensor:
    x = torch.randn(batch, width, height, length, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    return x.contiguous(memory_format=torch.channels_last)


def attention(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Tokens (N, d), (M, d), (M, e) -> (N, e), a query at a time."""
    rows = [torch.softmax(key @ one / len(one) ** 0.5, dim=0) @ value for one in query]
    return torch.stack(rows)


def tokens_of(x: Tensor) -> Tensor:
    return x[0].flatten(1).T


def map_of(tokens: Tensor, like: Tensor) -> Tensor:
    return tokens.T.reshape(1, -1, *like.shape[2:])


# Formulas


@torch.no_grad()
@pytest.mark.parametrize("heads", [1, 3])
@pytest.mark.parametrize("project", [False, True])
@pytest.mark.parametrize("interaction", [False, True])
def test_cross_covariance_attends_among_channels(heads: int, project: bool, interaction: bool) -> None:
    block = block_of(BlockSpec.of("cross_covariance", heads=heads, project=project, interaction=interaction), 12)
    x = picture(12, 4, 5)
    t = tokens_of(x)
    query, key, value = (layer(t).numpy() for layer in (block.query, block.key, block.value))
    mixed, width = np.zeros_like(value), 12 // heads
    for h in range(heads):
        for i in range(h * width, (h + 1) * width):
            others = range(h * width, (h + 1) * width)
            cosines = [
                query[:, i] @ key[:, j] / np.linalg.norm(query[:, i]) / np.linalg.norm(key[:, j]) for j in others
            ]
            weights = np.exp(block.temperature[h].item() * np.array(cosines))
            for weight, j in zip(weights / weights.sum(), others, strict=True):
                mixed[:, i] += weight * value[:, j]
    expected = map_of(block.project(torch.from_numpy(mixed)), x)
    if interaction:
        norm, first, _, batch, second = block.interaction
        local = functional.layer_norm((x + expected).permute(0, 2, 3, 1), (12,), norm.weight, norm.bias)
        local = functional.gelu(functional.conv2d(local.permute(0, 3, 1, 2), first.weight, first.bias, 1, 1, 1, 12))
        scale = batch.weight / (batch.running_var + 1e-5).sqrt()
        local = (local - batch.running_mean[:, None, None]) * scale[:, None, None] + batch.bias[:, None, None]
        expected = expected + functional.conv2d(local, second.weight, second.bias, 1, 1, 1, 12)
    torch.testing.assert_close(block(x), expected, rtol=1e-9, atol=1e-11)


@torch.no_grad()
@pytest.mark.parametrize("scale", [0, 3, 5])
def test_lite_mla_weighs_every_pair_by_relu(scale: int) -> None:
    block = block_of(BlockSpec.of("lite_mla", dim=8, scale=scale), 16)
    x = picture(16, 4, 5)
    stacks = [tokens_of(x) @ block.qkv.weight[:, :, 0, 0].T]
    if scale:
        depthwise, grouped = (layer.weight for layer in block.coarser)
        near = tokens_of(functional.conv2d(map_of(stacks[0], x), depthwise, None, 1, scale // 2, 1, 48))
        stacks.append(torch.cat([near[:, g : g + 8] @ grouped[g : g + 8, :, 0, 0].T for g in range(0, 48, 8)], 1))
    outs = []
    for stack in stacks:
        query, key, value = stack.split(16, dim=1)
        for h in (slice(0, 8), slice(8, 16)):
            weights = query[:, h].relu() @ key[:, h].relu().T  # every position to every other
            outs.append(weights / (weights.sum(1, keepdim=True) + 1e-6) @ value[:, h])
    projection, norm = block.project
    expected = norm(map_of(torch.cat(outs, 1) @ projection.weight[:, :, 0, 0].T, x))
    torch.testing.assert_close(block(x), expected, rtol=1e-9, atol=1e-11)


@torch.no_grad()
@pytest.mark.parametrize("part", [2, 4])
def test_single_head_attention_lets_the_rest_pass(part: int) -> None:
    block = block_of(BlockSpec.of("single_head_attention", part=part), 16)
    x, width = picture(16, 4, 5), 16 // part
    t = tokens_of(x)
    normed = (t[:, :width] - t[:, :width].mean()) / (t[:, :width].var(correction=0) + 1e-5).sqrt()
    qkv = block.qkv(map_of(normed * block.norm.weight + block.norm.bias, x))
    query, key, value = tokens_of(qkv).split((16, 16, width), dim=1)
    mixed = torch.cat([attention(query, key, value), t[:, width:]], dim=1)
    _, projection, norm = block.project
    expected = norm(map_of(mixed.relu() @ projection.weight[:, :, 0, 0].T, x))
    torch.testing.assert_close(block(x), expected, rtol=1e-9, atol=1e-11)


def test_single_head_attention_starts_at_nothing() -> None:
    block = registry.construct("mixer", BlockSpec.of("single_head_attention"), 16)
    assert not block(picture(16, 4, 5).float()).any()


# Costs, as the reference gives them


def cost(name: str, width: int, size: tuple[int, int], **options: Any) -> Cost:
    block = registry.construct("mixer", BlockSpec.of(name, **options), width)
    return count(block, torch.zeros(1, width, *size, device="meta"))


@pytest.mark.parametrize("heads", [1, 4])
def test_the_cost_of_cross_covariance(heads: int) -> None:
    n, c = 6 * 7, 32
    found = cost("cross_covariance", c, (6, 7), heads=heads, interaction=False)
    assert found == Cost(4 * c * c + 4 * c + heads, 4 * n * c * c, 2 * n * c * c // heads)


@pytest.mark.parametrize(("dim", "scale"), [(8, 0), (16, 5), (32, 5), (8, 3)])
def test_the_cost_of_lite_mla(dim: int, scale: int) -> None:
    n, c, s = 6 * 7, 64, scale > 0
    weights = 3 * c * c + s * (3 * scale**2 * c + 3 * c * dim) + (1 + s) * c * c
    assert cost("lite_mla", c, (6, 7), dim=dim, scale=scale) == Cost(
        weights + 2 * c, n * weights, (1 + s) * n * c * (2 * dim + 1)
    )


def test_the_cost_of_single_head_attention() -> None:
    n, c, p, d = 6 * 7, 64, 16, 32
    weights = p * (2 * d + p) + c * c
    assert cost("single_head_attention", c, (6, 7), part=4, dim=d) == Cost(
        weights + 2 * p + 2 * (2 * d + p) + 2 * c, n * weights, n * n * (d + p)
    )


# Promises


@torch.no_grad()
@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize("folded", [False, True])
def test_folding_and_absorbing_change_nothing(spec: BlockSpec, folded: bool) -> None:
    block = block_of(spec)
    x = picture(WIDTH, 5, 7, batch=2)
    start = fold(block) if folded else block
    torch.testing.assert_close(start(x), block(x), rtol=1e-10, atol=1e-10)
    scale, term = 1 + 0.3 * torch.randn(2, WIDTH, 1, 1, dtype=torch.float64)
    for shift in (None, term):
        added = 0 if shift is None else shift
        for absorb, expected in (
            (absorb_input, block(scale * x + added)),
            (absorb_output, scale * block(x) + added),
        ):
            other = copy.deepcopy(start)
            done = absorb(other, scale.flatten(), None if shift is None else shift.flatten())
            torch.testing.assert_close(other(x), expected if done else start(x), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(
    ("name", "options", "term_in", "factor_in", "out"),
    [
        ("cross_covariance", {}, False, False, False),
        ("cross_covariance", {"interaction": False}, True, True, True),
        ("cross_covariance", {"interaction": False, "project": False}, True, True, False),
        ("deformable_attention", {}, False, True, True),
        ("deformable_attention", {"project": False}, False, True, True),
        ("inverted_residual_attention", {}, True, True, True),
        ("lite_mla", {}, True, True, True),
        ("single_head_attention", {}, False, False, True),
    ],
)
def test_what_a_block_can_absorb(name: str, options: dict, term_in: bool, factor_in: bool, out: bool) -> None:
    scale = torch.ones(16, dtype=torch.float64, device="meta")  # by structure alone: there are no numbers
    found = [
        absorb(fold(block_of(BlockSpec.of(name, **options), 16).to("meta")), scale, shift)
        for absorb, shift in ((absorb_input, scale), (absorb_input, None), (absorb_output, scale))
    ]
    assert found == [term_in, factor_in, out]


@pytest.mark.parametrize("name", NAMES)
def test_folding_leaves_no_batch_norm_behind_a_convolution(name: str) -> None:
    left = [m for m in fold(block_of(BlockSpec.of(name), 16)).modules() if isinstance(m, nn.BatchNorm2d)]
    assert len(left) == (name == "cross_covariance")  # between an activation and a convolution that pads


@torch.no_grad()
@pytest.mark.parametrize("name", NAMES)
def test_half_precision_does_not_overflow(name: str) -> None:
    block = make("mixer", BlockSpec.of(name), 16).eval()
    x = 100 * picture(16, 12, 12).float()
    for dtype in (torch.bfloat16, torch.float16):
        with torch.autocast("cpu", dtype):
            assert block(x).isfinite().all()
        assert copy.deepcopy(block).to(dtype)(x.to(dtype)).isfinite().all()


def test_the_length_of_a_channel_is_taken_in_single_precision() -> None:
    x = 100 * torch.randn(1, 200, 4)
    torch.testing.assert_close(unit(x.half()).float().norm(dim=1), torch.ones(1, 4), rtol=1e-2, atol=0)
    assert not unit(torch.zeros(1, 200, 4)).any()


@torch.no_grad()
@pytest.mark.parametrize("name", NAMES)
def test_it_can_be_traced_whole(name: str) -> None:
    block = make("mixer", BlockSpec.of(name), 32).eval()
    x = picture(32, 9, 10).float()
    program = torch.export.export(block, (x,))
    torch.testing.assert_close(program.module()(x), block(x), rtol=1e-5, atol=1e-5)
    called = {str(node.target) for node in program.graph.nodes}
    assert not [target for target in called if "grid" in target or "autocast" in target]


@pytest.mark.parametrize(
    ("name", "width", "options", "reason"),
    [
        ("cross_covariance", 16, {"heads": 3}, "heads 3 does not divide width 16"),
        ("deformable_attention", 16, {"heads": 3}, "heads 3 does not divide width 16"),
        ("deformable_attention", 20, {"heads": 5, "groups": 4}, "groups 4 does not divide heads 5"),
        ("inverted_residual_attention", 16, {"heads": 3}, "heads 3 does not divide width 16"),
        ("lite_mla", 48, {"dim": 32}, "heads of width 32 do not divide width 48"),
        ("single_head_attention", 20, {"part": 8}, "width 20 has no 8 equal parts"),
    ],
)
def test_what_cannot_be_built_is_refused(name: str, width: int, options: dict, reason: str) -> None:
    declaration = registry.get("mixer", name)
    every = declaration.defaults | options
    assert declaration.refusal(width, (8, 8), every) == reason


@pytest.mark.parametrize("name", NAMES)
def test_what_takes_no_weight_decay_is_there(name: str) -> None:
    for module in make("mixer", BlockSpec.of(name), 16).modules():
        if isinstance(module, Block):
            assert set(module.no_decay) <= {name for name, _ in module.named_parameters()}


@pytest.mark.parametrize(
    ("name", "stage", "size", "options", "tried"),
    [
        ("single_head_attention", 1, (16, 16), {}, False),
        ("single_head_attention", 2, (32, 32), {}, True),
        ("single_head_attention", 2, (64, 128), {}, False),
        ("deformable_attention", 0, (128, 128), {"stride": 8}, True),
        ("deformable_attention", 0, (128, 128), {"stride": 2}, False),
        ("lite_mla", 0, (256, 256), {}, True),
        ("cross_covariance", 0, (256, 256), {}, True),
    ],
)
def test_what_a_search_tries(name: str, stage: int, size: tuple[int, int], options: dict, tried: bool) -> None:
    declaration = registry.get("mixer", name)
    every = declaration.defaults | options
    assert (declaration.out_of_reach(stage, size, every) is None) == tried
