"""Conformance of every registered block: shapes, gradients, determinism, precision, memory layout, counts."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from block_cases import CASES, STRIDE, as_type, inputs, make, width_of
from torch import Tensor

from boostformer.architecture import BlockSpec
from boostformer.blocks.norms import LayerScale

SIZES = [(8, 8), (9, 13), (17, 8)]


@pytest.mark.parametrize(("kind", "spec"), CASES)
def test_shapes_gradients_and_determinism(kind: str, spec: BlockSpec) -> None:
    block = make(kind, spec)
    for height, length in SIZES:
        x = inputs(kind, height, length, width_of(kind, spec))
        maps = x if isinstance(x, list) else [x]
        for item in maps:
            item.requires_grad_()
        out = block(x)
        stride = STRIDE if kind == "embed" else dict(spec.options).get("shrink", 1)
        assert out.shape == (
            2,
            3 if kind == "stem" else width_of(kind, spec),
            -(-height // stride),
            -(-length // stride),
        )
    out.square().mean().backward()
    for item in maps:
        assert item.grad is not None and item.grad.abs().max() > 0
    for name, parameter in block.named_parameters():
        assert parameter.grad is not None, name
        # A key's bias shifts all scores of a query alike: softmax leaves it without influence.
        if name != "key.bias" or spec.name == "separable_attention":
            assert parameter.grad.abs().max() > 0, name
    block.eval()
    with torch.no_grad():
        x = inputs(kind, 9, 13, width_of(kind, spec))
        assert torch.equal(block(x), block(x))


@pytest.mark.parametrize(("kind", "spec"), CASES)
def test_precision(kind: str, spec: BlockSpec) -> None:
    block = make(kind, spec).eval()
    x = inputs(kind, 9, 13, width_of(kind, spec))
    with torch.no_grad():
        single = block(x)
        with torch.autocast("cpu", torch.bfloat16):
            assert block(x).isfinite().all()
        double = block.double()(as_type(x, torch.float64))
    torch.testing.assert_close(single.double(), double, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("kind", "spec"), CASES)
def test_the_memory_layout_of_the_input_makes_no_difference(kind: str, spec: BlockSpec) -> None:
    block = make(kind, spec).double().eval()
    x = as_type(inputs(kind, 9, 13, width_of(kind, spec)), torch.float64)
    last: Tensor | list[Tensor]
    if isinstance(x, list):
        last = [item.contiguous(memory_format=torch.channels_last) for item in x]
    else:
        last = x.contiguous(memory_format=torch.channels_last)
    with torch.no_grad():
        torch.testing.assert_close(block(x), block(last), rtol=1e-10, atol=1e-10)


# Independent oracles: the reference's formulas, written slowly.


def _attention(query: np.ndarray, key: np.ndarray, value: np.ndarray, heads: int) -> np.ndarray:
    out = np.zeros_like(query)
    width = query.shape[1] // heads
    for h in range(heads):
        part = slice(h * width, (h + 1) * width)
        for n in range(len(query)):
            scores = key[:, part] @ query[n, part] / np.sqrt(width)
            weights = np.exp(scores - scores.max())
            out[n, part] = (weights / weights.sum()) @ value[:, part]
    return out


def _numpy(module: torch.nn.Module) -> dict[str, np.ndarray]:
    return {name: value.double().numpy() for name, value in module.state_dict().items()}


def _layer_norm(x: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5) * weight + bias


def _gelu(x: np.ndarray) -> np.ndarray:
    return x * torch.special.ndtr(torch.from_numpy(x)).numpy()


def _run(kind: str, spec: BlockSpec, height: int, length: int, width: int) -> tuple[dict, np.ndarray, np.ndarray]:
    """Weights, the input's tokens (N, C), the output's tokens (N, C)."""
    block = make(kind, spec, width).double().eval()
    x = as_type(inputs(kind, height, length, width, batch=1), torch.float64)
    assert isinstance(x, Tensor)
    with torch.no_grad():
        y = block(x)
    return _numpy(block), x[0].flatten(1).T.numpy(), y[0].flatten(1).T.numpy()


def _linear(w: dict, name: str, x: np.ndarray) -> np.ndarray:
    return x @ w[f"{name}.weight"].reshape(len(w[f"{name}.weight"]), -1).T + w[f"{name}.bias"]


def test_mhsa_is_the_formula() -> None:
    w, x, y = _run("mixer", BlockSpec.of("mhsa", heads=3), 4, 5, 12)
    mixed = _attention(_linear(w, "query", x), _linear(w, "key", x), _linear(w, "value", x), 3)
    np.testing.assert_allclose(y, _linear(w, "project", mixed), rtol=1e-9, atol=1e-12)


def test_efficient_attention_reduces_keys_and_values() -> None:
    w, x, y = _run("mixer", BlockSpec.of("efficient_attention", heads=2, reduction=2), 4, 6, 8)
    grid = x.reshape(4, 6, 8)
    kernel = w["reduce.0.weight"]  # (out, in, 2, 2)
    context = np.array(
        [
            np.einsum("hwc,ochw->o", grid[2 * i : 2 * i + 2, 2 * j : 2 * j + 2], kernel) + w["reduce.0.bias"]
            for i in range(2)
            for j in range(3)
        ]
    )
    context = _layer_norm(context, w["reduce.1.weight"], w["reduce.1.bias"])
    mixed = _attention(_linear(w, "query", x), _linear(w, "key", context), _linear(w, "value", context), 2)
    np.testing.assert_allclose(y, _linear(w, "project", mixed), rtol=1e-9, atol=1e-12)


def test_pooled_attention_looks_at_a_pooled_grid() -> None:
    w, x, y = _run("mixer", BlockSpec.of("pooled_attention", heads=2, pool=3), 7, 8, 8)
    grid = x.reshape(7, 8, 8)

    def window(i: int, size: int) -> slice:
        return slice(i * size // 3, -(-(i + 1) * size // 3))

    pooled = np.array([grid[window(i, 7), window(j, 8)].mean((0, 1)) for i in range(3) for j in range(3)])
    context = _gelu(_layer_norm(pooled, w["norm.weight"], w["norm.bias"]))
    mixed = _attention(_linear(w, "query", x), _linear(w, "key", context), _linear(w, "value", context), 2)
    np.testing.assert_allclose(y, mixed, rtol=1e-9, atol=1e-12)


def test_separable_attention_weighs_positions_not_channels() -> None:
    w, x, y = _run("mixer", BlockSpec.of("separable_attention"), 4, 5, 6)
    scores = _linear(w, "query", x)[:, 0]
    weights = np.exp(scores - scores.max())
    context = (weights / weights.sum()) @ _linear(w, "key", x)
    np.testing.assert_allclose(
        y, _linear(w, "project", np.maximum(_linear(w, "value", x), 0) * context), rtol=1e-9, atol=1e-12
    )


def _neighbours(grid: np.ndarray, i: int, j: int, reach: int) -> np.ndarray:
    height, length, width = grid.shape
    inside = [
        grid[a, b]
        for a in range(i - reach, i + reach + 1)
        for b in range(j - reach, j + reach + 1)
        if 0 <= a < height and 0 <= b < length
    ]
    return np.array(inside)


def test_pooling_averages_only_what_is_inside() -> None:
    _, x, y = _run("mixer", BlockSpec.of("pooling"), 4, 5, 6)
    grid = x.reshape(4, 5, 6)
    expected = [_neighbours(grid, i, j, 1).mean(0) - grid[i, j] for i in range(4) for j in range(5)]
    np.testing.assert_allclose(y, expected, rtol=1e-9, atol=1e-12)


def _depthwise(x: np.ndarray, weight: np.ndarray, bias: np.ndarray, height: int) -> np.ndarray:
    """Tokens (N, C) convolved channel by channel with (C, 1, k, k), zero padded."""
    grid = x.reshape(height, -1, x.shape[1])
    reach = weight.shape[-1] // 2
    padded = np.pad(grid, ((reach, reach), (reach, reach), (0, 0)))
    out = np.zeros_like(grid)
    for i in range(grid.shape[0]):
        for j in range(grid.shape[1]):
            patch = padded[i : i + 2 * reach + 1, j : j + 2 * reach + 1]
            out[i, j] = np.einsum("abc,cab->c", patch, weight[:, 0]) + bias
    return out.reshape(x.shape)


def test_mix_ffn_is_the_formula() -> None:
    w, x, y = _run("ffn", BlockSpec.of("mix_ffn", ratio=2), 4, 5, 6)
    hidden = _depthwise(_linear(w, "expand", x), w["depthwise.weight"], w["depthwise.bias"], 4)
    np.testing.assert_allclose(y, _linear(w, "project", _gelu(hidden)), rtol=1e-9, atol=1e-12)


def test_mix_cfn_convolves_one_half_wider_than_the_other() -> None:
    w, x, y = _run("ffn", BlockSpec.of("mix_cfn", ratio=2), 4, 5, 6)

    def batch_norm(name: str, x: np.ndarray) -> np.ndarray:
        shifted = (x - w[f"{name}.running_mean"]) / np.sqrt(w[f"{name}.running_var"] + 1e-5)
        return shifted * w[f"{name}.weight"] + w[f"{name}.bias"]

    hidden = batch_norm("norm1", _linear(w, "expand", x))
    near = _depthwise(hidden[:, :6], w["depthwise3.weight"], w["depthwise3.bias"], 4)
    far = _depthwise(hidden[:, 6:], w["depthwise5.weight"], w["depthwise5.bias"], 4)
    mixed = batch_norm("norm2", np.concatenate([near, far], axis=1))
    np.testing.assert_allclose(y, _linear(w, "project", _gelu(mixed)), rtol=1e-9, atol=1e-12)


def test_conv_mlp_is_the_formula() -> None:
    w, x, y = _run("ffn", BlockSpec.of("conv_mlp", ratio=3), 4, 5, 6)
    np.testing.assert_allclose(y, _linear(w, "project", _gelu(_linear(w, "expand", x))), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("normalised", [False, True])
def test_the_weighted_sum_weighs(normalised: bool) -> None:
    block = make("fusion", BlockSpec.of("weighted_sum", normalised=normalised), 3)
    with torch.no_grad():
        block.weights.copy_(torch.tensor([2.0, -1.0, 0.5, 1.5]))
        flat = [torch.full((1, 3, 8 // 2**i, 8 // 2**i), float(10**i)) for i in range(4)]
        found = block(flat)
    expected = (2 * 1 + 0.5 * 100 + 1.5 * 1000) / 4.0001 if normalised else 2 - 10 + 50 + 1500
    torch.testing.assert_close(found, torch.full_like(found, expected))


def test_layer_scale_starts_at_a_hundred_thousandth() -> None:
    x = torch.randn(1, 4, 2, 2)
    torch.testing.assert_close(LayerScale(4)(x), 1e-5 * x)
