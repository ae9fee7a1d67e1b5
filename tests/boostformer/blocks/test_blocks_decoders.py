"""Decoder fusions: what they compute, folded and not, and the linear parts that the decoder folds."""

from __future__ import annotations

import pytest
import torch
from block_cases import MAPS, as_type, inputs, make, trained
from torch import Tensor, nn

from boostformer.architecture import BlockSpec
from evaluators.costs.counting import count

WIDTH = 6
EXACT = {"rtol": 1e-10, "atol": 1e-12}
LINEAR = [BlockSpec.of("concat"), *(BlockSpec.of("weighted_sum", normalised=answer) for answer in (False, True))]


def block_of(spec: BlockSpec) -> nn.Module:
    return trained(make("fusion", spec, WIDTH)).double()


def maps_of(height: int = 17, length: int = 12) -> list[Tensor]:
    maps = as_type(inputs("fusion", height, length, WIDTH), torch.float64)
    assert isinstance(maps, list)
    return maps


def up(x: Tensor, like: Tensor) -> Tensor:
    """Bilinear, pixels as areas, one new pixel at a time."""
    for axis in (2, 3):
        old, new = x.shape[axis], like.shape[axis]
        rows = []
        for i in range(new):
            at = max((i + 0.5) * old / new - 0.5, 0.0)
            low = int(at)
            high = min(low + 1, old - 1)
            rows.append(x.select(axis, low) * (1 - at + low) + x.select(axis, high) * (at - low))
        x = torch.stack(rows, axis)
    return x


@pytest.mark.parametrize("spec", LINEAR)
@torch.no_grad()
def test_a_linear_fusion_is_the_sum_of_its_parts(spec: BlockSpec) -> None:
    block, maps = block_of(spec), maps_of()
    if spec.name == "weighted_sum":
        block.weights.copy_(torch.tensor([2.0, -1.0, 0.5, 1.5]))
    parts = block.linear_parts()
    assert len(parts) == MAPS and all(part.dtype == torch.float64 and not part.requires_grad for part in parts)
    mixed = [
        torch.einsum("oc,bchw->bohw", part, x) if part.dim() else part * x for part, x in zip(parts, maps, strict=True)
    ]
    torch.testing.assert_close(block(maps), sum(up(x, maps[0]) for x in mixed), **EXACT)
    assert [part.shape for part in make("fusion", spec, WIDTH).to("meta").linear_parts()] == [p.shape for p in parts]


def test_concat_is_its_formula_in_both_modes_with_the_same_gradients() -> None:
    maps = [x.requires_grad_() for x in maps_of()]
    block = block_of(BlockSpec.of("concat"))
    weight = block.linear.weight
    stacked = torch.cat([up(x, maps[0]) for x in reversed(maps)], dim=1)
    expected = torch.einsum("oc,bchw->bohw", weight.flatten(1), stacked)
    loss = torch.randn_like(expected)
    gradients = torch.autograd.grad((expected * loss).sum(), [weight, *maps])
    for training in (False, True):
        found = block.train(training)(maps)
        torch.testing.assert_close(found, expected, **EXACT)
        for ours, theirs in zip(torch.autograd.grad((found * loss).sum(), [weight, *maps]), gradients, strict=True):
            torch.testing.assert_close(ours, theirs, **EXACT)


def test_concat_costs_what_is_published() -> None:
    maps = [torch.empty(1, WIDTH, 16 // 2**i, 24 // 2**i, device="meta") for i in range(MAPS)]
    assert count(make("fusion", BlockSpec.of("concat"), WIDTH), maps).macs == 16 * 24 * MAPS * WIDTH**2
