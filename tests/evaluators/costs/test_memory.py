"""Peak memory from the parts equals that of the whole network, traced and measured."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.fx import GraphModule, Interpreter, Node
from torch.nn import functional

from boostformer import presets
from boostformer.architecture import Architecture, BlockSpec
from boostformer.blocks import registry
from boostformer.fold import fold
from boostformer.model import BoostFormer, build
from boostformer.parts import Part
from evaluators.costs.counting import shapes_only
from evaluators.costs.memory import PeakPopulation, Peaks, traced
from search_space import SearchSpace, read_space, slot_indices

SIZE, CLASSES = (64, 96), 11
PEAKS = {form: Peaks(None, deployed=form) for form in (True, False)}


def tiny() -> SearchSpace:
    return read_space("tiny").replace(size=SIZE, classes=CLASSES)


def networks(count: int) -> list[Architecture]:
    rng, space = np.random.default_rng(5), tiny()
    return [space.sample(rng) for _ in range(count)]


def whole(arch: Architecture, deployed: bool) -> nn.Module:
    model: nn.Module = build(arch).eval()
    model = fold(model) if deployed else model
    assert isinstance(model, BoostFormer)
    # Without the change of the order in memory, which makes no difference on a device.
    return nn.Sequential(model.encoder, model.decoder).eval()


@pytest.mark.parametrize("deployed", [True, False])
def test_the_parts_tell_what_the_whole_network_needs(deployed: bool) -> None:
    presets_too = [presets.load(name, classes=CLASSES, size=SIZE) for name in ("segformer_b0", "boostformer_b0")]
    found = set()
    for arch in networks(25) + presets_too:
        with torch.device("meta"):
            model = whole(arch, deployed)
        expected = traced(model, torch.empty(1, 3, *SIZE, device="meta")).peak(keep=False)
        assert PEAKS[deployed].peak(arch) == expected
        found.add(expected)
    assert len(found) > 5


class Measuring(Interpreter):
    """Runs a graph, frees each tensor after its last use, and looks after each function what is there."""

    def __init__(self, graph: GraphModule) -> None:
        super().__init__(graph)
        weights = [*graph.parameters(), *graph.buffers()]
        self._weights = {tensor.untyped_storage().data_ptr() for tensor in weights}
        self.most = 0

    def run_node(self, n: Node) -> Any:
        result = super().run_node(n)
        there: dict[int, int] = {}
        for value in [*self.env.values(), result]:
            for tensor in value if isinstance(value, list | tuple) else [value]:
                if isinstance(tensor, torch.Tensor):
                    there[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        self.most = max(self.most, sum(size for place, size in there.items() if place not in self._weights))
        return result


def measured(model: nn.Module) -> int:
    """Bytes of the real tensors of an exported graph on this machine, at most at once."""
    image = torch.randn(1, 3, *SIZE)
    with torch.no_grad():
        running = Measuring(torch.export.export(model, (image,), strict=False).module())
        running.run(image)
    return running.most


@pytest.mark.slow
def test_it_is_what_is_measured_on_real_tensors() -> None:
    for arch in [*networks(4), presets.load("segformer_b0", classes=CLASSES, size=SIZE)]:
        assert PEAKS[True].peak(arch) == measured(whole(arch, deployed=True))


class Plain(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q = x.flatten(2).transpose(1, 2)[:, None]
        return functional.scaled_dot_product_attention(q, q, q)


class Spelt(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q = x.flatten(2).transpose(1, 2)[:, None]
        return (q @ q.transpose(-2, -1)).softmax(dim=-1) @ q


def test_attention_counts_by_its_plain_formula() -> None:
    x = torch.empty(1, 8, 16, 16, device="meta")
    scores, own = 4 * 256 * 256, 4 * 8 * 256
    for module in (Plain(), Spelt()):
        trace = traced(module, x)
        assert trace.peak(keep=False) == own + 2 * scores and trace.made == own


def test_tensors_live_from_the_function_that_makes_them_to_the_last_that_reads_them() -> None:
    class Chain(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.wide = nn.Conv2d(2, 10, 1)
            self.back = nn.Conv2d(10, 2, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            wide = functional.relu(self.wide(x), inplace=True)
            return self.back(wide).reshape(1, -1).contiguous() + x.flatten(1)

    unit = 4 * 100
    trace = traced(Chain().to("meta"), torch.empty(1, 2, 10, 10, device="meta"))
    assert trace.peak(keep=False) == trace.peak(keep=True) == (2 + 10 + 2) * unit
    assert trace.made == 2 * unit
    alone = traced(Chain().to("meta").wide, torch.empty(1, 2, 10, 10, device="meta"))
    assert alone.peak(keep=False) == 12 * unit and alone.made == 10 * unit
    nothing = traced(nn.Identity(), torch.empty(1, 2, 10, 10, device="meta"))
    assert nothing.peak(keep=False) == 2 * unit and nothing.made == 0


def test_a_population_is_costed_as_its_networks_are_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    space = read_space("tiny").replace(size=(32, 64), classes=4)
    genes = space.genes.sample(np.random.default_rng(0), 40)
    arguments = (space.slots, space.size, space.classes, space.bands)
    peaks = Peaks(tmp_path / "peaks")
    rows = PeakPopulation(peaks, *arguments).figures(slot_indices(space, genes))[:, 0]
    assert rows.tolist() == [peaks.peak(space.decode(row)) for row in genes]
    monkeypatch.setattr(Peaks, "part", lambda self, part: pytest.fail("is traced again"))
    again = PeakPopulation(Peaks(tmp_path / "peaks"), *arguments).figures(slot_indices(space, genes))[:, 0]
    assert again.tolist() == rows.tolist()


@pytest.mark.parametrize("kind", ["mixer", "ffn"])
def test_a_branch_is_put_together_as_it_runs(kind: str) -> None:
    """Whatever stands beside each registered block, folded or not."""
    differ = set()
    for declared in registry.declarations():
        if declared.kind != kind:
            continue
        spec = BlockSpec.of(declared.name, **{option.name: option.default for option in declared.options.values()})
        for norm, scale, local, deployed in product(("", "layer", "batch"), *3 * [(False, True)]):
            part = Part(kind, spec, (16,), ((16, 8, 8),), norm, scale, local, deployed)
            with shapes_only():
                module = replace(part, inputs=()).build()
            trace = traced(module, torch.empty(1, 16, 8, 8, device="meta"))
            figure = PEAKS[deployed].part(part)
            assert (figure.kept, figure.made) == (trace.peak(keep=True), trace.made), (declared.name, part)
            differ.add(figure.kept)
    assert len(differ) > 3
