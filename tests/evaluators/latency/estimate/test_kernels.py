"""Fused kernels: small modules by hand, every block, and a network whose launches are well known."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from inspect import isdatadescriptor
from typing import Any

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.reference_networks import NETWORKS
from boostformer.architecture import BlockSpec
from boostformer.blocks import registry
from boostformer.fold import fold
from boostformer.parts import Part
from evaluators.block_costs import SIZE, reference_part
from evaluators.costs.counting import COUNTED, FREE, count, shapes_only
from evaluators.latency.estimate import kernels as rules
from evaluators.latency.estimate.kernels import Kernel, kernels

MAP = (1, 8, 6, 10)
NUMBERS = 8 * 6 * 10


class Calling(nn.Module):
    """A module with a convolution, a linear layer and a weight, that calls a function with itself and its input."""

    def __init__(self, function: Callable[[Any, Tensor], Any]) -> None:
        super().__init__()
        self.conv = nn.Conv2d(8, 8, 3, padding=1, bias=False)
        self.other = nn.Conv2d(8, 8, 3, padding=1, bias=False)
        self.twofold = nn.Conv2d(8, 16, 1, bias=False)
        self.linear = nn.Linear(10, 10, bias=False)
        self.weight = nn.Parameter(torch.zeros(10, 10))
        self.function = function

    def forward(self, x: Tensor) -> Any:
        return self.function(self, x)


def launched(module: nn.Module, *shapes: tuple[int, ...]) -> tuple[Kernel, ...]:
    return kernels(module.to("meta"), [torch.empty(shape, device="meta") for shape in shapes])


def kinds(function: Callable[[Any, Tensor], Any]) -> list[str]:
    return [kernel.kind for kernel in launched(Calling(function), MAP)]


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8))

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(x + self.body(x))


def test_a_residual_convolution_is_one_kernel() -> None:
    (kernel,) = launched(fold(Residual()), MAP)
    read = NUMBERS + 8 * 8 * 9 + 8 + NUMBERS  # the map, weights, biases, and the map again for the sum
    assert kernel == Kernel("conv", read + NUMBERS, groups=1, rows=60, columns=8, depth=72)
    assert kernel.macs == 60 * 8 * 72
    assert len(launched(Residual().eval(), MAP)) == 1  # what is not folded is computed on the way, too


@pytest.mark.parametrize(
    ("conv", "expected"),
    [
        (nn.Conv2d(8, 16, 3, 2, 1, bias=False), Kernel("conv", 480 + 1152 + 240, 1, 15, 16, 72)),
        (nn.Conv2d(8, 16, 1, bias=False), Kernel("pointwise", 480 + 128 + 960, 1, 60, 16, 8)),
        (nn.Conv2d(8, 8, 3, 1, 1, groups=8, bias=False), Kernel("depthwise", 480 + 72 + 480, 8, 60, 1, 9)),
        (nn.Conv2d(8, 16, 1, groups=2, bias=False), Kernel("grouped", 480 + 64 + 960, 2, 60, 8, 4)),
        (nn.Linear(10, 4, bias=False), Kernel("pointwise", 480 + 40 + 192, 1, 48, 4, 10)),
        (nn.LayerNorm(10), Kernel("memory", 480 + 20 + 480)),
        (nn.MaxPool2d(2), Kernel("memory", 480 + 120)),
    ],
    ids=["conv", "pointwise", "depthwise", "grouped", "linear", "norm", "pool"],
)
def test_layers_have_one_kernel_each(conv: nn.Module, expected: Kernel) -> None:
    assert launched(conv, MAP) == (expected,)


def test_only_whole_tiles_are_computed() -> None:
    kernel = Kernel("pointwise", 0, groups=2, rows=65, columns=3, depth=7)
    assert (kernel.padded_macs(1), kernel.padded_macs(64)) == (kernel.macs, 2 * 128 * 64 * 7)
    assert replace(kernel, kind="depthwise").padded_macs(64) == kernel.macs
    assert Kernel("memory", 5).padded_macs(64) == 0


def test_attention_is_two_products_and_a_softmax() -> None:
    def by_hand(module: Any, x: Tensor) -> Tensor:
        return (x @ x.transpose(2, 3) / 3).softmax(dim=-1) @ x

    def joined(module: Any, x: Tensor) -> Tensor:
        return functional.scaled_dot_product_attention(x, x, x)

    # Of 8 stacks: scores (6, 6) from two maps, their softmax, and the map that they weigh.
    expected = (
        Kernel("matmul", 2 * NUMBERS + 288, 8, 6, 6, 10),
        Kernel("memory", 2 * 288),
        Kernel("matmul", 288 + 2 * NUMBERS, 8, 6, 10, 6),
    )
    assert launched(Calling(by_hand), MAP) == launched(Calling(joined), MAP) == expected


SMALL: dict[str, tuple[Callable[[Any, Tensor], Any], list[str]]] = {
    "nothing": (lambda m, x: x, []),
    "another view": (lambda m, x: x.flatten(2).transpose(1, 2).unflatten(1, (6, 10)).chunk(2), []),
    "a reshape that copies": (lambda m, x: x.transpose(1, 2).reshape(6, 80), ["memory"]),
    "contiguous": (lambda m, x: x.permute(0, 2, 3, 1).contiguous(), ["memory"]),
    "what is contiguous": (lambda m, x: x.contiguous().clone().float(), []),
    "a pass over the input": (lambda m, x: (2 * x + 1).sigmoid() * 3, ["memory"]),
    "straight lines": (lambda m, x: functional.relu6(functional.relu(m.conv(x) * 2, inplace=True)), ["conv"]),
    "curves": (lambda m, x: functional.silu(functional.hardswish(m.conv(x))) + x, ["conv", "memory"]),
    "a curve by hand": (lambda m, x: [y * y.sigmoid() for y in [m.conv(x)]], ["conv", "memory"]),
    "a sum of maps": (lambda m, x: m.conv(x) + m.other(x), ["conv", "conv"]),
    "in place": (lambda m, x: m.conv(x).add_(x).relu_(), ["conv"]),
    "a product of maps": (lambda m, x: m.conv(x) * m.other(x), ["conv", "conv", "memory"]),
    "a gate": (lambda m, x: x * m.conv(x).mean((2, 3), keepdim=True), ["conv", "memory", "memory"]),
    "what was read": (lambda m, x: [m.other(y) + y.relu() for y in [m.conv(x)]], ["conv", "conv", "memory"]),
    "half of a map": (lambda m, x: m.twofold(x).chunk(2, dim=1)[1].relu(), ["pointwise", "memory"]),
    "joined where they are written": (lambda m, x: torch.cat([m.conv(x), m.other(x)]), ["conv", "conv"]),
    "joined with the input": (lambda m, x: torch.cat([m.conv(x), x]), ["conv", "memory"]),
    "a resize": (lambda m, x: functional.interpolate(m.conv(x), size=(9, 9), mode="bilinear"), ["conv", "memory"]),
    "moved": (lambda m, x: (functional.pad(x, (1, 1)), x.roll(1, 2), x[:, torch.arange(3)]), ["memory"] * 3),
    "written into": (lambda m, x: torch.empty_like(x).copy_(x).relu(), ["memory"]),
    "assigned": (lambda m, x: torch.zeros_like(x).__setitem__(slice(1), x), ["memory"]),
    "of weights alone": (lambda m, x: m.linear((m.weight * 2).softmax(0) @ m.weight), []),
    "a product with weights": (lambda m, x: m.weight[:6, :6] @ x.relu() @ m.weight, ["memory"] + ["pointwise"] * 2),
    "a product and a sum": (lambda m, x: torch.addmm(m.weight[0], x[0, 0], m.weight), ["pointwise"]),
    "a sum of products": (lambda m, x: torch.baddbmm(x[:, 0], x[:, 0], x[:, 0, :1].mT @ x[:, 0, :1]), ["matmul"] * 2),
    "a product with a vector": (lambda m, x: x[0, 0] @ x[0, 0, 0], ["matmul"]),
    "only looked at": (lambda m, x: (x.shape, x.dim(), x.new_zeros(3), torch.ones_like(x)), []),
}


@pytest.mark.parametrize("name", SMALL)
def test_what_joins_what(name: str) -> None:
    function, expected = SMALL[name]
    assert kinds(function) == expected


def test_what_a_kernel_reads_and_writes() -> None:
    assert launched(Calling(lambda m, x: x + x.relu()), MAP) == (Kernel("memory", 3 * NUMBERS),)
    assert launched(Calling(lambda m, x: x * x), MAP) == (Kernel("memory", 2 * NUMBERS),)
    assert launched(Calling(lambda m, x: x.transpose(2, 3).contiguous()), MAP) == (Kernel("memory", 2 * NUMBERS),)
    assert launched(Calling(lambda m, x: x.sum(1)), MAP) == (Kernel("memory", NUMBERS + 60),)
    _, product = launched(Calling(lambda m, x: [y * x.mean() for y in [m.conv(x)]]), MAP)[1:]
    assert product == Kernel("memory", NUMBERS + 1 + NUMBERS)


def test_every_function_that_can_be_counted_is_on_one_list_here() -> None:
    lists = (rules.LAYOUT, rules.JOINING, rules.WRITING, rules.SAME, rules.CONSTANT, rules.MEMORY, rules.ELEMENTWISE)
    often = Counter(function for functions in lists for function in functions)
    assert {function for function in FREE if not _reads_attribute(function)} <= often.keys()
    assert max(often.values()) == 1
    assert rules.PRODUCTS.keys() == COUNTED.keys()
    assert not rules.PRODUCTS.keys() & often.keys()


def _reads_attribute(function: Any) -> bool:
    return isdatadescriptor(getattr(function, "__self__", None))


def test_unknown_functions_are_errors_that_name_them(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match=r"Calling: operators \['torch.fft.fft'\] have no count"):
        kinds(lambda m, x: torch.fft.fft(x))
    monkeypatch.setattr(rules, "MEMORY", frozenset())
    with pytest.raises(ValueError, match=r"Calling: operators \['torch.Tensor.softmax'\] have no kernel; add each"):
        kinds(lambda m, x: x.softmax(1))


@pytest.mark.parametrize("item", registry.declarations(), ids=lambda item: f"{item.kind}-{item.name}")
@pytest.mark.parametrize("deployed", [False, True], ids=["trained", "deployed"])
@settings(max_examples=8)
@given(data=st.data())
def test_kernels_multiply_as_often_as_is_counted(
    item: registry.Declaration, deployed: bool, data: st.DataObject
) -> None:
    part = replace(reference_part(item), deployed=deployed)
    options = {name: data.draw(st.sampled_from(option.allowed), name) for name, option in item.options.items()}
    assume(item.refusal(part.shape[0] if part.shape else 3, SIZE, options) is None)
    module, inputs = _built(replace(part, spec=BlockSpec.of(item.name, **options)))
    assert sum(kernel.macs for kernel in kernels(module, inputs)) == count(module, *inputs).macs


def _built(part: Part) -> tuple[nn.Module, list[Any]]:
    with shapes_only():
        module = part.build()
        maps = [torch.empty(1, *shape) for shape in part.inputs]
    return module, [maps] if part.kind == "fusion" else maps


def test_resnet_50_launches_a_kernel_for_each_convolution() -> None:
    network = NETWORKS["ResNet-50"]
    with shapes_only():
        module, image = network.build().eval(), torch.empty(1, 3, *network.size)
    found = kernels(module, [image])
    # 16 of 3x3 and the first; of 1x1 two in each of 16 blocks, 4 shortcuts, and the classifier; two poolings.
    assert Counter(kernel.kind for kernel in found) == {"conv": 17, "pointwise": 37, "memory": 2}
    assert round(sum(kernel.macs for kernel in found) / 1e9, 2) == 4.09
