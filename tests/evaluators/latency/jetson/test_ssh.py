"""The shell over SSH against real servers: asyncssh in this process, and OpenSSH's where it is installed."""

from __future__ import annotations

import contextlib
import os
import socket
from functools import partial
from pathlib import Path

import pytest
from board_server import BoardServer, kill_session, processes_of, until

from boostformer.errors import UserError
from evaluators.latency.backend import Unavailable
from evaluators.latency.devices import JetsonDevice
from evaluators.latency.jetson import ssh
from evaluators.latency.jetson.host_keys import fetch_key, trust
from evaluators.latency.jetson.ssh import Connection

HOSTILE = ["a b", "it's", 'say "x"', "$(touch gone)", "`touch gone`", "two\nlines", "-rf", "*", "a;b&c|d>e", "ü\\n"]


def has_ended(file: Path) -> bool:
    """Whether the process whose number is in the file is gone."""
    return not Path("/proc", file.read_text().strip()).exists()


# --- commands -----------------------------------------------------------------------------------------------------


def test_both_outputs_come_together_with_the_code(shell: Connection) -> None:
    ran = shell.run("echo one; echo two >&2; echo three; exit 7", 20)
    assert (ran.code, ran.output) == (7, "one\ntwo\nthree\n")


@pytest.mark.parametrize("argument", HOSTILE)
def test_arguments_arrive_as_they_are(shell: Connection, server: BoardServer, argument: str) -> None:
    assert shell.run(["printf", "%s", argument], 20).output == argument
    assert not (server.board.home / "gone").exists()


def test_eight_megabytes_of_stderr(shell: Connection) -> None:
    ran = shell.run("yes stderr | head -c 8388608 >&2; echo done", 60)
    assert ran.code == 0
    assert len(ran.output) == 8388608 + len("done\n")


def test_of_an_endless_output_the_end_is_kept(shell: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ssh, "LARGEST_OUTPUT", 1000)
    ran = shell.run("yes | head -c 300000; printf end", 60)
    assert len(ran.output) <= 2000
    assert ran.output.endswith("end")


def test_a_time_out_ends_the_remote_job_with_its_children(shell: Connection, server: BoardServer) -> None:
    ran = shell.run("sh -c 'sleep 60; echo late' & sleep 60", 0.1)
    assert ran.code == 124
    until(lambda: processes_of(server.sessions[-1]) == [])


def test_a_lock_goes_with_its_job(shell: Connection, server: BoardServer) -> None:
    job = "exec 9> lock; flock 9; sleep 60 9>&- & timeout --foreground -k 5 60 sleep 60"
    assert shell.run(job, 0.2).code == 124
    assert shell.run("flock -w 10 -E 75 lock echo free", 20).output == "free\n"
    until(lambda: processes_of(server.sessions[0]) == [])


def test_a_job_that_does_not_listen_is_killed(
    shell: Connection, server: BoardServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ssh, "GRACE_SECONDS", 0.1)
    ran = shell.run("trap '' TERM; while :; do sleep 0.02; done", 0.1)
    assert ran.code == 137
    until(lambda: processes_of(server.sessions[-1]) == [])


