"""Filling a table: each figure once, resumed after whatever happens, and none measured anew that is still the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from latency_cases import PROVENANCE, FakeMeter, all_elements, filled, made_up, sampled
from onnx import TensorProto, helper

from boostformer.architecture import Architecture
from boostformer.errors import UserError
from boostformer.parts import Part
from evaluators.costs.table import part_key
from evaluators.latency.backend import Unavailable
from evaluators.latency.graphs import elements, graph_hash
from evaluators.latency.table import profiling
from evaluators.latency.table import table as table_module
from evaluators.latency.table.file import TableFile
from evaluators.latency.table.profiling import calibrate, choose, fill
from evaluators.latency.table.table import Table

WANTED = all_elements()[:11]


def chain(nodes: int, operator: str = "Sigmoid") -> onnx.ModelProto:
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 3]) for name in ("x0", f"x{nodes}")]
    made = [helper.make_node(operator, [f"x{i}"], [f"x{i + 1}"]) for i in range(nodes)]
    return helper.make_model(helper.make_graph(made, "chain", ends[:1], ends[1:]))


def element_graph(element: Part, opset: int) -> onnx.ModelProto:
    """Of another length for each element; the seventh holds another operator."""
    number = all_elements().index(element)
    return chain(number + 1, "Tanh" if number == 6 else "Sigmoid")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """No graph is made by torch."""
    monkeypatch.setattr(profiling, "element_graph", element_graph)
    monkeypatch.setattr(profiling, "network_graph", lambda arch, opset: chain(int(arch.id[:2], 16) + 1))


def table_of(folder: Path) -> Table:
    return Table(TableFile(folder / "table.jsonl"), "mine")


def test_every_element_is_measured_once_and_kept(tmp_path: Path) -> None:
    meter, done = FakeMeter(), list[tuple[int, int]]()
    table = table_of(tmp_path)
    assert fill(table, meter, WANTED, done=lambda *counts: done.append(counts)) == []
    assert sorted(map(len, meter.asked)) == [3, 4, 4] and max(map(len, meter.asked)) <= meter.at_once
    assert done[-1] == (11, 11) and done == sorted(done)
    for number, element in enumerate(WANTED):
        row = TableFile(table.file.file).elements[part_key(element)]
        assert (row.measured, row.code, row.provenance) == (made_up(number + 1.0), table.code, PROVENANCE)
        assert row.graph == graph_hash(element_graph(element, 17))
    assert fill(table_of(tmp_path), meter, WANTED) == [] and len(meter.asked) == 3, "all is known"


def test_how_long_it_will_take_is_said_before_long(tmp_path: Path) -> None:
    said: list[str] = []
    fill(table_of(tmp_path), FakeMeter(), WANTED, say=said.append)
    assert [line for line in said if "7 elements are left: about 1 min, from the first 4" in line]
    said.clear()
    fill(table_of(tmp_path), FakeMeter(), WANTED, say=said.append)
    assert said == []


@pytest.mark.parametrize("error", [KeyboardInterrupt, Unavailable])
def test_an_interrupted_filling_is_resumed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
) -> None:
    meter = FakeMeter()
    measure = meter.measure

    def cut(graphs: Any, **more: Any) -> Any:
        if len(meter.asked) == 1:
            raise error("cut")
        return measure(graphs, **more)

    with monkeypatch.context() as patch:
        patch.setattr(meter, "measure", cut)
        with pytest.raises(error):
            fill(table_of(tmp_path), meter, WANTED)
    assert len(table_of(tmp_path).missing(WANTED)) == 7
    assert fill(table_of(tmp_path), meter, WANTED) == []
    assert sorted(map(len, meter.asked)) == [3, 4, 4] and table_of(tmp_path).missing(WANTED) == []


def test_what_cannot_be_measured_is_named_and_the_rest_is(tmp_path: Path) -> None:
    failures = fill(table_of(tmp_path), FakeMeter(refused=("Tanh",)), WANTED)
    bad = all_elements()[6]
    assert len(failures) == 1 and failures[0].startswith(f"{bad.kind} {bad.spec.name}: ") and "no Tanh" in failures[0]
    assert table_of(tmp_path).missing(WANTED) == [bad]
    assert len(fill(table_of(tmp_path), FakeMeter(refused=("Tanh",)), WANTED)) == 1
    assert fill(table_of(tmp_path), FakeMeter(), WANTED) == []


def test_when_the_code_changes_only_changed_graphs_are_measured_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(table_of(tmp_path), FakeMeter(), WANTED)
    monkeypatch.setattr(table_module, "code_fingerprint", lambda *code: "newer")
    changed = WANTED[4]

    def newer(element: Part, opset: int) -> onnx.ModelProto:
        return chain(90) if element == changed else element_graph(element, opset)

    monkeypatch.setattr(profiling, "element_graph", newer)
    meter, table = FakeMeter(), table_of(tmp_path)
    assert table.missing(WANTED) == WANTED
    assert fill(table, meter, WANTED) == []
    assert sum(map(len, meter.asked)) == 1
    again = table_of(tmp_path)
    assert again.missing(WANTED) == []
    rows = [again.file.elements[part_key(element)] for element in WANTED]
    assert {row.code for row in rows} == {"newer"}
    assert [row.ms for row in rows] == [90.0 if e == changed else WANTED.index(e) + 1.0 for e in WANTED]


def test_a_device_in_another_state_fills_no_table_of_before(tmp_path: Path) -> None:
    fill(table_of(tmp_path), FakeMeter(), WANTED[:4])
    other = FakeMeter()
    other.told = "measured: made up, 2 threads"
    with pytest.raises(UserError, match="bring the device into that state again"):
        fill(table_of(tmp_path), other, WANTED)
    assert len(table_of(tmp_path).file.elements) == 4


def test_the_networks_that_are_chosen_are_different_and_unlike(tmp_path: Path) -> None:
    table, candidates = filled(tmp_path / "table.jsonl"), sampled(60)
    chosen = choose(table, candidates, 10)
    assert len(set(chosen)) == 10 and set(chosen) <= set(candidates)
    assert chosen == choose(table, candidates, 10)

    def total(arch: Architecture) -> float:
        return sum(table.raw(element) * times for element, times in elements(arch))

    def spread(archs: list[Architecture]) -> float:
        return float(np.ptp([total(arch) for arch in archs]))

    assert spread(chosen) > 0.8 * spread(candidates)
    order = sorted(candidates, key=total)
    assert chosen[0] == order[len(order) // 2], "the first is an ordinary one"
    kinds = {stage.mixer.name for arch in chosen for stage in arch.stages}
    assert kinds == {"pooling", "identity", "mhsa"}


def test_no_network_is_chosen_twice_however_alike_they_are(tmp_path: Path) -> None:
    table, candidates = filled(tmp_path / "table.jsonl"), sampled(12)
    assert sorted(arch.id for arch in choose(table, candidates, 12)) == sorted(arch.id for arch in candidates)
    twins: dict[str, Architecture] = {}
    for arch in sampled(600):  # whose elements are the same, and so the point at which they lie
        key = repr(sorted((part_key(element), times) for element, times in elements(arch)))
        twins.setdefault(key, arch)
        if twins[key] is not arch:
            assert len(set(choose(table, [twins[key], arch, candidates[0]], 3))) == 3
            return
    raise AssertionError("no two networks of the same elements")


def test_networks_are_measured_in_turns_and_kept(tmp_path: Path) -> None:
    table, meter, said = filled(tmp_path / "table.jsonl"), FakeMeter(), list[str]()
    chosen = sampled(6)
    calibrate(table, meter, chosen, said.append)
    assert [line for line in said if line.startswith("network 6 of 6: ")]
    assert list(map(len, meter.asked)) == [4, 2]
    again = Table(TableFile(table.file.file), "mine")
    assert again.calibrated == {arch: int(arch.id[:2], 16) + 1.0 for arch in chosen}
    assert {row.code for row in again.file.networks.values()} == {table.code}
