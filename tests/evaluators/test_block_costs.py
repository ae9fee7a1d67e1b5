"""What the listing of blocks says they cost: exact counts, and milliseconds measured once and kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper

from boostformer.blocks import registry
from boostformer.figures import Figure
from boostformer.fold import fold
from evaluators import block_costs as module
from evaluators.block_costs import BlockCost, block_costs, reference_part
from evaluators.costs.counting import Cost, count
from evaluators.latency import host
from evaluators.latency.backend import Measured
from evaluators.latency.host import HostMeter

DECLARATIONS = registry.declarations()


def graph(nodes: int, name: str = "chain") -> onnx.ModelProto:
    """So many Sigmoid in a row, on 1x3x4x5."""
    chain = [helper.make_node("Sigmoid", [f"x{i}"], [f"x{i + 1}"]) for i in range(nodes)]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 3, 4, 5]) for name in ("x0", f"x{nodes}")]
    made = helper.make_graph(chain, name, ends[:1], ends[1:])
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def test_every_graph_is_run_often_enough_and_its_quartiles_are_given() -> None:
    found = HostMeter(seconds=0.01).measure({"short": graph(1), "long": graph(50)})
    assert list(found) == ["short", "long"]
    for value in found.values():
        assert value.runs >= host.RUNS
        assert value.figure.low <= value.ms <= value.figure.high


def test_graphs_take_turns_and_time_is_the_sum_of_their_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """By a clock that every run of a graph moves on: the first takes 2 ms, the second 30 ms."""
    now, ran = [0.0], list[str]()

    class Session:
        def __init__(self, graph: bytes, *args: Any, **more: Any) -> None:
            self.name = onnx.load_from_string(graph).graph.name
            opened.append(self.name)

        def get_inputs(self) -> list[Any]:
            return []

        def run(self, outputs: object, feed: object) -> None:
            ran.append(self.name)
            now[0] += {"a": 0.002, "b": 0.030}[self.name]

    opened: list[str] = []
    monkeypatch.setattr(onnxruntime, "InferenceSession", Session)
    monkeypatch.setattr(host.time, "perf_counter", lambda: now[0])
    given = {"a": graph(1, "a"), "b": graph(1, "b")}
    found = HostMeter(seconds=0.2).measure(given)
    assert found["a"].ms == pytest.approx(2) and found["b"].ms == pytest.approx(30)
    assert found["a"].runs == pytest.approx(100, abs=1)  # two tenths of a second long
    assert found["b"].runs == host.RUNS  # at least so often
    timed = ran[2 * host.WARM_UP :]
    assert timed[: 2 * host.RUNS] == ["a", "b"] * host.RUNS
    said: list[str] = []
    opened.clear()
    built = HostMeter(seconds=0.2).measure(given, builds=3, say=said.append)
    assert opened == ["a", "b"] * 3 and said == [f"build {i} of 3" for i in (1, 2, 3)]
    assert built["b"].runs == 3 * host.RUNS and built["b"].state["builds_ms"] == pytest.approx([30] * 3)
    assert (built["b"].figure.low, built["b"].figure.high) == (pytest.approx(30), pytest.approx(30))


def test_figures_say_what_they_were_measured_with() -> None:
    engine, processor = f"onnxruntime {onnxruntime.__version__}", host.processor()
    assert str(HostMeter().provenance()) == f"measured: {engine}, {processor}, fp32, 1 thread, batch 1"
    assert HostMeter(threads=2).provenance().settings == ("2 threads", "batch 1")


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
    monkeypatch.setattr(module, "to_onnx", lambda block, inputs: (block, inputs))
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
    monkeypatch.setattr(module, "to_onnx", lambda block, inputs: made.append((block, inputs)))
    block_costs(lambda name: None)
    ((block, inputs),) = made
    assert type(block) is type(replace(reference_part(reparam), deployed=True).build())
    assert not block.training and [tuple(x.shape) for x in inputs] == [(1, 64, 32, 32)]
