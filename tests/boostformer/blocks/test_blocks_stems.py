"""Stems against slow formulas."""

from __future__ import annotations

import pytest
import torch
from block_cases import make
from convolution_cases import EXACT, batch, block_of, norm
from torch import Tensor
from torch.nn import functional

from boostformer.architecture import BlockSpec
from evaluators.costs.counting import count


def test_no_stem_leaves_the_image_alone() -> None:
    x = batch("stem")
    assert make("stem", BlockSpec.of("none"))(x) is x


def halved(length: int) -> Tensor:
    """(ceil(length / 2), length): bilinear interpolation at the centres of the new pixels, pixels as areas."""
    new = -(-length // 2)
    matrix = torch.zeros(new, length, dtype=torch.float64)
    for i in range(new):
        at = max((i + 0.5) * length / new - 0.5, 0.0)
        low = int(at)
        matrix[i, low] += 1 - (at - low)
        matrix[i, min(low + 1, length - 1)] += at - low
    return matrix


@pytest.mark.parametrize(("shrink", "blocks"), [(1, 1), (2, 1), (2, 3)])
@pytest.mark.parametrize("training", [False, True])
@torch.no_grad()
def test_the_resizer_is_the_formula(shrink: int, blocks: int, training: bool) -> None:
    block, x = block_of("stem", BlockSpec.of("resizer", blocks=blocks, shrink=shrink)).train(training), batch("stem")
    w = {name: value.clone() for name, value in block.state_dict().items()}

    def conv(x: Tensor, name: str) -> Tensor:
        weight, bias = w[f"{name}.weight"], w.get(f"{name}.bias", torch.zeros(1).double())
        patches = functional.unfold(x, weight.shape[2:], padding=weight.shape[2] // 2)
        return (weight.flatten(1) @ patches).unflatten(2, x.shape[2:]) + bias[:, None, None]

    def leaky(x: Tensor) -> Tensor:
        return torch.where(x < 0, 0.2 * x, x)

    def own_norm(x: Tensor, name: str) -> Tensor:
        if not training:
            return norm(x, w, name)
        moments = {"running_mean": x.mean((0, 2, 3)), "running_var": x.var((0, 2, 3), correction=0)}
        return norm(x, w | {f"{name}.{key}": value for key, value in moments.items()}, name)

    def resize(x: Tensor) -> Tensor:
        return x if shrink == 1 else halved(x.shape[2]) @ x @ halved(x.shape[3]).T

    found = block(x)
    start = resize(own_norm(leaky(conv(leaky(conv(x, "enter.0")), "enter.2")), "norm"))
    y = start
    for i in range(blocks):
        inner = leaky(own_norm(conv(y, f"blocks.{i}.layers.0"), f"blocks.{i}.layers.1"))
        y = y + own_norm(conv(inner, f"blocks.{i}.layers.3"), f"blocks.{i}.layers.4")
    y = start + own_norm(conv(y, "refine.0"), "refine.1")
    torch.testing.assert_close(found, conv(y, "project") + resize(x), **EXACT)


def test_the_resizer_has_the_published_number_of_parameters() -> None:
    assert count(make("stem", BlockSpec.of("resizer")), torch.empty(1, 3, 8, 9, device="meta")).params == 12_035