def test_a_server_that_says_nothing_is_given_up(
    shell: Connection, server: BoardServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    shell.run("true", 20)
    monkeypatch.setattr(ssh, "MARGIN_SECONDS", 0.1)
    monkeypatch.setattr(ssh, "GRACE_SECONDS", 0.1)
    server.board.tool("timeout", "exec sleep 60")
    with pytest.raises(Unavailable, match=r"nano \(127.0.0.1\): no answer within 0.3 s"):
        shell.run("true", 0.1)
    kill_session(server.sessions[-1])


def test_the_connection_is_kept(shell: Connection, server: BoardServer) -> None:
    shell.run("true", 20)
    server.cut = "connect"
    assert shell.run("true", 20).code == 0 and server.cut == "connect", "no other connection was made"


# --- uploads ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["plain", *HOSTILE])
def test_uploads_arrive_whole_under_any_name(shell: Connection, server: BoardServer, name: str) -> None:
    content = os.urandom(300_000)
    shell.upload(content, f"some folder/{name}")
    folder = server.board.home / "some folder"
    assert [file.name for file in folder.iterdir()] == [name]
    assert (folder / name).read_bytes() == content


def test_a_file_that_is_there_is_not_sent_again(shell: Connection, server: BoardServer) -> None:
    shell.upload(b"graph", "folder/g.onnx")
    shell.upload(b"graph", "folder/g.onnx")
    assert sum("cat >" in command for command in server.commands) == 1
    (server.board.home / "folder/g.onnx").write_bytes(b"spoiled")
    shell.upload(b"graph", "folder/g.onnx")
    assert (server.board.home / "folder/g.onnx").read_bytes() == b"graph"


def test_a_full_disk_is_called_so_and_nothing_is_left(shell: Connection, server: BoardServer) -> None:
    # Writes a part, and then gets the kernel's own error.
    server.board.tool("cat", "head -c 65536; exec /bin/cat > /dev/full")
    with pytest.raises(Unavailable, match="the disk is full, folder/g.onnx was not written: .*No space left"):
        shell.upload(os.urandom(3_000_000), "folder/g.onnx")
    assert list((server.board.home / "folder").iterdir()) == []
    (server.board.tools / "cat").unlink()
    shell.upload(b"graph", "folder/g.onnx")


def test_a_limit_on_files_is_a_full_disk_too(shell: Connection, server: BoardServer) -> None:
    server.board.tool("cat", "trap '' XFSZ; ulimit -f 8; exec /bin/cat")
    with pytest.raises(Unavailable, match="the disk is full.*File too large"):
        shell.upload(os.urandom(3_000_000), "g.onnx")
    assert list(server.board.home.iterdir()) == []


def test_what_arrived_in_part_is_not_kept(shell: Connection, server: BoardServer) -> None:
    server.board.tool("cat", "head -c 1000")
    with pytest.raises(Unavailable, match="did not arrive whole"):
        shell.upload(os.urandom(3_000_000), "g.onnx")
    assert list(server.board.home.iterdir()) == []


def test_a_folder_that_cannot_be_is_the_users_matter(shell: Connection, server: BoardServer) -> None:
    (server.board.home / "file").touch()
    with pytest.raises(UserError, match="nano .*folder: file/g.onnx cannot be written on the board: mkdir"):
        shell.upload(b"graph", "file/g.onnx")


# --- lost connections ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", ["connect", "login", "upload"])
def test_a_cut_connection_is_unavailable_and_the_next_call_works(
    shell: Connection, server: BoardServer, step: str
) -> None:
    content = os.urandom(3_000_000)
    server.cut = step
    with pytest.raises(Unavailable, match=r"^nano \(127.0.0.1\): "):
        shell.upload(content, "g.onnx")
    shell.upload(content, "g.onnx")
    until(lambda: [file.name for file in server.board.home.iterdir()] == ["g.onnx"])


def test_a_board_that_is_off(shell: Connection, server: BoardServer) -> None:
    server.stop()
    with pytest.raises(Unavailable, match="refused"):
        shell.run("true", 20)
    server.start()
    assert shell.run("echo back", 20).output == "back\n"


def test_a_board_that_restarts_between_calls_is_not_noticed(shell: Connection, server: BoardServer) -> None:
    shell.run("true", 20)
    server.stop()
    server.start()
    assert shell.run("echo back", 20).output == "back\n"


def test_a_port_that_is_no_ssh_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        monkeypatch.setattr(ssh, "CONNECT_SECONDS", 0.2)
        device = JetsonDevice(kind="jetson", address="127.0.0.1", port=other.getsockname()[1])
        with pytest.raises(Unavailable):
            Connection("nano", device, tmp_path).run("true", 20)


@pytest.mark.parametrize("address", ["nobody.invalid", "ä..x"])
def test_a_name_that_nobody_has(tmp_path: Path, address: str) -> None:
    device = JetsonDevice(kind="jetson", address=address)
    with pytest.raises(Unavailable, match=rf"nano \({address}\): "):
        fetch_key("nano", device)


# --- OpenSSH ------------------------------------------------------------------------------------------------------


def test_openssh(sshd: JetsonDevice, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="not known"):
        Connection("nano", sshd, tmp_path).run("true", 20)
    trust("nano", sshd, tmp_path, fetch_key("nano", sshd))
    with contextlib.closing(Connection("nano", sshd, tmp_path)) as shell:
        ran = shell.run("echo one; echo two >&2; exit 7", 20)
        assert (ran.code, ran.output) == (7, "one\ntwo\n")
        assert shell.run(["printf", "[%s]", *HOSTILE], 20).output == "".join(f"[{item}]" for item in HOSTILE)
        shell.upload(b"graph", f"{tmp_path}/up/{HOSTILE[3]}")
        assert (tmp_path / "up" / HOSTILE[3]).read_bytes() == b"graph"
        assert len(shell.run("yes stderr | head -c 8388608 >&2", 60).output) == 8388608
        assert shell.run(f"echo $$ > {tmp_path}/job; sleep 60", 0.1).code == 124
        until(partial(has_ended, tmp_path / "job"))
