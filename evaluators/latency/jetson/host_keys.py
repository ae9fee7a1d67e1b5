"""The keys by which boards are known: asking for them, storing them, refusing all others.

paramiko comes with the extra ``jetson`` and is imported where it is used.
"""

from __future__ import annotations

import contextlib
import logging
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from boostformer.errors import UserError
from boostformer.files import replacing
from evaluators.latency.backend import Unavailable
from evaluators.latency.jetson.settings import JetsonSettings

CONNECT_SECONDS = 20.0
"""Limit of each step of connecting."""
SILENT_SECONDS = 60
"""A connection whose packets are unanswered for so long is given up."""


@dataclass(frozen=True)
class HostKey:
    """The key by which a board is known."""

    kind: str
    fingerprint: str
    """The form that OpenSSH shows, ``SHA256:…``."""
    key: Any

    def __str__(self) -> str:
        return f"{self.kind} {self.fingerprint}"


def known_hosts(device: JetsonSettings, folder: Path) -> Path:
    """Locate the boards' keys, in OpenSSH's format; a relative file is beside ``devices.yaml``, in ``folder``."""
    return folder / (device.known_hosts or Path("known_hosts")).expanduser()


def fetch_key(name: str, device: JetsonSettings) -> HostKey:
    """Ask for the key that the board shows now, which proves nothing: somebody has to compare the fingerprint.

    Raises :class:`Unavailable`.
    """
    ssh = paramiko()
    try:
        with contextlib.closing(ssh.Transport(dial(device))) as transport:
            transport.banner_timeout = CONNECT_SECONDS
            transport.start_client(timeout=CONNECT_SECONDS)
            return _host_key(transport.get_remote_server_key())
    except (OSError, EOFError, ssh.SSHException) as error:
        raise Unavailable(f"{name} ({device.address}): {reason(error)}") from None


def trusted_keys(device: JetsonSettings, folder: Path) -> list[HostKey]:
    """Read the board's keys that are stored."""
    file = known_hosts(device, folder)
    stored = load_keys(paramiko().SSHClient(), file).lookup(_known_as(device)) if file.exists() else None
    return [_host_key(key) for key in stored.values()] if stored else []


def trust(name: str, device: JetsonSettings, folder: Path, found: HostKey, *, replace: bool = False) -> str:
    """Store a key as the board's, and say so in a line.

    Args:
        name: the device's.
        device: its settings.
        folder: where ``devices.yaml`` is.
        found: the key.
        replace: whether it may replace another that is stored, which else is a :class:`UserError`.
    """
    stored, file = trusted_keys(device, folder), known_hosts(device, folder)
    if any(key.key == found.key for key in stored):
        return f"{name} ({device.address}) is known by {found} already, in {file}"
    if stored and not replace:
        raise changed(name, device, stored[0].key, found.key)
    # Written by hand: paramiko's own lists write nothing back but what they understood.
    host = _known_as(device)
    lines = file.read_text().splitlines() if file.exists() else []
    kept = [line for line in lines if not _is_of(line, host)]
    with replacing(file, parents=True) as part:
        part.write_text("\n".join([*kept, f"{host} {found.kind} {found.key.get_base64()}"]) + "\n")
    was = f", which CHANGED from {', '.join(map(str, stored))}" if stored else ""
    return f"{name} ({device.address}) is known by {found} from now on{was}, in {file}"


def load_keys(client: Any, file: Path) -> Any:
    """Let paramiko's ``client`` know the keys of ``file``, and return them."""
    try:
        client.load_host_keys(str(file))
    except (OSError, ValueError, paramiko().hostkeys.InvalidHostKey) as error:
        raise UserError(f"{file}: cannot be read as a file of known hosts: {error}") from None
    return client.get_host_keys()


def refusal(name: str, device: JetsonSettings) -> Any:
    """Make paramiko's policy for an unknown key: refuse, and say what to do."""

    class Refusal(paramiko().RejectPolicy):  # type: ignore[misc]
        def missing_host_key(self, client: Any, hostname: str, key: Any) -> None:
            raise UserError(
                f"{name} ({device.address}) shows the host key {_host_key(key)}, which is not known: "
                f"`boostformer latency trust {name}`"
            )

    return Refusal()


def changed(name: str, device: JetsonSettings, stored: Any, shown: Any) -> UserError:
    """Word the refusal of another key than the stored one.

    Args:
        name: the device's.
        device: its settings.
        stored: paramiko's key that is known.
        shown: the one that the board shows.
    """
    return UserError(
        f"the host key of {name} ({device.address}) CHANGED: known is {_host_key(stored)}, shown is "
        f"{_host_key(shown)}. Somebody may stand in between; if the board was set up anew: "
        f"`boostformer latency trust {name} --replace`"
    )


def paramiko() -> Any:
    """Import the library; :class:`UserError` where it is not installed."""
    try:
        import paramiko as library
    except ImportError:
        raise UserError("a board over SSH needs paramiko: pip install 'boostformer[jetson]'") from None
    # Where nobody asked for logs its tracebacks would go to stderr; everything is in the exceptions.
    logging.getLogger("paramiko").addHandler(logging.NullHandler())
    return library


def dial(device: JetsonSettings) -> socket.socket:
    """Connect to the board's SSH port; OSError says why that cannot be."""
    try:
        connection = socket.create_connection((device.address, device.port), CONNECT_SECONDS)
    except UnicodeError:  # raised by the socket for a name that cannot be one
        raise OSError(f"'{device.address}' is not a host's name") from None
    # A board without power answers nothing: the kernel would wait a quarter of an hour.
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, SILENT_SECONDS * 1000)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def reason(error: BaseException) -> str:
    """Word an exception without its number."""
    return (getattr(error, "strerror", None) or str(error) or type(error).__name__).strip()


def _known_as(device: JetsonSettings) -> str:
    return device.address if device.port == 22 else f"[{device.address}]:{device.port}"


def _is_of(line: str, host: str) -> bool:
    """Tell whether a line of the file is the host's, by its name or by the name's hash."""
    hashed = paramiko().HostKeys.hash_host
    names = line.partition(" ")[0].split(",")
    return any(name == host or (name.startswith("|1|") and hashed(host, name) == name) for name in names)


def _host_key(key: Any) -> HostKey:
    return HostKey(key.get_name(), key.fingerprint, key)
