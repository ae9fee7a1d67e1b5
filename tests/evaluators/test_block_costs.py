"""What the listing of blocks says they cost: exact counts, and milliseconds measured once and kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import onnx
import pytest
import torch

from boostformer.blocks import registry
from boostformer.figures import Figure
from boostformer.fold import fold
from evaluators import block_costs as module
from evaluators.block_costs import BlockCost, block_costs, reference_part
from evaluators.costs.counting import Cost, count
from evaluators.latency.backend import Measured

DECLARATIONS = registry.declarations()


def by_name(costs: list[BlockCost]) -> dict[tuple[str, str], BlockCost]:
    names = [(item.kind, item.name) for item in DECLARATIONS]
    return dict(zip(names, costs, strict=True))


def test_every_block_has_its_costs_and_no_milliseconds_that_nobody_asked_for() -> None:
    costs = by_name(block_costs(None))
    assert {kind for kind, _ in costs} == set(registry.KINDS)
    assert all(cost.latency is None for cost in costs.values())
    reparam = costs["mixer", "reparam_depthwise"]
    width, positions = 64, 32 * 32
    # Depthwise 3x3 and 1x1 with three BatchNorms; one depthwise 3x3 with a bias.
    assert reparam.trained == Cost(width * (9 + 1 + 3 * 2), positions * width * 10, 0)
    assert reparam.deployed == Cost(width * (9 + 1), positions * width * 9, 0)
    assert costs["stem", "none"].trained == costs["mixer", "identity"].deployed == Cost(0, 0, 0)
    assert all(cost.deployed.macs <= cost.trained.macs for cost in costs.values())


@pytest.mark.parametrize("item", DECLARATIONS, ids=lambda item: f"{item.kind}-{item.name}")
def test_the_costs_are_those_of_the_block_at_the_reference_shape(item: registry.Declaration) -> None:
    part = reference_part(item)
    assert dict(part.spec.options) == item.defaults
    inputs = [torch.empty(1, *shape, device="meta") for shape in part.inputs]
    given = [inputs] if part.kind == "fusion" else inputs
    found = by_name(block_costs(None))[item.kind, item.name]
    block = part.build().to("meta")
    assert found.trained == count(block, *given)
    if item.kind != "fusion":  # whose projections take it over
        assert found.deployed == count(fold(block), *given)


def made_up(place: int) -> Measured:
    return Measured(Figure(place + 1.0, place + 0.5, place + 1.5), 10)


class Stopwatch:
    """Stands for the meter: says how often it was asked, and gives each graph its place as milliseconds."""

    def __init__(self) -> None:
        self.asked: list[list[str]] = []

    def measure(self, graphs: Mapping[str, onnx.ModelProto]) -> dict[str, Measured]:
        self.asked.append(list(graphs))
        return {name: made_up(i) for i, name in enumerate(graphs)}


@pytest.fixture
def stopwatch(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Stopwatch:
    """No graph is made and none is run; two blocks are listed, figures are kept in an empty folder."""
    watch = Stopwatch()
    few = [registry.get("mixer", "pooling"), registry.get("fusion", "weighted_sum")]
    monkeypatch.setenv("BOOSTFORMER_CACHE", str(tmp_path))
    monkeypatch.setattr(module.registry, "declarations", lambda: few)
    monkeypatch.setattr("boostformer.deploy.onnx_writer.to_onnx", lambda block, inputs: (block, inputs))
    monkeypatch.setattr(module, "METER", watch)
    return watch


def never(name: str) -> None:
    raise AssertionError(f"measured again: {name}")


def test_milliseconds_are_measured_once_and_kept(stopwatch: Stopwatch, tmp_path: Path) -> None:
    said: list[str] = []
    first = block_costs(said.append)
    assert said == ["mixer pooling", "fusion weighted_sum", "all of them in turns"]
    assert [cost.latency for cost in first] == [made_up(0), made_up(1)]
    assert len(list(tmp_path.glob("blocks-*.json"))) == 1
    assert block_costs(never) == first
    assert len(stopwatch.asked) == 1
    again: list[str] = []
    assert block_costs(again.append, fresh=True) == first
    assert (len(stopwatch.asked), again) == (2, said)


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: "",
        lambda text: text[: len(text) // 2],
        lambda text: text.replace("1.5", "9.5"),
        lambda text: text.replace("mixer", "stem"),
        lambda text: text.replace('"checksum"', '"other"'),
        lambda text: "[" * 100_000,
        lambda text: "null",
        lambda text: "\udcff",
    ],
)
def test_damaged_figures_are_measured_anew(stopwatch: Stopwatch, tmp_path: Path, damage: Callable[[str], str]) -> None:
    first = block_costs(lambda name: None)
    (file,) = tmp_path.glob("blocks-*.json")
    whole = file.read_text()
    file.write_text(damage(whole), errors="surrogateescape")
    assert file.read_bytes() != whole.encode()
    with pytest.warns(UserWarning, match=r"^\S*blocks-\w+\.json: damaged, and measured anew$"):
        assert block_costs(lambda name: None) == first
    assert len(stopwatch.asked) == 2 and file.read_text() == whole


@pytest.mark.parametrize(
    ("name", "other"), [("processor", lambda: "another"), ("code_fingerprint", lambda *code: "another")]
)
def test_figures_of_another_machine_or_code_are_not_taken(
    stopwatch: Stopwatch, monkeypatch: pytest.MonkeyPatch, name: str, other: Callable[..., str]
) -> None:
    block_costs(lambda name: None)
    monkeypatch.setattr(module, name, other)
    block_costs(lambda name: None)
    assert len(stopwatch.asked) == 2


def test_what_is_measured_is_the_deployed_block(stopwatch: Stopwatch, monkeypatch: pytest.MonkeyPatch) -> None:
    reparam, made = registry.get("mixer", "reparam_depthwise"), []
    monkeypatch.setattr(module.registry, "declarations", lambda: [reparam])
    monkeypatch.setattr("boostformer.deploy.onnx_writer.to_onnx", lambda block, inputs: made.append((block, inputs)))
    block_costs(lambda name: None)
    ((block, inputs),) = made
    assert type(block) is type(replace(reference_part(reparam), deployed=True).build())
    assert not block.training and [tuple(x.shape) for x in inputs] == [(1, 64, 32, 32)]
