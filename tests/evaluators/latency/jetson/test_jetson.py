"""The Jetson meter from end to end: a real SSH server, a real shell, a stand-in for trtexec with recorded answers."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from board_server import Board, BoardServer
from jetson_cases import NANO_MS, Meters, graph, measure, options

from boostformer.figures import Figure
from evaluators.latency.devices import JetsonDevice
from evaluators.latency.jetson import script as jetson_script
from evaluators.latency.jetson.graphs import half, norm_layers
from evaluators.latency.jetson.host_keys import fetch_key, trust
from evaluators.latency.jetson.meter import JetsonMeter

VERSIONS = [
    ("8201", "nano_trt8201_resnet18_fp32", NANO_MS),
    ("8502", "made_by_hand_trt8502", 4.1),
    ("100300", "jetpack6_trt100300_resnet50_fp16", 3.14062),
    ("110000", "made_by_hand_trt110000", 1.01),
]


def test_provenance(meters: Meters) -> None:
    meter = meters(power_mode="MAXN")
    assert meter.opset == 13
    assert str(meter.provenance()) == (
        "measured: TensorRT 8.2.1, NVIDIA Jetson Nano Developer Kit (nano), fp16, MAXN, GPU clock 921.6 MHz locked, "
        "batch 1"
    )


def test_what_is_unknown_is_said_to_be(meters: Meters, server: BoardServer) -> None:
    for tool in ("nvpmodel", "jetson_clocks", "tegrastats"):
        (server.board.tools / tool).unlink()
    shutil.rmtree(server.board.says / "sys")
    (server.board.says / "tegrastats").unlink()
    (server.board.says / "model").unlink()
    meter = meters()
    assert measure(meter).ms == NANO_MS
    assert str(meter.provenance()) == (
        "measured: TensorRT 8.2.1, unknown board (nano), fp16, power mode unknown, GPU clock unknown, batch 1"
    )


@pytest.mark.parametrize(("version", "log", "median"), VERSIONS)
def test_every_version_measures(meters: Meters, server: BoardServer, version: str, log: str, median: float) -> None:
    server.board.set("version", version)
    server.board.set("log", (Path(__file__).parents[1] / "logs" / f"{log}.log").read_text())
    for precision in ("fp16", "fp32"):
        found = measure(meters(precision=precision))
        assert found.ms == median
        assert found.ms * 0.998 <= found.figure.low < found.ms < found.figure.high <= found.ms * 1.002
        assert found.runs == 100
        assert found.state["variation_percent"] == pytest.approx(0.1414, abs=1e-3)
        assert found.state["builds_ms"] == [median]
        assert found.state["build_seconds"] == 1.5
        assert found.state["before"]["power_mode"] == "MAXN"
        assert found.state["before"]["clock"]["current"] == 921.6
        assert found.state["after"]["over_current"] == {"hwmon3/oc1_event_cnt": 2}
        assert found.state["during"] == {
            "samples": 1,
            "lowest_mhz": 921.0,
            "median_load": 99,
            "hottest_c": 100.0,
        }
        json.dumps(found.state)
    assert server.board.steps() == ["build", "run"] * 2


def test_norms_stay_in_fp32_where_they_can(meters: Meters, server: BoardServer) -> None:
    found = measure(meters())
    assert found.state["norms"] == "fp16, scaled before squaring"
    server.board.set("version", "8502")
    found = measure(meters())
    assert found.state["norms"] == "fp32, layer by layer"
    given = next(option for option in options(server)[2] if option.startswith("--layerPrecisions="))
    assert given.removeprefix("--layerPrecisions=").split(",") == [f"{name}:fp32" for name in norm_layers(graph(13))]
    assert "--precisionConstraints=obey" in options(server)[2]
    assert "--layerPrecisions=…" in found.state["options"]


def test_version_11_is_sent_a_graph_in_fp16(meters: Meters, server: BoardServer) -> None:
    server.board.set("version", "110000")
    meter = meters()
    assert meter.opset == 17
    assert measure(meter).state["norms"] == "fp32"
    (sent,) = (onnx.load(file) for file in (server.board.home / meter.device.folder).glob("*.onnx"))
    assert {item.data_type for item in sent.graph.initializer} >= {onnx.TensorProto.FLOAT16}
    assert onnx.TensorProto.FLOAT not in {item.data_type for item in sent.graph.initializer}


def test_the_saved_engine_is_run_again(meters: Meters, server: BoardServer) -> None:
    meter = meters()
    assert measure(meter).state["engine"] == "built"
    assert options(server)[0][-1].startswith("--timingCacheFile=timing-8.2.1-")
    again = measure(meters())
    assert (again.state["engine"], again.state["build_seconds"]) == ("saved earlier", None)
    measure(meters(workspace=512))
    assert server.board.steps() == ["build", "run", "run", "build", "run"]


def test_several_builds_share_nothing(meters: Meters, server: BoardServer) -> None:
    meter = meters()
    measure(meter)
    said: list[str] = []
    found = meter.measure({"a": graph(13), "b": graph(13, 8)}, builds=3, say=said.append)
    assert found["a"].state["builds_ms"] == [NANO_MS] * 3
    assert (found["a"].figure.low, found["a"].figure.high) == (NANO_MS, NANO_MS)
    assert server.board.steps() == ["build", "run"] * 7
    assert not any("timingCacheFile" in option for given in options(server)[2:] for option in given)
    assert said == [f"nano: {name}, build {number} of 3" for number in (1, 2, 3) for name in "ab"]


def test_the_median_build_counts(meters: Meters, server: BoardServer) -> None:
    server.board.plan("ok", "ms 30", "ok", "no times ms 10", "ok", "ms 20")
    found = measure(meters(), builds=3)
    assert found.figure == Figure(20.0, 10.0, 30.0) and found.runs == 100
    assert found.state["builds_ms"] == [30.0, 10.0, 20.0] and found.state["variation_percent"] < 1


def test_without_single_times_the_extremes_stand(meters: Meters, server: BoardServer) -> None:
    server.board.plan("ok", "no times")
    found = measure(meters())
    assert (found.figure.low, found.figure.high, found.runs) == (89.0273, 91.2045, 35)
    assert found.state["variation_percent"] is None


def test_the_folder_does_not_grow(meters: Meters, server: BoardServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jetson_script, "KEPT", 3)
    meter = meters()
    meter.measure({str(number): graph(13, number) for number in range(4)})
    files = sorted(file.suffix for file in (server.board.home / meter.device.folder).iterdir())
    assert len(files) == 5
    assert {".cache", ".engine", ""} <= {*files}  # the lock has no suffix


@pytest.mark.parametrize("folder", ["a b", "it's $(touch gone)", "-rf", "two\nlines", "deep/er"])
def test_any_folder_will_do(meters: Meters, server: BoardServer, folder: str) -> None:
    tools = server.board.tools / "some $(touch gone) tools"
    tools.mkdir()
    shutil.copy(server.board.tools / "trtexec", tools)
    found = meters(folder=folder, trtexec=str(tools / "trtexec")).measure({"$(touch gone)\n'": graph(13)})
    assert [run.ms for run in found.values()] == [NANO_MS]
    assert not list(server.board.home.rglob("gone"))


def test_eight_megabytes_of_stderr(meters: Meters, server: BoardServer) -> None:
    server.board.plan("ok", "flood")
    assert measure(meters()).ms == NANO_MS


def test_openssh(sshd: JetsonDevice, tmp_path: Path) -> None:
    board = Board(tmp_path)
    trust("nano", sshd, tmp_path, fetch_key("nano", sshd))
    folder, program = str(tmp_path / "a folder"), str(board.tools / "trtexec")
    meter = JetsonMeter("nano", sshd.model_copy(update={"folder": folder, "trtexec": program}), tmp_path)
    board.plan("ok", "flood")
    assert measure(meter).ms == NANO_MS
    meter.close()


# --- graphs -------------------------------------------------------------------------------------------------------


def test_norm_layers() -> None:
    layers = norm_layers(graph(13))
    assert len(layers) == 15
    kinds = {node.name: node.op_type for node in graph(13).graph.node}
    assert sorted(kinds[name] for name in layers) == sorted(
        ["ReduceMean", "Sub", "Abs", "ReduceMax", "Max", "Div", "Mul", "ReduceMean"]
        + ["Div", "Mul", "Add", "Sqrt", "Div", "Mul", "Add"]
    )
    assert norm_layers(graph(17)) == []


def test_half_graphs_compute_the_same() -> None:
    whole, halved = graph(17), half(graph(17))
    assert whole == graph(17)
    feed = {"input0": np.random.default_rng(0).standard_normal((1, 8), dtype=np.float32)}
    expected, found = (
        onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"]).run(None, feed)[0]
        for model in (whole, halved)
    )
    assert found.dtype == np.float32
    assert np.abs(found - expected).max() < 5e-3
    assert {item.data_type for item in halved.graph.initializer} <= {onnx.TensorProto.FLOAT16, onnx.TensorProto.INT64}
