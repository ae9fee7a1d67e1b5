"""The way to milliseconds on a Jetson board as the README shows it, against a board that is made up."""

from __future__ import annotations

import json
import math
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import asyncssh
import pytest
import torch
from search_factories import small
from test_cli_search import read_until, start

from boostformer.deploy.onnx_writer import to_onnx
from boostformer.figures import Figure
from evaluators.latency.backend import Measured
from evaluators.latency.graphs import space_elements
from evaluators.latency.jetson.host_keys import fetch_key, trust
from evaluators.latency.table.file import TableFile
from evaluators.latency.table.table import Table
from results.run import read_run
from results.trial import Status
from search.worker.finalists import BUILDS
from search_space import space_from_yaml

# The stand-in for a board is that of the backend's own tests.
sys.path.append(str(Path(__file__).resolve().parents[2] / "evaluators" / "latency"))
from board_server import Board, BoardServer  # noqa: E402

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("forked_workers")]
Cli = Callable[..., "subprocess.CompletedProcess[str]"]
RECORDED_MS = 90.0183
"""The median in the log that the stand-in for trtexec answers with."""
DEVICES = """\
nano: {{kind: jetson, address: 127.0.0.1, port: {port}, user: me, key: id, trtexec: {trtexec}, power_mode: MAXN,
  wait_seconds: 60, build_seconds: 60}}
nano-table: {{kind: table, of: nano, file: nano.jsonl}}
"""
FEW = """\
version: 1
size: 32x32
classes: 2
stages:
  - {width: 8, depth: 1, embed: {overlap_conv: {kernel: 3}}, mixer: {identity: {}}, ffn: {conv_mlp: {ratio: 1}}}
  - {width: 8, depth: 1, embed: {pooling: {kernel: 3}}, mixer: {identity: {}}, ffn: {conv_mlp: {ratio: 1}}}
  - {width: 8, depth: [1, 2], embed: {pooling: {kernel: 3}}, mixer: {identity: {}}, ffn: {conv_mlp: {ratio: 1}}}
  - {width: 8, depth: [1, 2, 3], embed: {pooling: {kernel: 3}}, mixer: {identity: {}}, ffn: {conv_mlp: {ratio: 1}}}
decoder: {width: 8, fusion: {concat: {}}}
"""
"""A space of six networks that are made of few elements."""
RUN = """\
space: space.yaml
data: {kind: scenes, size: 64x64, scenes: {training: 4, validation: 2}}
objectives: [miou, latency_ms]
latency: {device: nano}
proxy: {iterations: 2, batch_size: 2}
search: {trials: 2, strategy: random}
"""


@pytest.fixture(scope="module", autouse=True)
def exported() -> None:
    """Something is exported, so that processes that are forked from this one have torch's exporter imported."""
    to_onnx(torch.nn.ReLU().eval(), (torch.zeros(1),))


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[BoardServer]:
    """A board whose key nobody knows, described in the folder in which commands are run."""
    (tmp_path / "board").mkdir()
    server = BoardServer(Board(tmp_path / "board"), tmp_path)
    server.start()
    (tmp_path / "devices.yaml").write_text(
        DEVICES.format(port=server.port, trtexec=server.board.tools / "trtexec"), encoding="utf-8"
    )
    monkeypatch.chdir(tmp_path)
    yield server
    server.close()


@pytest.fixture
def board(server: BoardServer, tmp_path: Path) -> BoardServer:
    """A board that is trusted."""
    trust("nano", server.device(), tmp_path, fetch_key("nano", server.device()))
    return server


