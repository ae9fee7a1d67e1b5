"""Every kind of device keeps the same promises; and what a meter is given to measure of a network."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from latency_cases import FakeMeter, filled, made_up, space

from boostformer.errors import UserError
from boostformer.figures import Figure, Latency
from boostformer.layers import LabelMap
from evaluators.latency import measured as metered_module
from evaluators.latency.additive import Additive
from evaluators.latency.backend import Backend
from evaluators.latency.device import DeviceConfig
from evaluators.latency.devices import KINDS, CudaDevice, Entry, EstimateDevice, HostDevice, TableDevice
from evaluators.latency.graphs import network_graph
from evaluators.latency.jetson.meter import JetsonMeter
from evaluators.latency.measured import Metered

Meters = Callable[..., JetsonMeter]
ARCH = next(iter(space()))
graphs_once = cache(network_graph)


def opened(device: DeviceConfig, folder: Path) -> Backend:
    return Entry("mine", device, folder, "devices.yaml:1").open()


def host(folder: Path, request: pytest.FixtureRequest) -> Backend:
    return opened(HostDevice(kind="host", threads=1, seconds=0.01, tolerance=1e9), folder)


def cuda(folder: Path, request: pytest.FixtureRequest) -> Backend:
    if not torch.cuda.is_available():
        with pytest.raises(UserError, match="kind cuda needs an NVIDIA GPU"):
            opened(CudaDevice(kind="cuda"), folder)
        pytest.skip("no NVIDIA GPU here that torch can use")
    return opened(CudaDevice(kind="cuda"), folder)


def jetson(folder: Path, request: pytest.FixtureRequest) -> Backend:
    """The stand-in board of the Jetson meter's own tests."""
    meters: Meters = request.getfixturevalue("meters")
    return Metered(meters())


def table(folder: Path, request: pytest.FixtureRequest) -> Backend:
    filled(folder / "table.jsonl", networks=8, noise=0.02)
    return opened(TableDevice(kind="table", of="host", file=Path("table.jsonl")), folder)


def estimate(folder: Path, request: pytest.FixtureRequest) -> Backend:
    return opened(EstimateDevice(kind="estimate", board="jetson-orin-nano"), folder)


CASES = {"host": host, "cuda": cuda, "jetson": jetson, "table": table, "estimate": estimate}


@pytest.fixture(autouse=True)
def exported_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metered_module, "network_graph", graphs_once)


def test_every_kind_of_device_is_tested() -> None:
    assert set(CASES) == set(KINDS), "a kind without a case here promises nothing"


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_device_keeps_the_promises(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    backend = CASES[kind](tmp_path, request)
    found = backend.latency(ARCH, labels=True)
    assert found.provenance == backend.provenance()
    assert "\n" not in str(found.provenance) and "None" not in str(found.provenance)
    assert found.figure.low <= found.ms <= found.figure.high
    assert found.labels_ms is not None and found.labels_ms > 0
    assert Latency.from_dict(json.loads(json.dumps(found.to_dict()))) == found, "a study can keep it"
    assert (found.provenance.kind == "measured") == KINDS[kind].measured
    if isinstance(backend, Additive):
        assert found.labels_ms > found.ms
        again = backend.latency(ARCH, builds=3)
        assert (again.figure, again.labels_ms) == (found.figure, None)
        low, high = backend.band
        assert 0 < low < 1 < high


@pytest.mark.parametrize("kind", ["host"])
def test_several_builds_lie_between_low_and_high(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    found = CASES[kind](tmp_path, request).latency(ARCH, builds=3)
    assert len(found.state["builds_ms"]) == 3 and found.labels_ms is None
    low, median, high = sorted(found.state["builds_ms"])
    assert found.figure == Figure(median, low, high)


def test_a_meter_measures_the_network_and_beside_it_the_way_to_the_labels() -> None:
    meter = FakeMeter()
    found = Metered(meter).latency(ARCH, labels=True, builds=3)
    assert meter.asked == [["logits", "labels"]] and meter.builds == 3, "together, so that a drift meets both"
    logits, labels = meter.graphs["logits"], meter.graphs["labels"]
    operators = [node.op_type for node in labels.graph.node]
    assert operators[: len(logits.graph.node)] == [node.op_type for node in logits.graph.node]
    assert set(operators[len(logits.graph.node) :]) >= {"Resize", "ArgMax"}
    assert (found.ms, found.labels_ms) == (len(logits.graph.node), len(labels.graph.node))
    assert found.figure == made_up(found.ms).figure
    meter.asked.clear()
    assert Metered(meter).latency(ARCH).labels_ms is None and meter.asked == [["logits"]]


def test_the_labels_are_those_of_the_enlarged_logits() -> None:
    meter = FakeMeter()
    Metered(meter).latency(ARCH, labels=True)
    image = np.random.default_rng(0).standard_normal((1, 3, *ARCH.size), dtype=np.float32)
    logits, labels = (_run(meter.graphs[name], image) for name in ("logits", "labels"))
    assert labels.shape[-2:] == ARCH.size and logits.shape == (1, ARCH.classes, ARCH.size[0] // 4, ARCH.size[1] // 4)
    expected = LabelMap(ARCH.size)(torch.from_numpy(logits)).numpy()
    assert (labels.reshape(expected.shape) == expected).mean() > 0.999
    assert len(np.unique(labels)) > 1


def test_networks_of_other_sizes_and_classes_have_their_own_way_to_the_labels() -> None:
    """It is made once for each."""
    taken = {}
    for arch in (ARCH, ARCH.replace(classes=7), ARCH.replace(size=(32, 64))):
        meter = FakeMeter()
        Metered(meter).latency(arch, labels=True)
        given, found = (
            [d.dim_value for d in end.type.tensor_type.shape.dim]
            for end in (meter.graphs["logits"].graph.output[0], meter.graphs["labels"].graph.output[0])
        )
        taken[arch] = given, found[-2:]
    logits, labels = zip(*taken.values(), strict=True)
    assert logits == ([1, 4, 16, 16], [1, 7, 16, 16], [1, 4, 8, 16])
    assert labels == ([64, 64], [64, 64], [32, 64])


def _run(graph: onnx.ModelProto, image: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {"image": image})
    return np.asarray(found)
