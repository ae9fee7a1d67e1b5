"""The meter of this machine: turns, figures, and that other work on the machine is noticed. By a made-up clock."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from evaluators.latency import host
from evaluators.latency.backend import Unavailable
from evaluators.latency.host import HostMeter

REFERENCE = host.reference_graph().graph.name


def graph(nodes: int, name: str = "chain") -> onnx.ModelProto:
    """So many Sigmoid in a row, on 1x3x4x5."""
    chain = [helper.make_node("Sigmoid", [f"x{i}"], [f"x{i + 1}"]) for i in range(nodes)]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 3, 4, 5]) for name in ("x0", f"x{nodes}")]
    made = helper.make_graph(chain, name, ends[:1], ends[1:])
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def test_every_graph_is_run_often_enough_and_its_quartiles_are_given() -> None:
    found = HostMeter(seconds=0.01, tolerance=1e9).measure({"short": graph(1), "long": graph(50)})
    assert list(found) == ["short", "long"]
    for value in found.values():
        assert value.runs >= host.RUNS
        assert value.figure.low <= value.ms <= value.figure.high


class Machine:
    """Stands for ONNX Runtime and the clock, which every run of a graph moves on.

    Attributes:
        takes: milliseconds of a graph's run, by its name and the number of its runs before.
        opened: names of the graphs of which sessions were opened.
        ran: names of the graphs that were run.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        machine = self
        self.now, self.opened, self.ran = 0.0, list[str](), list[str]()
        self.takes: Callable[[str, int], float] = lambda name, before: {"a": 2.0, "b": 30.0, REFERENCE: 1.0}[name]

        class Session:
            def __init__(self, graph: bytes, *args: Any, **more: Any) -> None:
                self.name = onnx.load_from_string(graph).graph.name
                machine.opened.append(self.name)

            def get_inputs(self) -> list[Any]:
                return []

            def run(self, outputs: object, feed: object) -> None:
                machine.now += machine.takes(self.name, machine.ran.count(self.name)) / 1000
                machine.ran.append(self.name)

        monkeypatch.setattr(onnxruntime, "InferenceSession", Session)
        monkeypatch.setattr(host.time, "perf_counter", lambda: self.now)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(monkeypatch)


A, B = graph(1, "a"), graph(1, "b")


def test_graphs_take_turns_and_time_is_the_sum_of_their_runs(machine: Machine) -> None:
    given = {"a": A, "b": B}
    found = HostMeter(seconds=0.2).measure(given)
    assert found["a"].ms == pytest.approx(2) and found["b"].ms == pytest.approx(30)
    assert found["a"].runs == pytest.approx(100, abs=1)  # two tenths of a second long
    assert found["b"].runs == host.RUNS  # at least so often
    timed = [name for name in machine.ran if name != REFERENCE][2 * host.WARM_UP :]
    assert timed[: 2 * host.RUNS] == ["a", "b"] * host.RUNS
    assert found["a"].state["rejected"] == []
    said: list[str] = []
    machine.opened.clear()
    built = HostMeter(seconds=0.2).measure(given, builds=3, say=said.append)
    assert [name for name in machine.opened if name != REFERENCE] == ["a", "b"] * 3
    assert said == [f"build {i} of 3" for i in (1, 2, 3)]
    assert built["b"].runs == 3 * host.RUNS and built["b"].state["builds_ms"] == pytest.approx([30] * 3)
    assert (built["b"].figure.low, built["b"].figure.high) == (pytest.approx(30), pytest.approx(30))


def test_the_reference_takes_turns_and_little_time(machine: Machine) -> None:
    HostMeter(seconds=1).measure({"a": A})
    spent = machine.ran.count(REFERENCE) - host.WARM_UP
    assert spent == pytest.approx(host.REFERENCE_SHARE * 1000, rel=0.05)
    first, last = machine.ran.index(REFERENCE, 3 * host.WARM_UP), machine.ran[::-1].index(REFERENCE)
    assert first < 50 and last < 50, "from the beginning to the end"


def unsteady(name: str, before: int) -> float:
    return 1.0 if name == REFERENCE else (2.7, 6.7, 6.9)[before % 3]


def test_unsteady_runs_are_repeated_then_refused_in_a_line(machine: Machine) -> None:
    machine.takes, said = unsteady, list[str]()
    with pytest.raises(Unavailable) as caught:
        HostMeter(seconds=0.1, name="desk").measure({"net": A}, say=said.append)
    why = "unsteady: half of the runs of net took 2.7 to 6.9 ms, the median 6.7 ms"
    assert said == [f"desk: rejected: {why}"] * 3
    assert str(caught.value).startswith(f"desk: no run of 3 counts: {why}; ") and "\n" not in str(caught.value)


def test_the_figure_is_that_of_the_run_that_counts(machine: Machine) -> None:
    def settling(name: str, before: int) -> float:
        return 3.0 if name != REFERENCE and before > 20 else unsteady(name, before)

    machine.takes = settling
    found = HostMeter(seconds=0.1).measure({"net": A})["net"]
    assert found.figure.low == pytest.approx(3) == found.figure.high and found.runs < 40
    assert len(found.state["rejected"]) == 1


def test_what_is_allowed_is_in_the_settings(machine: Machine) -> None:
    machine.takes = unsteady
    assert HostMeter(seconds=0.1, tolerance=2).measure({"net": A})["net"].ms == pytest.approx(6.7)


def test_noise_of_quick_graphs_is_no_sign_of_other_work(machine: Machine) -> None:
    machine.takes = lambda name, before: 1.0 if name == REFERENCE else (0.01, 0.04)[before % 2]
    assert HostMeter(seconds=0.01).measure({"net": A})["net"].ms < 0.05


def test_a_drift_on_the_way_is_seen_by_the_reference(machine: Machine) -> None:
    machine.takes = lambda name, before: 2.0 if name != REFERENCE else 1.0 if before < 10 else 1.5
    with pytest.raises(Unavailable, match="drift: a reference graph took 1 ms at first, 1.5 ms at last"):
        HostMeter(seconds=0.15, attempts=1).measure({"net": A})


def test_a_machine_that_is_slower_than_before_is_seen_by_the_reference(machine: Machine) -> None:
    meter = HostMeter(seconds=0.2)
    assert meter.measure({"a": A})["a"].ms == pytest.approx(2)
    usual = machine.takes
    machine.takes = lambda name, before: 1.6 * usual(name, before)  # evenly: the runs themselves look steady
    with pytest.raises(Unavailable, match="drift: a reference graph takes 1.6 ms, 1 ms before"):
        meter.measure({"a": A})
    machine.takes = usual
    assert meter.measure({"a": A})["a"].ms == pytest.approx(2)


def test_figures_say_what_they_were_measured_with() -> None:
    engine, processor = f"onnxruntime {onnxruntime.__version__}", host.processor()
    assert str(HostMeter().provenance()) == f"measured: {engine}, {processor}, fp32, 1 thread, batch 1"
    assert HostMeter(threads=2).provenance().settings == ("2 threads", "batch 1")
