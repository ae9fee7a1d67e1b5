"""A shell on a board over SSH: commands and uploads that end in time, whatever happens.

Nothing of ours is installed on the board: it needs `sh`, coreutils and an SSH server.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import secrets
import shlex
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from boostformer.errors import UserError
from evaluators.latency.backend import Unavailable
from evaluators.latency.jetson.host_keys import (
    CONNECT_SECONDS,
    changed,
    dial,
    known_hosts,
    load_keys,
    paramiko,
    reason,
    refusal,
)
from evaluators.latency.jetson.settings import JetsonSettings

KEEPALIVE_SECONDS = 10
GRACE_SECONDS = 5
"""Time between the signal that asks a command to end and the one that makes it."""
MARGIN_SECONDS = 20.0
"""Time that this side waits for a command longer than the board itself."""
UPLOAD_SECONDS = 300.0
LARGEST_OUTPUT = 16 * 2**20
"""Bytes: only the end of a longer output is kept."""
LONGEST_LINE = 4096
"""Characters: only the beginning of a longer line is kept."""
STOP = "stop"
TIMED_OUT = (124, 137)
"""Exit codes of `timeout` when the command took too long: it ended when asked, or had to be killed."""
_CHUNK = 2**16
_PART = 8 * 2**20
_FULL = ("No space left on device", "Disk quota exceeded", "File too large")

_DIFFERS = 65
_IS_THERE = """
found=$(sha256sum < "$path" 2>/dev/null) && [ "${found%% *}" = "$digest" ] && touch -c -- "$path"
"""
_WRITE = f"""
trap 'rm -f -- "$part"' EXIT
trap 'exit 143' TERM HUP INT
case $path in */*) mkdir -p -- "${{path%/*}}" || exit 1 ;; esac
cat > "$part" || exit 1
found=$(sha256sum < "$part")
[ "${{found%% *}}" = "$digest" ] || exit {_DIFFERS}
mv -f -- "$part" "$path"
"""


@dataclass(frozen=True)
class Ran:
    """A command's exit code, and what it printed on both its outputs."""

    code: int
    output: str


class Connection:
    """A connection to a board, made when first used, and again after it was lost.

    What the user has to mend, a key or the login, is a :class:`UserError`; everything that may pass, a board that is
    off, restarts or drops the connection, is :class:`Unavailable`. Not for several threads at once.
    """

    def __init__(self, name: str, device: JetsonSettings, folder: Path) -> None:
        """Describe the board: ``name`` and ``device`` are those of ``devices.yaml``, which lies in ``folder``."""
        self.name, self.device, self.folder = name, device, folder
        self._client: Any = None

    def run(self, command: Sequence[str] | str, seconds: float, stdin: bytes = b"", *, listens: bool = False) -> Ran:
        """Run a command in the home folder, and wait until it has ended.

        Args:
            command: arguments, which arrive as they are, whatever they hold; or a script for `sh`.
            seconds: after which the board itself ends it, its children too; the exit code is then one of
                :data:`TIMED_OUT`.
            stdin: what the command reads.
            listens: whether the script ends at the line :data:`STOP`, which it is sent on Ctrl-C. It would go on
                alone, since a connection that is cut must not end what is nearly done.
        """
        script = command if isinstance(command, str) else shlex.join(command)
        limited = f"timeout -k {GRACE_SECONDS} {seconds:.3f} sh -c {shlex.quote(script)} 2>&1"
        # Whatever shell the user has there, it is only asked to start sh; which stays, so that a code always comes.
        line = f"sh -c {shlex.quote(limited + '; exit $?')}"
        with self._reached(), contextlib.closing(self._channel()) as channel:
            with self._hanging_up_after(seconds + GRACE_SECONDS + MARGIN_SECONDS):
                channel.exec_command(line)
                try:
                    _send(channel, stdin, last=not listens)
                    output = _receive(channel)
                    code = channel.recv_exit_status()
                except KeyboardInterrupt:
                    if listens:
                        _stop(channel)
                    raise
            if code < 0:
                raise EOFError("the connection was lost before the command ended")
        return Ran(code, clipped(output.decode(errors="replace")))

    def upload(self, content: bytes, path: str) -> None:
        """Write ``path``, relative to the home folder, whole or not at all; a file that holds it already is kept.

        Raises :class:`Unavailable` also for a full disk, :class:`UserError` where nothing may be written.
        """
        digest = hashlib.sha256(content).hexdigest()
        names = f"path={shlex.quote(path)}; part=$path.{secrets.token_hex(4)}.part; digest={digest}\n"
        if self.run(names + _IS_THERE, UPLOAD_SECONDS).code == 0:
            return
        ran = self.run(names + _WRITE, UPLOAD_SECONDS, stdin=content)
        if ran.code == 0:
            return
        full = [line for line in ran.output.splitlines() if any(mark in line for mark in _FULL)]
        if full:
            raise Unavailable(f"{self._who}: the disk is full, {path} was not written: {full[0]}")
        if ran.code in TIMED_OUT:
            raise Unavailable(f"{self._who}: {path} was not written within {UPLOAD_SECONDS:g} s")
        if ran.code == _DIFFERS:
            raise Unavailable(f"{self._who}: {path} did not arrive whole")
        raise UserError(f"{self._who}: folder: {path} cannot be written on the board: {ran.output.strip()}")

    def download(self, path: str) -> bytes:
        """Read the file ``path``, relative to the home folder, whole; :class:`Unavailable` where that fails."""
        asked = self.run(f"wc -c < {shlex.quote(path)} && sha256sum < {shlex.quote(path)}", UPLOAD_SECONDS)
        size, _, digest = asked.output.partition("\n")
        if asked.code != 0 or not size.strip().isdigit():
            raise Unavailable(f"{self._who}: {path} cannot be read on the board: {asked.output.strip()}")
        content = bytearray()
        while len(content) < int(size):
            part = f"tail -c +{len(content) + 1} {shlex.quote(path)} | head -c {_PART} | base64 -w 1000"
            ran = self.run(part, UPLOAD_SECONDS)
            try:
                found = base64.b64decode(ran.output) if ran.code == 0 else b""
            except ValueError:
                found = b""
            if not found:
                break
            content += found
        if hashlib.sha256(content).hexdigest() != digest.split(" ")[0]:
            raise Unavailable(f"{self._who}: {path} did not arrive whole")
        return bytes(content)

    def close(self) -> None:
        """Hang up; the next use connects anew."""
        client, self._client = self._client, None
        if client is not None:
            client.close()

    @property
    def _who(self) -> str:
        return f"{self.name} ({self.device.address})"

    @contextlib.contextmanager
    def _reached(self) -> Iterator[None]:
        """Raise Unavailable for what goes wrong with the connection, which is not used again."""
        try:
            yield
        except (OSError, EOFError, paramiko().SSHException) as error:
            self.close()
            raise Unavailable(f"{self._who}: {reason(error)}") from None

    @contextlib.contextmanager
    def _hanging_up_after(self, seconds: float) -> Iterator[None]:
        """Close the connection after ``seconds``: it ends all waits of paramiko's, not all of which can be limited."""
        late = threading.Event()

        def hang_up() -> None:
            late.set()
            self._client.close()

        timer = threading.Timer(seconds, hang_up)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()
            if late.is_set():
                raise TimeoutError(f"no answer within {seconds:g} s") from None

    def _channel(self) -> Any:
        """Open a channel, on a new connection where the idle one no longer gives any, as after a restart."""
        if self._client is not None:
            with contextlib.suppress(OSError, EOFError, paramiko().SSHException):
                return self._client.get_transport().open_session(timeout=CONNECT_SECONDS)
            self.close()
        self._client = self._connect()
        return self._client.get_transport().open_session(timeout=CONNECT_SECONDS)

    def _connect(self) -> Any:
        key = self._private_key()
        client = paramiko().SSHClient()
        client.set_missing_host_key_policy(refusal(self.name, self.device))
        known = known_hosts(self.device, self.folder)
        if known.exists():
            load_keys(client, known)
        with contextlib.ExitStack() as on_failure:
            on_failure.callback(client.close)
            self._log_in(client, key)
            on_failure.pop_all()
        client.get_transport().set_keepalive(KEEPALIVE_SECONDS)
        return client

    def _log_in(self, client: Any, key: Any) -> None:
        device = self.device
        try:
            client.connect(
                device.address,
                device.port,
                username=device.user,
                pkey=key,
                look_for_keys=key is None,
                allow_agent=key is None,
                sock=dial(device),
                timeout=CONNECT_SECONDS,
                banner_timeout=CONNECT_SECONDS,
                auth_timeout=CONNECT_SECONDS,
            )
        except paramiko().BadHostKeyException as error:
            raise changed(self.name, device, error.expected_key, error.key) from None
        except paramiko().SSHException as error:
            if _may_pass(error):
                raise
            user = "" if device.user is None else f" of {device.user}"
            raise UserError(
                f"{self._who}: the login{user} was refused: {reason(error)}; put a key that the board accepts into "
                "the agent, or name it as `key`"
            ) from None

    def _private_key(self) -> Any:
        if self.device.key is None:
            return None
        ssh = paramiko()
        file = self.folder / self.device.key.expanduser()
        try:
            return ssh.PKey.from_path(file)
        except OSError as error:
            raise UserError(f"{self.name}: key: {file}: {error.strerror}") from None
        except (ssh.PasswordRequiredException, TypeError):
            raise UserError(
                f"{self.name}: key: {file} has a passphrase: put it into the agent and leave `key` out"
            ) from None
        except (ssh.SSHException, ValueError, ssh.pkey.UnknownKeyType):
            raise UserError(f"{self.name}: key: {file} is no private key") from None


def clipped(output: str) -> str:
    """Cut what a board prints to lines that can be read in time; what is looked for stands at their beginnings."""
    return "\n".join(line[:LONGEST_LINE] for line in output.split("\n"))


def _may_pass(error: Exception) -> bool:
    """Tell whether it is the connection that failed, not the login; paramiko differs by its wording alone."""
    said = str(error)
    if isinstance(error, paramiko().AuthenticationException):
        return "EOF" in said or "timeout" in said
    return "No authentication methods available" not in said


def _send(channel: Any, content: bytes, *, last: bool = True) -> None:
    """Send all, or as much as the command reads before it ends: why it did is in its output."""
    view = memoryview(content)
    with contextlib.suppress(OSError, EOFError):
        while view:
            view = view[channel.send(view[:_CHUNK]) :]
        if last:
            channel.shutdown_write()


def _stop(channel: Any) -> None:
    """Tell a command that listens to end, and wait a little until it has."""
    channel.settimeout(2 * GRACE_SECONDS)
    _send(channel, f"{STOP}\n".encode())
    with contextlib.suppress(OSError, EOFError):
        _receive(channel)


def _receive(channel: Any) -> bytearray:
    output = bytearray()
    while chunk := channel.recv(_CHUNK):
        output += chunk
        if len(output) > 2 * LARGEST_OUTPUT:
            del output[:-LARGEST_OUTPUT]
    return output
