"""trtexec's options by version, and reading its logs: recorded ones, and some made by hand for other versions."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jetson_cases import lines_with_numbers

from evaluators.latency.jetson.trtexec import (
    LogError,
    Row,
    Version,
    build_command,
    opset,
    overflows,
    parse,
    run_command,
    wants_half_graph,
)

LOGS = Path(__file__).parents[1] / "logs"
NANO, XAVIER, ORIN, THOR = Version(8, 2, 1), Version(8, 5, 2), Version(10, 3, 0), Version(11, 0, 0)


def log(name: str) -> str:
    return (LOGS / f"{name}.log").read_text()


def build(version: Version, precision: str = "fp16", **more: object) -> list[str]:
    command = build_command(
        "trtexec",
        version,
        onnx="m.onnx",
        engine="e",
        workspace=1024,
        precision=precision,  # type: ignore[arg-type]
        **more,  # type: ignore[arg-type]
    )
    assert command[:3] == ["trtexec", "--onnx=m.onnx", "--saveEngine=e"]
    return command[3:]


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("[TensorRT v8201]", (8, 2, 1)),
        ("[TensorRT v8001] # trtexec", (8, 0, 1)),
        ("[TensorRT v8502]", (8, 5, 2)),
        ("[TensorRT v8412]", (8, 4, 12)),
        ("[TensorRT v100300]", (10, 3, 0)),
        ("[TensorRT v101303] [b9]", (10, 13, 3)),
        ("TensorRT.trtexec [TensorRT v110201] [b3] #", (11, 2, 1)),
        ("TensorRT version: 8.2.1", None),
        ("", None),
    ],
)
def test_versions(text: str, version: tuple[int, int, int] | None) -> None:
    assert Version.read(text) == version


def test_a_package_names_its_version() -> None:
    assert Version.of_package("8.5.2-1+cuda11.4\n") == XAVIER
    assert Version.of_package("") is None and Version.of_package("9" * 5000 + ".1.1") is None
    assert str(Version(10, 13, 3)) == "10.13.3"


def test_options_of_8_2() -> None:
    assert build(NANO) == ["--buildOnly", "--workspace=1024", "--fp16"]


def test_options_of_8_4_to_8_6() -> None:
    assert build(Version(8, 4, 1)) == ["--buildOnly", "--memPoolSize=workspace:1024", "--fp16"]
    assert build(Version(8, 6, 2)) == ["--skipInference", "--memPoolSize=workspace:1024", "--fp16"]


def test_options_of_10() -> None:
    assert build(ORIN, timing_cache="t") == [
        "--skipInference",
        "--memPoolSize=workspace:1024",
        "--fp16",
        "--timingCacheFile=t",
    ]


def test_options_of_11() -> None:
    assert build(THOR) == ["--skipInference", "--memPoolSize=workspace:1024"]
    assert wants_half_graph(THOR, "fp16")
    assert not wants_half_graph(THOR, "fp32")
    assert not wants_half_graph(ORIN, "fp16")


@pytest.mark.parametrize("version", [NANO, XAVIER, ORIN, THOR])
def test_fp32_is_no_tf32(version: Version) -> None:
    assert build(version, "fp32")[-1] == "--noTF32"


def test_norms_stay_in_fp32_where_layers_can_be_named() -> None:
    assert build(XAVIER, keep_fp32=["a/Sub", "a/Sqrt"])[-2:] == [
        "--precisionConstraints=obey",
        "--layerPrecisions=a/Sub:fp32,a/Sqrt:fp32",
    ]
    with pytest.raises(ValueError, match=r"8\.2\.1 cannot keep layers"):
        build(NANO, keep_fp32=["a"])
    assert overflows(NANO, "fp16")
    assert overflows(XAVIER, "fp16")
    assert not overflows(Version(8, 6, 0), "fp16")
    assert not overflows(NANO, "fp32")


def test_running() -> None:
    command = run_command("trtexec", engine="e", duration=5, times="t.json")
    assert {"--loadEngine=e", "--warmUp=1000", "--duration=5", "--iterations=100", "--exportTimes=t.json"} < {*command}
    assert {"--noDataTransfers", "--useSpinWait", "--useCudaGraph"} < {*command}


def test_opsets() -> None:
    assert [opset(version) for version in (NANO, XAVIER, Version(8, 6, 0), ORIN, THOR)] == [13, 13, 17, 17, 17]


def test_the_recorded_nano() -> None:
    report = parse(log("nano_trt8201_resnet18_fp32"))
    assert (report.passed, report.version) == (True, NANO)
    assert report.gpu == Row(89.0273, 91.2045, 90.1061, 90.0183, {99: 91.2045})
    assert report.rows["End-to-End Host Latency"].median == 90.3167
    assert report.rows["Latency"].median == 90.3035
    assert (report.throughput, report.queries, report.build_seconds) == (11.0613, 35, 184.708)
    assert report.unstable is None
    assert report.errors == ()


def test_the_recorded_orin() -> None:
    report = parse(log("jetpack6_trt100300_resnet50_fp16"))
    assert (report.passed, report.version) == (True, ORIN)
    assert report.gpu == Row(3.12671, 3.15479, 3.14068, 3.14062, {90: 3.14587, 95: 3.14771, 99: 3.15039})
    assert set(report.rows) == {"Latency", "Enqueue Time", "H2D Latency", "GPU Compute Time", "D2H Latency"}
    assert (report.throughput, report.queries, report.build_seconds) == (318.007, None, None)


def test_the_recorded_refusal() -> None:
    report = parse(log("trt100300_unknown_option"))
    assert (report.passed, report.version, report.gpu) == (False, ORIN, None)
    assert (
        report.failure
        == "Unknown option: --workspace 2048 | Unknown option: --buildOnly | Unknown option: --explicitBatch"
    )


def test_an_unstable_run_of_8_0() -> None:
    report = parse(log("made_by_hand_trt8001_unstable"))
    assert (report.passed, report.version, report.unstable) == (True, (8, 0, 1), 5.55763)
    assert report.gpu is not None
    assert report.gpu.median == 2.4
    assert report.queries == 1208


def test_8_5() -> None:
    report = parse(log("made_by_hand_trt8502"))
    assert (report.version, report.queries, report.build_seconds) == (XAVIER, 1219, None)
    assert report.gpu is not None
    assert report.gpu.percentiles == {90: 4.13, 95: 4.15, 99: 4.18}


def test_11_without_percentiles_and_with_an_unknown_row() -> None:
    report = parse(log("made_by_hand_trt110000"))
    assert (report.version, report.build_seconds) == (THOR, 4.25)
    assert report.gpu == Row(1, 1.04, 1.012, 1.01)
    assert "Power Draw" not in report.rows


def test_a_failed_build_keeps_trtexecs_words() -> None:
    report = parse(log("made_by_hand_trt8201_failed_build"))
    assert not report.passed
    assert "While parsing node number 21 [LayerNormalization" in report.failure
    assert report.failure.endswith("Engine set up failed")


def test_a_failure_without_error_lines_is_explained_by_the_last_lines() -> None:
    report = parse("[07/14/2023-12:00:00] [I] loading\nterminate called\n&&&& FAILED TensorRT.trtexec [TensorRT v8201]")
    assert report.failure == "loading | terminate called"
    assert parse("&&&& FAILED TensorRT.trtexec [TensorRT v8201]").failure == "it printed nothing"


@pytest.mark.parametrize("name", [file.stem for file in sorted(LOGS.glob("*.log"))])
def test_wherever_a_log_is_cut_the_error_is_clear(name: str) -> None:
    whole = log(name)
    for end in range(0, whole.index("]", whole.rindex("&&&&")), 11):
        with pytest.raises(LogError, match="trtexec"):
            parse(whole[:end])


@given(
    st.text()
    | lines_with_numbers(
        "GPU Compute Time: min = # ms, max = # ms, mean = # ms, median = # ms, percentile(#%) = # ms",
        "Latency: min = 1 ms, max = 2 ms, mean = 1 ms, median = 1 ms, percentile(#%) = 2 ms, percentile(99%) = # ms",
        "Throughput: # qps",
        "Timing trace has # queries over 3 s",
        "Engine built in # sec.",
        "[W] * GPU compute time is unstable, with coefficient of variance = #%.",
        "[TensorRT v#]",
        "&&&& PASSED TensorRT.trtexec [TensorRT v#] # x",
    )
)
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        report = parse(f"{text}\n&&&& PASSED TensorRT.trtexec [TensorRT v8201] # x")
        figures = [report.throughput, report.queries, report.build_seconds, report.unstable]
        figures += [percent for row in report.rows.values() for percent in row.percentiles]
        assert all(math.isfinite(figure) for figure in figures if figure is not None)
        parse(text)
    except LogError:
        pass


def test_a_percentile_of_no_percentage_is_passed_over() -> None:
    row = "GPU Compute Time: min = 1 ms, max = 4 ms, mean = 2 ms, median = 3 ms, percentile(99..9%) = 4 ms"
    report = parse(f"{row}, percentile(95%) = 3.5 ms\n&&&& PASSED TensorRT.trtexec [TensorRT v8201] # x")
    assert report.gpu == Row(1, 4, 2, 3, {95: 3.5})


def test_a_verdict_without_a_version() -> None:
    with pytest.raises(LogError, match="names no version"):
        parse("&&&& PASSED TensorRT.trtexec")


def test_all_shared_logs_are_read(shared: Path) -> None:
    for file in (shared / "fixtures" / "trtexec").glob("*.log"):
        report = parse(file.read_text())
        assert report.passed == (report.gpu is not None), file.name
