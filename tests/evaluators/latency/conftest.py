"""A stand-in board for the tests of the SSH shell and of the Jetson meter."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from board_server import Board, BoardServer

from evaluators.latency.devices import JetsonDevice
from evaluators.latency.jetson import board
from evaluators.latency.jetson.host_keys import fetch_key, trust
from evaluators.latency.jetson.meter import JetsonMeter
from evaluators.latency.jetson.ssh import Connection

SSHD = "/usr/sbin/sshd"


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[BoardServer]:
    """A board's SSH server that runs; nobody has trusted its key yet."""
    server = BoardServer(Board(tmp_path), tmp_path)
    monkeypatch.setattr(board, "SYSTEM", str(server.board.says / "sys"))
    monkeypatch.setattr(board, "MODEL", str(server.board.says / "model"))
    server.start()
    yield server
    server.close()


@pytest.fixture
def shell(server: BoardServer, tmp_path: Path) -> Iterator[Connection]:
    """A shell on the board, whose key is trusted."""
    device = server.device()
    trust("nano", device, tmp_path, fetch_key("nano", device))
    connection = Connection("nano", device, tmp_path)
    yield connection
    connection.close()


@pytest.fixture
def meters(server: BoardServer, tmp_path: Path) -> Iterator[Callable[..., JetsonMeter]]:
    """Makes meters for the board, with changes to the device's entry."""
    made = []
    trust("nano", server.device(), tmp_path, fetch_key("nano", server.device()))

    def make(**more: Any) -> JetsonMeter:
        made.append(JetsonMeter("nano", server.device(**more), tmp_path))
        return made[-1]

    yield make
    for meter in made:
        meter.close()


@pytest.fixture
def sshd(tmp_path: Path) -> Iterator[JetsonDevice]:
    """OpenSSH's own server on loopback, for this user."""
    if shutil.which(SSHD) is None or shutil.which("ssh-keygen") is None:
        pytest.skip(f"no {SSHD} here (OpenSSH's server)")
    if os.getuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)
    for name in ("host", "id"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / name], check=True)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    (tmp_path / "sshd_config").write_text(
        f"ListenAddress 127.0.0.1:{port}\nHostKey {tmp_path}/host\nAuthorizedKeysFile {tmp_path}/id.pub\n"
        "PidFile none\nStrictModes no\nUsePAM no\nPasswordAuthentication no\nPermitRootLogin prohibit-password\n"
    )
    daemon = subprocess.Popen([SSHD, "-D", "-e", "-f", tmp_path / "sshd_config"], stderr=subprocess.PIPE, text=True)
    assert daemon.stderr is not None
    first = daemon.stderr.readline()
    if "listening" not in first:
        pytest.skip(f"OpenSSH's server does not run here: {first.strip()}")
    yield JetsonDevice(kind="jetson", address="127.0.0.1", port=port, key=tmp_path / "id")
    daemon.terminate()
    daemon.communicate()