def take_turns(board: Board) -> bool:
    """Whether each step of trtexec ended before the next began, and each engine was run when it was built."""
    ends = [text.split()[0] for _, _, text in board.journal]
    return ends == ["start", "end"] * (len(ends) // 2) and board.steps() == ["build", "run"] * (len(ends) // 4)


def test_a_board_is_measured_once_it_is_trusted(server: BoardServer, tmp_path: Path, run_cli: Cli) -> None:
    Path("tiny.json").write_text(next(iter(small())).to_json())
    shown = f"ssh-ed25519 {server.host_key.get_fingerprint()}"
    measure = ("latency", "measure", "tiny.json", "--device", "nano")
    refused = run_cli(*measure)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert refused.stderr == (
        f"error: nano (127.0.0.1) shows the host key {shown}, which is not known: `boostformer latency trust nano`\n"
    )
    alone = run_cli("latency", "trust", "nano")
    assert alone.returncode == 2 and shown in alone.stderr and alone.stderr.endswith("repeat with --yes\n")
    assert not (tmp_path / "known_hosts").exists() and server.board.journal == []

    trusted = run_cli("latency", "trust", "nano", "--yes")
    assert trusted.returncode == 0 and trusted.stderr.splitlines() == [
        f"nano (127.0.0.1) shows {shown}",
        f"nano (127.0.0.1) is known by {shown} from now on, in {tmp_path}/known_hosts",
        "next:",
        "  boostformer latency measure boostformer_b0 --device nano",
    ]
    measured = run_cli(*measure, "--builds", 2, "--format", "json")
    assert measured.returncode == 0, measured.stderr
    found = json.loads(measured.stdout)
    assert found["latency_ms"] == found["low_ms"] == found["high_ms"] == found["labels_ms"] == RECORDED_MS
    assert found["provenance"].startswith("measured: TensorRT 8.2.1, ")
    assert "(nano), fp16, MAXN, GPU clock 921.6 MHz locked, batch 1" in found["provenance"]
    assert found["state"]["builds_ms"] == [RECORDED_MS] * 2 and found["state"]["before"]["clock"]["current"] == 921.6
    assert take_turns(server.board) and len(server.board.steps()) == 2 * 2 * 2
    told = ["nano: logits, build 1 of 2", "nano: labels, build 1 of 2"]
    assert measured.stderr.splitlines() == [*told, *(line.replace("1 of", "2 of") for line in told)]

    server.stop()
    server.host_key = asyncssh.generate_private_key("ssh-ed25519")
    server.start()
    other = f"ssh-ed25519 {server.host_key.get_fingerprint()}"
    for command in (measure, ("latency", "trust", "nano", "--yes")):
        refused = run_cli(*command)
        assert refused.returncode == 2
        assert f"CHANGED: known is {shown}, shown is {other}. " in refused.stderr
        assert refused.stderr.endswith("`boostformer latency trust nano --replace`\n")
    replaced = run_cli("latency", "trust", "nano", "--yes", "--replace")
    assert replaced.returncode == 0 and f"CHANGED from {shown}" in replaced.stderr
    known = run_cli("latency", "trust", "nano")
    assert known.returncode == 0 and f"is known by {other} already" in known.stderr

    server.stop()
    gone = run_cli("latency", "trust", "nano")
    assert (gone.returncode, gone.stderr) == (1, "error: nano (127.0.0.1): Connection refused\n")


def test_a_table_is_filled_resumed_and_calibrated(board: BoardServer, tmp_path: Path, run_cli: Cli) -> None:
    Path("few.yaml").write_text(FEW)
    board.board.set("ms_per_mb", "100")
    profile = ("latency", "profile-space", "few.yaml", "--device", "nano-table")
    space = space_from_yaml(FEW, "few.yaml")
    networks = list(space)
    wanted = space_elements(space.slots, networks[0])
    with start(*profile) as process:
        read_until(process, f"{len(wanted)} elements, 0 known; measuring on 'nano': measured: TensorRT 8.2.1")
        read_until(process, "elements are left: about ")
        process.kill()
    file = tmp_path / "nano.jsonl"
    table = Table(TableFile(file), "nano-table")
    assert (provenance := table.file.provenance) is not None
    left = table.missing(wanted)
    assert 2 <= len(wanted) - len(left) < 10
    # All but two of the rest are made up, and some networks, as exporting them takes its time.
    for element in left[2:]:
        ms = {"frame": 0.15, "norm": 0.25}.get(element.kind, 0.5)
        table.file.add_element(element, Measured(Figure(ms, ms, ms), 9), "made up", table.code, provenance)
    for arch in networks[2:]:
        ms = 2.5 + 0.4 * sum(stage.depth for stage in arch.stages)
        table.file.add_network(arch, Measured(Figure(ms, ms, ms), 9), "made up", table.code, provenance)
    resumed = run_cli(*profile)
    assert resumed.returncode == 0, resumed.stderr
    assert f"{len(wanted)} elements, {len(wanted) - 2} known; " in resumed.stderr
    assert f"{len(wanted)} of {len(wanted)} elements of few.yaml" in resumed.stderr
    assert resumed.stderr.endswith("next:\n  boostformer latency calibrate --device nano-table\n")

    calibrated = run_cli("latency", "calibrate", "--device", "nano-table", "--networks", 6, "--format", "json")
    assert calibrated.returncode == 0, calibrated.stderr
    assert "next:" not in calibrated.stderr
    again = run_cli("latency", "calibrate", "--device", "nano-table", "--networks", 6)
    assert again.stderr.endswith("--out run.yaml   # then in run.yaml: latency: {device: nano-table}\n")
    assert "measuring 2 networks of few.yaml on 'nano': measured: TensorRT 8.2.1" in calibrated.stderr
    said = json.loads(calibrated.stdout)
    assert len(said["networks"]) == 6 and all(row["predicted_ms"] > 0 for row in said["networks"])
    assert 0 <= said["median_error"] < 0.5 and -1 <= said["spearman"] <= 1
    Path("few.json").write_text(networks[-1].to_json())
    estimated = run_cli("latency", "estimate", "few.json", "--device", "nano-table", "--format", "json")
    assert estimated.returncode == 0, estimated.stderr
    found = json.loads(estimated.stdout)
    assert found["provenance"] == said["provenance"]
    assert found["provenance"].startswith("predicted: table ")
    assert f" of {len(wanted)} elements and 6 networks by TensorRT 8.2.1, " in found["provenance"]
    assert 0 < found["low_ms"] <= found["latency_ms"] <= found["high_ms"] < math.inf
    assert found["labels_ms"] > found["latency_ms"]
    assert take_turns(board.board)


def test_a_search_waits_for_a_board_that_is_off_and_shares_it(board: BoardServer, tmp_path: Path, run_cli: Cli) -> None:
    Path("run.yaml").write_text(RUN)
    Path("space.yaml").write_text(FEW)
    command = ("search", "run.yaml", "--out", "out")
    with start(*command) as process:
        read_until(process, "latency  'nano': measured: TensorRT 8.2.1, ")
        board.stop()
        read_until(
            process, "device 'nano' cannot be reached (nano (127.0.0.1): Connection refused); trying again in 5 s"
        )
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=60) == 130
        assert process.stderr is not None
        last = process.stderr.read().splitlines()[-1]
    assert "0 networks finished" in last and "to resume: boostformer search run.yaml --out out" in last
    trials = read_run(tmp_path / "out").trials
    assert {trial.status for trial in trials} <= {Status.WAITING, Status.INTERRUPTED}
    waiting = [trial for trial in trials if trial.status is Status.WAITING]
    assert waiting and {trial.reason for trial in waiting} == {"nano (127.0.0.1): Connection refused"}
    scores = {trial.id: (trial.miou, trial.seconds) for trial in trials if trial.miou is not None}
    assert len(scores) == 2 and board.board.journal == []

    board.start()
    done = run_cli(*command, "--workers", 2)
    assert done.returncode == 0, done.stderr
    finished = [trial for trial in read_run(tmp_path / "out").trials if trial.is_finished]
    assert {trial.id: (trial.miou, trial.seconds) for trial in finished} == scores, "none is trained again"
    assert take_turns(board.board)
    shown = run_cli("pareto", "out", "--format", "json")
    members = json.loads(shown.stdout)
    assert (
        members and f"latency_ms: {members[0]['latency_provenance']} ({len(members)} of {len(members)})" in shown.stderr
    )
    for member in members:
        assert member["latency_provenance"] == member["final_provenance"] and member["latency_ms"] == RECORDED_MS
        assert member["final_provenance"].startswith("measured: TensorRT 8.2.1, ")
        assert member["final_latency_ms"] == member["final_labels_ms"] == RECORDED_MS
    # Each trial once, each finalist several times, to the logits and to the label map.
    assert board.board.steps().count("build") == 2 + BUILDS * 2 * len(members)
