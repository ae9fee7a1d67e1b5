"""A stand-in for a board: an SSH server on loopback that really runs its commands, in a home folder of its own."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import stat
import sys
import threading
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import asyncssh

from evaluators.latency.devices import JetsonDevice

HERE = Path(__file__).parent
CLOCKS = "GPU MinFreq=921600000 MaxFreq=921600000 CurrentFreq=921600000\n"
LOAD = "RAM 2100/3964MB CPU [1%@1479,2%@1479] GR3D_FREQ 99%@921 cpu@42.5C GPU@41C PMIC@100C\n"
TOOLS = {
    "trtexec": f'exec {sys.executable} -I -S {HERE / "stand_in_trtexec.py"} "$@"',
    "nvpmodel": 'exec cat "$STAND_IN/nvpmodel"',
    "jetson_clocks": 'cd "$STAND_IN" && cat jetson_clocks && { mv jetson_clocks.next jetson_clocks 2> /dev/null; :; }',
    "tegrastats": 'cat "$STAND_IN/tegrastats"; exec sleep 30',
}
SECONDS = 30
"""How long the tests wait for what the server should do at once."""


def until(condition: Callable[[], bool]) -> None:
    """Wait for what is about to happen."""
    end = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


class Board:
    """A board's files: the home folder, the stand-ins for its tools, and what they answer."""

    def __init__(self, root: Path, version: str = "8201", log: str = "nano_trt8201_resnet18_fp32") -> None:
        self.home, self.tools, self.says = root / "home", root / "tools", root / "says"
        for folder in (self.home, self.tools, self.says):
            folder.mkdir()
        for name, body in TOOLS.items():
            self.tool(name, body)
        self.set("version", version)
        self.set("log", (HERE / "logs" / f"{log}.log").read_text())
        self.set("nvpmodel", "NV Power Mode: MAXN\n0\n")
        self.set("jetson_clocks", CLOCKS)
        self.set("tegrastats", LOAD)
        self.set("sys/class/hwmon/hwmon3/oc1_event_cnt", "2")
        self.set("sys/class/thermal/thermal_zone0/type", "GPU-therm")
        self.set("sys/class/thermal/thermal_zone0/temp", "41500")
        self.set("model", "NVIDIA Jetson Nano Developer Kit\0")

    def set(self, name: str, text: str) -> None:
        file = self.says / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def tool(self, name: str, body: str) -> None:
        file = self.tools / name
        file.write_text(f"#!/bin/sh\nexport STAND_IN='{self.says}'\n{body}\n")
        file.chmod(file.stat().st_mode | stat.S_IXUSR)

    def plan(self, *steps: str) -> None:
        """What trtexec is to do in its next steps; after them all goes well."""
        self.set("plan", "\n".join(steps))

    @property
    def journal(self) -> list[tuple[float, int, str]]:
        """Time, process, and what trtexec began or ended."""
        file = self.says / "journal"
        lines = [line.split(" ", 2) for line in file.read_text().splitlines()] if file.exists() else []
        return [(float(at), int(process), text) for at, process, text in lines]

    def steps(self) -> list[str]:
        """Which steps trtexec began: builds and runs."""
        return [text.split()[1] for _, _, text in self.journal if text.startswith("start")]

    @property
    def environment(self) -> dict[str, str]:
        path = f"{self.tools}:{os.environ['PATH']}"
        return {"PATH": path, "HOME": str(self.home)}


