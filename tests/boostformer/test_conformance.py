"""Every registered block folds, exports at each opset and compiles."""

from __future__ import annotations

import itertools
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from block_cases import CASES, WIDTHS, as_type, inputs, make, specs, trained, width_of
from torch import Tensor, nn

from boostformer.architecture import BlockSpec
from boostformer.blocks import registry
from boostformer.blocks.block import Foldable
from boostformer.blocks.norms import LayerScale
from boostformer.deploy import onnx_writer
from boostformer.deploy.parity import parity
from boostformer.fold import fold
from boostformer.layers import Branch
from boostformer.parts import Part

DECLARATIONS = [pytest.param(item, id=f"{item.kind}-{item.name}") for item in registry.declarations()]


def branch(kind: str, spec: BlockSpec) -> nn.Module:
    """The block as it stands in a network: mixers and FFNs behind a BatchNorm and before a LayerScale."""
    block = make(kind, spec)
    if kind not in ("mixer", "ffn"):
        return trained(block)
    width = width_of(kind, spec)
    return trained(Branch(block, registry.construct("norm", BlockSpec("batch"), width), LayerScale(width)))


def has_rules(module: nn.Module) -> bool:
    """Whether something here may be shed: by a rule that a block writes, or a BatchNorm behind a convolution."""
    rules = {"fold"}
    if isinstance(module, Branch):
        module, rules = module.block, {"fold", "absorb_input", "absorb_output"}
    behind = [
        isinstance(layer, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d)
        for child in module.modules()
        if isinstance(child, nn.Sequential)
        for layer, norm in itertools.pairwise(child)
    ]
    return any(behind) or any(rules & vars(cls).keys() for cls in type(module).__mro__ if cls is not Foldable)


def numbers(module: nn.Module) -> int:
    """How many numbers a module keeps: parameters and statistics."""
    return sum(value.numel() for value in module.state_dict().values())


@pytest.mark.parametrize(("kind", "spec"), CASES)
def test_a_folded_block_has_shed_something_if_it_has_rules(kind: str, spec: BlockSpec) -> None:
    module = branch(kind, spec)
    # Its rules do not hold with an interaction, which sees the input itself.
    keeps_all = spec.name == "cross_covariance" and spec.get("interaction")
    assert (numbers(fold(module)) < numbers(module)) == (has_rules(module) and not keeps_all)


@pytest.mark.parametrize(("kind", "spec"), CASES)
@torch.no_grad()
def test_a_folded_block_computes_the_same(kind: str, spec: BlockSpec) -> None:
    module, x = branch(kind, spec), inputs(kind, 9, 13, width_of(kind, spec))
    single = module(x)
    assert (fold(module)(x) - single).abs().max() <= 1e-5 * single.abs().max()
    module, x = module.double(), as_type(x, torch.float64)
    double, folded = module(x), fold(module)
    assert (folded(x) - double).abs().max() <= 1e-10 * double.abs().max()
    torch.testing.assert_close(fold(folded)(x), folded(x), rtol=0, atol=0)
    torch.testing.assert_close(module(x), double, rtol=0, atol=0)


@pytest.mark.parametrize(("kind", "spec"), CASES)
def test_a_part_is_built_as_it_is_deployed(kind: str, spec: BlockSpec) -> None:
    width = width_of(kind, spec)
    shape = {"stem": (3,), "embed": (5, width, 2), "fusion": (width, 4)}.get(kind, (width,))
    part = Part(kind, spec, shape, ())
    if kind in ("mixer", "ffn"):
        part = replace(part, norm="batch", scale=True)
    before = sum(p.numel() for p in part.build().parameters())
    deployed = replace(part, deployed=True).build()
    assert not deployed.training
    assert sum(p.numel() for p in deployed.parameters()) <= before


class Several(nn.Module):
    """A block with its defaults and with another value of each option, side by side: one export covers them."""

    def __init__(self, declaration: registry.Declaration) -> None:
        super().__init__()
        first, *others = specs(declaration)
        chosen = [first]
        for name, value in first.options:
            chosen += [spec for spec in others if dict(spec.options)[name] != value][-1:]
        widths = [width for width in WIDTHS if not any(_refusal(declaration, spec, width) for spec in chosen)]
        self.width = widths[0]
        self.blocks = nn.ModuleList(make(declaration.kind, spec, self.width) for spec in chosen)

    def forward(self, x: Tensor | list[Tensor]) -> tuple[Tensor, ...]:
        return tuple(block(x) for block in self.blocks)


def _refusal(declaration: registry.Declaration, spec: BlockSpec, width: int) -> str | None:
    return declaration.refusal(width, (9, 13), dict(spec.options))


def several(declaration: registry.Declaration) -> tuple[nn.Module, Tensor | list[Tensor]]:
    module = Several(declaration)
    return trained(module), inputs(declaration.kind, 9, 13, module.width, batch=1)


@pytest.mark.slow
@pytest.mark.parametrize("declaration", DECLARATIONS)
def test_onnx_runtime_computes_the_same(declaration: registry.Declaration, monkeypatch: pytest.MonkeyPatch) -> None:
    """At each opset; torch's exporter, which takes the time, writes once what two of them are converted from."""
    write, written = onnx_writer._program, {}

    def once(module: nn.Module, inputs: tuple[Any, ...], opset: int, axes: None) -> SimpleNamespace:
        if opset not in written:
            written[opset] = write(module, inputs, opset, axes)
        return SimpleNamespace(model=written[opset].model.clone())

    monkeypatch.setattr(onnx_writer, "_program", once)
    module, x = several(declaration)
    folded = fold(module)
    for opset in (13, 17, 20):
        graph = onnx_writer.to_onnx(folded, (x,), opset)
        assert {item.domain: item.version for item in graph.opset_import} == {"": opset}
        assert parity(module, graph, [(x,)]) <= 1e-4, opset
    assert set(written) == {onnx_writer.EXPORTED, 20}


@pytest.mark.slow
@pytest.mark.parametrize("declaration", DECLARATIONS)
def test_torch_exports_and_compiles_it_without_a_break(declaration: registry.Declaration) -> None:
    module, x = several(declaration)
    torch.compiler.reset()  # it counts how often it compiled `Several.forward`, for whichever block
    with torch.no_grad():
        expected = module(x)
        exported = torch.export.export(module, (x,)).module()(x)
        compiled = torch.compile(module, fullgraph=True, backend="aot_eager")(x)
    for found in (exported, compiled):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
