"""`deploy`: to a board that is made up but computes, and back home."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from evaluators.latency.devices import read_devices
from evaluators.latency.jetson.host_keys import fetch_key, trust
from evaluators.latency.jetson.ssh import Connection
from search.cli.deploy import to_the_board

# The stand-in for a board is that of the backend's own tests.
sys.path.append(str(Path(__file__).resolve().parents[2] / "evaluators" / "latency"))
from board_server import Board, BoardServer  # noqa: E402

Cli = Callable[..., "subprocess.CompletedProcess[str]"]
ENTRY = """\
nano: {{kind: jetson, address: 127.0.0.1, port: {port}, user: me, key: id, trtexec: {trtexec}, wait_seconds: 60,
  build_seconds: 60}}
"""


@pytest.fixture
def board(tmp_path: Path) -> Iterator[BoardServer]:
    """A trusted board, described in the folder in which commands are run."""
    (tmp_path / "board").mkdir()
    server = BoardServer(Board(tmp_path / "board"), tmp_path)
    server.start()
    (tmp_path / "devices.yaml").write_text(ENTRY.format(port=server.port, trtexec=server.board.tools / "trtexec"))
    trust("nano", server.device(), tmp_path, fetch_key("nano", server.device()))
    yield server
    server.close()


def left(board: BoardServer) -> set[str]:
    """Endings of the files on the board."""
    return {file.suffix for file in (board.board.home / "boostformer-latency").iterdir()}


def test_a_network_is_deployed(board: BoardServer, trained: Path, run_cli: Cli, tmp_path: Path) -> None:
    options = ("--device", "nano", "--out", "out", "--data", trained / "data", "--images", 2, "--format", "json")
    done = run_cli("deploy", trained / "net", *options, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report == json.loads((tmp_path / "out" / "net.json").read_text())
    assert (report["latency_ms"], report["tensorrt"], report["opset"]) == (90.0183, "8.2.1", 13)
    assert (report["power_mode"], report["clock"]) == ("MAXN", "GPU clock 921.6 MHz locked")
    assert report["images"] == 2 and report["same_pixels"] >= 0.999
    assert report["miou_engine"] == pytest.approx(report["miou_onnx"], abs=1e-3)
    assert report["miou_onnx"] > 0
    assert board.board.steps() == ["build", "run", "image", "image"]
    assert left(board) == {"", ".cache"}
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == [
        "net.engine",
        "net.json",
        "net.manifest.json",
        "net.md",
        "net.onnx",
    ]
    assert "next:" not in done.stderr
    engine = (tmp_path / "out" / "net.engine").read_bytes()
    assert engine.partition(b"\n")[2] == (tmp_path / "out" / "net.onnx").read_bytes()
    assert "| power mode | MAXN |" in (tmp_path / "out" / "net.md").read_text()


def test_what_comes_next_brings_the_engine_back_to_the_board(tmp_path: Path) -> None:
    (tmp_path / "devices.yaml").write_text(
        "near: {kind: jetson, address: nano.local}\n"
        "far: {kind: jetson, address: 'fe80::1', port: 2222, user: me, key: my id}\n"
    )
    known = read_devices(tmp_path / "devices.yaml")
    near, far = (to_the_board(known[name], Path("my net/net.engine")) for name in ("near", "far"))
    assert near == "scp 'my net/net.engine' nano.local:"
    assert shlex.split(far) == ["scp", "-P", "2222", "-i", f"{tmp_path}/my id", "my net/net.engine", "me@[fe80::1]:"]


def test_a_failure_there_is_a_line_and_leaves_nothing(
    board: BoardServer, trained: Path, run_cli: Cli, tmp_path: Path
) -> None:
    board.board.plan("ok", "ok", "ok", "fail")
    done = run_cli("deploy", trained / "net", "--device", "nano", "--out", "out", "--images", 2, cwd=tmp_path)
    assert done.returncode == 1
    assert "trtexec could not run it on an image" in done.stderr.splitlines()[-1]
    assert left(board) == {"", ".cache"} and not (tmp_path / "out" / "net.json").exists()


def test_a_stop_leaves_nothing(
    board: BoardServer, trained: Path, run_cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C while the second image is on its way."""
    upload, sent = Connection.upload, list[str]()

    def stopped(self: Connection, content: bytes, path: str) -> None:
        upload(self, content, path)
        sent.append(path)
        if sum(name.endswith(".bin") for name in sent) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(Connection, "upload", stopped)
    done = run_cli("deploy", trained / "net", "--device", "nano", "--out", "out", cwd=tmp_path)
    assert done.returncode == 130 and left(board) == {"", ".cache"}
    assert not (tmp_path / "out" / "net.engine").exists()


def test_what_is_no_board_is_refused(trained: Path, run_cli: Cli, tmp_path: Path) -> None:
    done = run_cli("deploy", trained / "net", "--device", "host", "--out", tmp_path / "out")
    assert done.returncode == 2 and "'host' is a device of kind host" in done.stderr
