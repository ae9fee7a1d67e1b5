"""A PostgreSQL server in a temporary folder that only this machine can reach, for benchmarks and tests.

It needs the server's programs: those of the system, or of the package ``pgserver``.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType

USER, NOBODY = "postgres", 65534
OPTIONS = "-c listen_addresses="
RELOADED_WITHIN = 60.0
"""Seconds."""


def programs() -> Path | None:
    """The folder of ``initdb`` and ``pg_ctl``; None when there is none on this machine."""
    on_path = shutil.which("initdb")
    folders = [Path(on_path).resolve().parent] if on_path else []
    folders += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    if spec := importlib.util.find_spec("pgserver"):
        folders += [Path(place) / "pginstall" / "bin" for place in spec.submodule_search_locations or ()]
    return next((folder for folder in folders if all((folder / name).exists() for name in ("initdb", "pg_ctl"))), None)


class Server:
    """A running server; a context manager, which removes all of it. ``url`` is the address of its database."""

    def __enter__(self) -> Server:
        found = programs()
        if found is None:
            raise RuntimeError("no PostgreSQL server on this machine: install it, or pip install pgserver")
        self._programs = found
        self.folder = Path(tempfile.mkdtemp(prefix="postgresql-"))
        if os.geteuid() == 0:  # as which it refuses to run
            os.chown(self.folder, NOBODY, NOBODY)
        self.url = f"postgresql://{USER}@/postgres?host={self.folder}"
        self._data = self.folder / "data"
        try:
            self._run("initdb", "-D", self._data, "-U", USER, "-A", "trust", "--no-sync", "-E", "UTF8")
            self.start()
        except BaseException:
            shutil.rmtree(self.folder)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.runs():
            self.stop("immediate")
        shutil.rmtree(self.folder)

    def start(self) -> None:
        log, options = self.folder / "log", f"{OPTIONS} -k {self.folder}"
        self._run("pg_ctl", "-D", self._data, "-l", log, "-o", options, "-w", "start")

    def stop(self, mode: str = "fast") -> None:
        """``fast`` ends all sessions in good order, ``immediate`` as a crash would."""
        self._run("pg_ctl", "-D", self._data, "-m", mode, "-w", "stop")

    def runs(self) -> bool:
        return (self._data / "postmaster.pid").exists()

    def kill(self) -> None:
        """Ends the server as a power failure would."""
        os.kill(int((self._data / "postmaster.pid").read_text().split()[0]), signal.SIGQUIT)

    def take_writes(self, does: bool) -> None:
        """Have all sessions take writes, or refuse them as those of a stand-by do, from their next transaction on."""
        read_only = "off" if does else "on"
        self.sql(f"ALTER SYSTEM SET default_transaction_read_only = {read_only}")
        self.sql("SELECT pg_reload_conf()")
        # A busy server reloads later. A new session that knows shows that the others have been told, too.
        until = time.monotonic() + RELOADED_WITHIN
        while self.sql("SHOW default_transaction_read_only") != read_only:
            if time.monotonic() > until:
                raise RuntimeError(f"the server does not turn default_transaction_read_only {read_only}")

    def sql(self, statement: str) -> str:
        """What ``psql`` answers."""
        return self._run("psql", "-h", self.folder, "-U", USER, "-At", "-c", statement)

    def _run(self, program: str, *arguments: object) -> str:
        other = {"user": NOBODY, "group": NOBODY, "extra_groups": []} if os.geteuid() == 0 else {}
        path = self._programs / program
        command = [str(path if path.exists() else program), *map(str, arguments)]
        # A file, not a pipe: the server inherits it and would keep a pipe open for ever.
        with tempfile.TemporaryFile() as output:
            done = subprocess.run(
                command, cwd=self.folder, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, **other
            )
            output.seek(0)
            said = output.read().decode()
        if done.returncode:
            raise RuntimeError(f"{program}: {said}")
        return said.strip()
