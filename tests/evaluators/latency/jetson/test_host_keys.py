"""Host keys and logins: what is trusted, and all that is refused."""

from __future__ import annotations

import builtins
from pathlib import Path
from typing import Any

import asyncssh
import pytest
from board_server import BoardServer

from boostformer.errors import UserError
from evaluators.latency.devices import JetsonDevice
from evaluators.latency.jetson.host_keys import fetch_key, trust, trusted_keys
from evaluators.latency.jetson.ssh import Connection


def test_an_unknown_host_key_is_refused(server: BoardServer, tmp_path: Path) -> None:
    print_ = server.host_key.get_fingerprint()
    with pytest.raises(UserError, match="not known: `boostformer latency trust nano`") as caught:
        Connection("nano", server.device(), tmp_path).run("true", 20)
    assert f"ssh-ed25519 {print_}" in str(caught.value)
    assert server.commands == []


def test_a_changed_host_key_is_refused_until_it_is_replaced(server: BoardServer, tmp_path: Path) -> None:
    device = server.device()
    first = fetch_key("nano", device)
    assert first.fingerprint == server.host_key.get_fingerprint()
    assert "from now on" in trust("nano", device, tmp_path, first)
    assert "already" in trust("nano", device, tmp_path, first)
    server.stop()
    server.host_key = asyncssh.generate_private_key("ssh-ed25519")
    server.start()
    connection, second = Connection("nano", device, tmp_path), fetch_key("nano", device)
    with pytest.raises(UserError, match="CHANGED") as caught:
        connection.run("true", 20)
    assert first.fingerprint in str(caught.value)
    assert second.fingerprint in str(caught.value)
    with pytest.raises(UserError, match="CHANGED.*--replace"):
        trust("nano", device, tmp_path, second)
    assert [key.fingerprint for key in trusted_keys(device, tmp_path)] == [first.fingerprint]
    assert "CHANGED from ssh-ed25519" in trust("nano", device, tmp_path, second, replace=True)
    assert connection.run("echo yes", 20).output == "yes\n"
    connection.close()


def test_a_key_of_another_kind_is_a_changed_key(server: BoardServer, tmp_path: Path) -> None:
    device = server.device()
    trust("nano", device, tmp_path, fetch_key("nano", device))
    server.stop()
    server.host_key = asyncssh.generate_private_key("ecdsa-sha2-nistp256")
    server.start()
    with pytest.raises(UserError, match="CHANGED: known is ssh-ed25519 .* shown is ecdsa"):
        Connection("nano", device, tmp_path).run("true", 20)


def test_other_hosts_keys_stay(server: BoardServer, tmp_path: Path) -> None:
    file = tmp_path / "keys" / "hosts"
    file.parent.mkdir()
    device = server.device(known_hosts=Path("keys/hosts"))
    key = fetch_key("nano", device)
    file.write_text(f"# boards\nother ssh-ed25519 {key.key.get_base64()}\n")
    trust("nano", device, tmp_path, key)
    assert file.read_text().splitlines() == [
        "# boards",
        f"other ssh-ed25519 {key.key.get_base64()}",
        f"[127.0.0.1]:{server.port} ssh-ed25519 {key.key.get_base64()}",
    ]


@pytest.mark.parametrize("line", [b"[127.0.0.1]:1 ssh-ed25519 AAAAB\n", b"\xff\xfe"])
def test_a_spoilt_file_of_keys(server: BoardServer, tmp_path: Path, line: bytes) -> None:
    (tmp_path / "known_hosts").write_bytes(line)
    with pytest.raises(UserError, match="known_hosts: cannot be read"):
        Connection("nano", server.device(), tmp_path).run("true", 20)


def test_logins_that_are_refused(server: BoardServer, tmp_path: Path) -> None:
    trust("nano", server.device(), tmp_path, fetch_key("nano", server.device()))
    other = asyncssh.generate_private_key("ssh-ed25519")
    other.write_private_key(tmp_path / "other")
    other.write_private_key(tmp_path / "locked", passphrase="secret")
    (tmp_path / "text").write_text("no key")
    for key, message in {
        "other": "the login of anyone was refused: Authentication failed",
        "locked": "key: .*/locked has a passphrase",
        "text": "key: .*/text is no private key",
        "missing": "key: .*/missing: No such file",
    }.items():
        with pytest.raises(UserError, match=message):
            Connection("nano", server.device(key=Path(key)), tmp_path).run("true", 20)


def test_no_key_at_all(server: BoardServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    device = server.device(key=None)
    trust("nano", device, tmp_path, fetch_key("nano", device))
    with pytest.raises(UserError, match="the login of anyone was refused: No authentication methods"):
        Connection("nano", device, tmp_path).run("true", 20)


def test_without_paramiko(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def fake(name: str, *more: Any) -> Any:
        if name == "paramiko":
            raise ImportError
        return real(name, *more)

    monkeypatch.setattr(builtins, "__import__", fake)
    with pytest.raises(UserError, match=r"pip install 'boostformer\[jetson\]'"):
        Connection("nano", JetsonDevice(kind="jetson", address="x"), tmp_path).run("true", 20)
