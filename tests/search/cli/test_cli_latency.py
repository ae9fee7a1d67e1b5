"""The commands about milliseconds, and a search for them, each in a process of its own."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from latency_factories import timed
from search_factories import run, small

from boostformer.figures import Figure
from evaluators.latency.backend import Measured
from evaluators.latency.devices import read_devices
from evaluators.latency.estimate.boards import boards
from evaluators.latency.graphs import space_elements
from evaluators.latency.host import HostMeter
from evaluators.latency.table.file import TableFile
from evaluators.latency.table.table import Table
from results.pareto import front
from results.run import read_run
from search_space import space_from_yaml

Cli = Callable[..., "subprocess.CompletedProcess[str]"]
DEVICES = """\
desk: {kind: host, seconds: 0.02, tolerance: 1000}
mine: {kind: table, of: desk, file: tables/mine.jsonl}
"""
SPACE = """\
version: 1
size: 128x128
classes: 2
stages:
  - &stage
    width: 16
    depth: [1, 2]
    embed: {overlap_conv: {kernel: 3}}
    mixer: {identity: {}}
    ffn: {mix_ffn: {ratio: 2}}
  - *stage
  - *stage
  - *stage
decoder: {width: 8, fusion: {concat: {}}}
"""
"""Sixteen networks of the same few elements, each large enough to be timed on a busy machine."""
RUN = """\
space: space.yaml
data: {kind: scenes, size: 32x64, scenes: {training: 4, validation: 2}}
objectives: [miou, latency_ms]
budgets: {params: 60k, latency_ms: 1000 ms}
latency: {device: desk}
proxy: {iterations: 2, batch_size: 2}
search: {trials: 2, strategy: random}
"""


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """A folder with devices, a space and one of its networks."""
    (tmp_path / "devices.yaml").write_text(DEVICES)
    (tmp_path / "space.yaml").write_text(SPACE)
    (tmp_path / "run.yaml").write_text(RUN)
    arch = space_from_yaml(SPACE).sample(np.random.default_rng(0))
    (tmp_path / "net.yaml").write_text(arch.to_json())
    return tmp_path


def answer(done: subprocess.CompletedProcess[str]) -> Any:
    """The document on stdout of a command that went well."""
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_the_devices_that_are_known(here: Path, run_cli: Cli) -> None:
    rows = {row["device"]: row for row in answer(run_cli("latency", "devices", "--format", "json", cwd=here))}
    assert {"host", "host-table", *boards().boards, "desk", "mine"} <= set(rows)
    assert rows["mine"] == {
        "device": "mine",
        "kind": "table",
        "settings": "of: desk, file: tables/mine.jsonl",
        "from": "devices.yaml:2",
    }
    assert rows["host"]["from"] == "shipped"
    shown = run_cli("latency", "devices", cwd=here)
    assert shown.returncode == 0 and all(name in shown.stdout for name in read_devices())


def test_an_estimate_needs_no_device(here: Path, run_cli: Cli) -> None:
    found = answer(run_cli("latency", "estimate", "boostformer_b0", "--device", "jetson-nano", "--format", "json"))
    assert found["provenance"].startswith("estimated: ") and found["device"] == "jetson-nano"
    assert 0 < found["low_ms"] < found["latency_ms"] < found["high_ms"]
    assert found["labels_ms"] > found["latency_ms"] and found["size"] == [512, 512]
    arguments = (
        "latency",
        "estimate",
        "boostformer_b0",
        "--device",
        "jetson-nano",
        "--size",
        "64x64",
        "--classes",
        "4",
    )
    shown = run_cli(*arguments)
    assert shown.returncode == 0, shown.stderr
    for said in ("boostformer_b0 at 64x64, 4 classes", found["provenance"], "latency_ms", "label map", "no bound"):
        assert said in shown.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("measure", "net.yaml", "--device", "jetson-nano"), "'jetson-nano' is a device of kind estimate; "),
        (("estimate", "net.yaml", "--device", "desk"), "'desk' is a device of kind host; "),
        (("estimate", "net.yaml", "--device", "mine"), "tables/mine.jsonl: holds 0 whole networks, a prediction needs"),
        (("measure", "net.yaml", "--device", "dsk"), "unknown device 'dsk'; did you mean 'desk'?"),
        (("calibrate", "--device", "mine"), "tables/mine.jsonl: no space was profiled; run: boostformer latency profi"),
        (("profile-space", "space.yaml", "--device", "desk"), "'desk' is a device of kind host; "),
        (("trust", "desk"), "'desk' is a device of kind host; "),
    ],
)
def test_mistakes_are_one_line_and_exit_code_2(
    here: Path, run_cli: Cli, arguments: tuple[str, ...], message: str
) -> None:
    done = run_cli("latency", *arguments, cwd=here)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
    assert message in done.stderr and done.stdout == ""


def test_a_front_says_where_its_milliseconds_come_from(tmp_path: Path, run_cli: Cli) -> None:
    run(tmp_path, 4, search=timed(space=small(), device="jetson-nano"))
    shown = run_cli("pareto", tmp_path)
    assert shown.returncode == 0 and "latency_ms: estimated: datasheet, Jetson Nano" in shown.stderr, shown.stderr


def known_but_for(few: int, file: Path) -> int:
    """Have the table in a file know all elements of the space but a few; their number.

    Their figures are made up: each that is measured is exported first, which takes its time.
    """
    space = space_from_yaml(SPACE)
    wanted = space_elements(space.slots, next(iter(space)))
    table, provenance = Table(TableFile(file), "mine"), HostMeter().provenance()
    for element in wanted[:-few]:
        ms = {"frame": 0.005, "norm": 0.01}.get(element.kind, 0.02)
        table.file.add_element(element, Measured(Figure(ms, ms, ms), 9), "made up", table.code, provenance)
    return len(wanted)


@pytest.mark.slow
def test_a_network_is_measured_on_this_machine(here: Path, run_cli: Cli) -> None:
    arguments = ("latency", "measure", "net.yaml", "--device", "desk", "--builds", 2)
    found = answer(run_cli(*arguments, "--format", "json", cwd=here))
    assert found["provenance"].startswith("measured: onnxruntime ") and found["size"] == [128, 128]
    assert 0 < found["low_ms"] <= found["latency_ms"] <= found["high_ms"] and found["labels_ms"] > 0
    assert len(found["state"]["builds_ms"]) == 2


@pytest.mark.slow
def test_from_a_space_to_predictions_of_its_networks(here: Path, run_cli: Cli) -> None:
    file = here / "tables" / "mine.jsonl"
    count = known_but_for(10, file)
    profile = ("latency", "profile-space", "space.yaml", "--device", "mine")
    first = run_cli(*profile, cwd=here)
    assert first.returncode == 0, first.stderr
    for said in (
        f"{count} elements, {count - 10} known; measuring on 'desk': measured: onnx",
        "2 elements are left: about ",
        f"mine.jsonl: {count} of {count} elements of space.yaml",
        "latency calibrate --device mine",
    ):
        assert said in first.stderr
    lines = file.read_text().splitlines(keepends=True)

    file.write_text("".join(lines[:-2]) + lines[-2][:40])  # as a crash leaves it
    again = run_cli(*profile, cwd=here)
    assert again.returncode == 0, again.stderr
    assert f"{count} elements, {count - 2} known" in again.stderr
    done = run_cli(*profile, cwd=here)
    assert done.returncode == 0 and f"{count} elements, {count} known" in done.stderr, done.stderr

    with pytest.warns(UserWarning, match=f"{file}: damaged and set aside: line {len(lines) - 1}"):
        many = run_cli("latency", "calibrate", "--device", "mine", "--networks", 17, cwd=here)
    assert many.returncode == 2
    assert many.stderr.startswith("error: ") and "16 networks of space.yaml" in many.stderr
    calibrated = run_cli("latency", "calibrate", "--device", "mine", "--networks", 5, "--format", "json", cwd=here)
    failed = "its calibration fails" in calibrated.stderr  # as it does while the machine is busy
    assert calibrated.returncode == (1 if failed else 0)
    found = json.loads(calibrated.stdout)
    assert len({row["id"] for row in found["networks"]}) == 5
    assert all(row["measured_ms"] > 0 and row["predicted_ms"] > 0 for row in found["networks"])
    assert found["median_error"] >= 0 and -1 <= found["spearman"] <= 1 and -1 <= found["spearman_of_macs"] <= 1
    assert found["provenance"].startswith("predicted: table ")
    assert f" of {count} elements and 5 networks by onnxruntime " in found["provenance"]

    estimate = ("latency", "estimate", "net.yaml", "--device", "mine", "--format", "json")
    predicted = answer(run_cli(*estimate, cwd=here))
    assert predicted["provenance"] == found["provenance"]
    assert predicted["low_ms"] <= predicted["latency_ms"] <= predicted["high_ms"]
    assert 0 < predicted["latency_ms"] < predicted["labels_ms"]
    other = run_cli("latency", "estimate", "boostformer_b0", "--device", "mine", cwd=here)
    assert other.returncode == 2 and "lacks" in other.stderr and "latency profile-space" in other.stderr


@pytest.mark.slow
def test_a_search_for_measured_milliseconds_from_the_run_file_to_the_front(here: Path, run_cli: Cli) -> None:
    done = run_cli("search", "run.yaml", "--out", "out", cwd=here)
    assert done.returncode == 0, done.stderr
    for said in (
        "'desk': measured: onnxruntime",
        "latency_ms at most 1000.00 ms",
        "[2/2]",
        "3 builds",
        "latency_ms: mea",
    ):
        assert said in done.stderr
    records = read_run(here / "out").trials
    assert [record.status for record in records] == ["finished"] * 2
    assert all(record.latency_ms and record.latency_ms <= 1000 for record in records)
    members = front(records, ["miou", "latency_ms"])
    rows = answer(run_cli("pareto", "out", "--format", "json", cwd=here))
    assert [row["id"] for row in rows] == [member.id for member in members] != []
    (provenance,) = {row["latency_provenance"] for row in rows}
    assert provenance.startswith("measured: onnxruntime ")
    for row in rows:
        assert 0 < row["latency_low_ms"] <= row["latency_ms"] <= row["latency_high_ms"]
        assert 0 < row["final_low_ms"] <= row["final_latency_ms"] <= row["final_high_ms"]
        assert row["final_labels_ms"] > 0 and row["final_provenance"] == provenance
    again = run_cli("search", "run.yaml", "--out", "out", cwd=here)
    assert again.returncode == 0 and "0 to do" in again.stderr and "measuring finalist" not in again.stderr


def test_all_datasheets_in_one_table(run_cli: Cli) -> None:
    done = run_cli("latency", "estimate", "boostformer_b0", "--size", "64x64", "--device", "all", "--format", "json")
    rows = json.loads(done.stdout)
    times = [row["latency_ms"] for row in rows]
    assert {"jetson-nano", "jetson-agx-orin"} <= {row["device"] for row in rows} and times == sorted(times)
    alone = run_cli("latency", "estimate", "boostformer_b0", "--size", "64x64", "--device", "jetson-nano")
    nano = next(row for row in rows if row["device"] == "jetson-nano")
    assert f"{nano['latency_ms']:.4g}" in alone.stdout and len(rows) == 7
