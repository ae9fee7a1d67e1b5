"""Several local worker processes on one run, started and stopped together."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from queue import SimpleQueue

from search.progress import ConsoleReporter, relay


def run_workers(run_dir: Path, count: int, reporter: ConsoleReporter) -> int:
    """Runs ``count`` workers on a run that is set up; returns how many of them failed.

    They divide the threads of this process among them. On Ctrl-C each gives back its trial; should this
    process be killed, they notice and do the same.
    """
    cores = int(os.environ.get("OMP_NUM_THREADS") or len(os.sched_getaffinity(0)))
    environment = os.environ | {"OMP_NUM_THREADS": str(max(1, cores // count))}
    command = [sys.executable, "-m", "search.cli", "worker", str(run_dir), "--child"]
    lines: SimpleQueue[str | None] = SimpleQueue()

    def forward(child: subprocess.Popen[str]) -> None:
        assert child.stdout is not None
        for line in child.stdout:
            lines.put(line)
        lines.put(None)

    children: list[subprocess.Popen[str]] = []
    try:
        for _ in range(count):
            # A session of its own: a Ctrl-C of the terminal must not reach it twice.
            child = subprocess.Popen(
                command,
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                start_new_session=True,
            )
            children.append(child)
            threading.Thread(target=forward, args=(child,), daemon=True).start()
        ended = 0
        while ended < count:
            line = lines.get()
            if line is None:
                ended += 1
            else:
                relay(line, reporter)
    except BaseException:
        for child in children:
            child.send_signal(signal.SIGINT)
        raise
    finally:
        failed = sum(child.wait() != 0 for child in children)
    return failed


def stop_with_parent() -> None:
    """In a child: Ctrl-C to itself as soon as its standard input closes, which it does when the parent dies."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job would ignore it

    def watch() -> None:
        os.read(0, 1)  # nothing is ever written
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=watch, daemon=True).start()