class BoardServer:
    """The server, in a thread of its own.

    ``cut`` names the step at which the next connection is cut; ``sessions`` are those of its commands so far.
    """

    def __init__(self, board: Board, root: Path) -> None:
        self.board, self.root = board, root
        self.cut: str | None = None
        self.commands: list[str] = []
        self.port = 0
        self.host_key = asyncssh.generate_private_key("ssh-ed25519")
        user_key = asyncssh.generate_private_key("ssh-ed25519")
        user_key.write_private_key(root / "id")
        (root / "id").chmod(0o600)
        self._authorized = asyncssh.import_authorized_keys(user_key.export_public_key().decode())
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._acceptor: Any = None
        self._connections: set[asyncssh.SSHServerConnection] = set()
        self.sessions: list[int] = []

    def device(self, **more: Any) -> JetsonDevice:
        """This server as an entry of ``devices.yaml``."""
        entries = {"address": "127.0.0.1", "port": self.port, "user": "anyone", "key": self.root / "id"}
        entries |= {"trtexec": str(self.board.tools / "trtexec"), "wait_seconds": 20, "build_seconds": 20}
        return JetsonDevice(kind="jetson", **(entries | more))

    def start(self) -> None:
        """Listen, after a stop on the same port."""
        self._do(self._listen())

    def stop(self) -> None:
        """Like a board that loses its power: everything on it ends, and so do the connections."""
        self._do(self._end())

    def close(self) -> None:
        self.stop()
        self._do(_finish())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(SECONDS)
        self._loop.close()

    def taken(self, step: str) -> bool:
        """Whether the connection is to be cut now; it is only once."""
        if self.cut != step:
            return False
        self.cut = None
        return True

    def _do(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(SECONDS)

    async def _listen(self) -> None:
        self._acceptor = await asyncssh.listen(
            "127.0.0.1",
            self.port,
            reuse_address=True,
            server_host_keys=[self.host_key],
            authorized_client_keys=self._authorized,
            server_factory=lambda: _Server(self, self._connections),
            process_factory=self._serve,
            encoding=None,
        )
        self.port = self._acceptor.get_port()

    async def _end(self) -> None:
        self._acceptor.close()
        for session in self.sessions:
            kill_session(session)
        for connection in list(self._connections):
            connection.abort()
        await self._acceptor.wait_closed()

    async def _serve(self, process: asyncssh.SSHServerProcess[bytes]) -> None:
        """Run the command as sshd does: by a shell, in the home folder, in a session of its own."""
        command = process.command or ""
        self.commands.append(command)
        connection = process.channel.get_connection()
        if "cat >" in command and self.taken("upload"):
            await process.stdin.read(1000)
            connection.abort()
            return
        shell = await asyncio.create_subprocess_exec(
            "/bin/sh",
            "-c",
            command,
            cwd=self.board.home,
            env=self.board.environment,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
        )
        assert shell.stdin is not None and shell.stdout is not None
        self.sessions.append(shell.pid)
        if "flock" in command and self.cut in ("run", "answer", "power"):
            await self._cut_run(connection, shell)
            return
        feeding = asyncio.create_task(_feed(process.stdin, shell.stdin))
        with contextlib.suppress(OSError):
            while chunk := await shell.stdout.read(2**16):
                process.stdout.write(chunk)
                await process.stdout.drain()
        code = await shell.wait()
        feeding.cancel()
        process.exit(code if code >= 0 else 255)

    async def _cut_run(self, connection: asyncssh.SSHServerConnection, shell: asyncio.subprocess.Process) -> None:
        """Cut while trtexec runs, or when all is done and nothing was answered; or the whole board goes."""
        step, self.cut = self.cut, None
        if step == "answer":
            await shell.communicate()
        else:
            assert shell.stdin is not None
            shell.stdin.close()
            while not self.board.journal:
                await asyncio.sleep(0.005)
        if step == "power":
            kill_session(shell.pid)
        connection.abort()


async def _finish() -> None:
    """Let what still runs come to its end, now that its processes are gone."""
    if tasks := asyncio.all_tasks() - {asyncio.current_task()}:
        _, late = await asyncio.wait(tasks, timeout=1)
        for task in late:
            task.cancel()


async def _feed(source: Any, sink: asyncio.StreamWriter) -> None:
    """Let the command read what the client sends; a connection that is cut is the end of it."""
    with contextlib.suppress(OSError, asyncssh.Error):
        while chunk := await source.read(2**16):
            sink.write(chunk)
            await sink.drain()
    sink.close()


def processes_of(session: int) -> list[int]:
    """The processes of a session: a command's, all it started included."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            state, _, _, its_session, *_ = (folder / "stat").read_text().rpartition(")")[2].split()
            if int(its_session) == session and state != "Z":
                found.append(int(folder.name))
    return found


def kill_session(session: int) -> None:
    for process in processes_of(session):
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)


class _Server(asyncssh.SSHServer):
    def __init__(self, server: BoardServer, connections: set[asyncssh.SSHServerConnection]) -> None:
        self._server, self._connections = server, connections

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self._connection = conn
        self._connections.add(conn)
        if self._server.taken("connect"):
            conn.abort()

    def begin_auth(self, username: str) -> bool:
        if self._server.taken("login"):
            self._connection.abort()
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        self._connections.discard(self._connection)
