"""Several local worker processes on one run, started and stopped together."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import SimpleQueue

from search.study.claim import DEATHS
from search.worker.accelerators import share, visible
from search.worker.progress import ConsoleReporter, relay
from search.worker.stopping import stop_after

PROGRAM = [sys.executable, "-P", "-m", "search.cli"]
"""Not from the folder it is called in, where the user may have a file named as one of our packages."""
KILLED = -signal.SIGKILL
"""How a process ends that the kernel killed for want of memory, or somebody outright."""


def cores() -> int:
    """Count the processors that this process is to use: the first of ``OMP_NUM_THREADS``, or all that it may."""
    first = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    return max(1, int(first)) if first.isdigit() else len(os.sched_getaffinity(0))


def default_workers(trials: int, *, is_disturbed: bool) -> int:
    """Choose the number of a search's workers on this machine, where the user does not.

    On CPUs it is one for each core, with one thread each: trainings of small networks gain little by a second thread,
    and threads that wait for each other lose much. It is one where a GPU trains, or where more workers would disturb
    what is measured on this machine.

    Args:
        trials: so many networks are tried in all; more workers have nothing to do.
        is_disturbed: whether milliseconds are measured on this machine.
    """
    return 1 if is_disturbed or visible() else max(1, min(cores(), trials))


@contextmanager
def threads_of_one_worker(count: int) -> Iterator[None]:
    """Use as many threads as each of ``count`` workers has, so that times measured here hold there."""
    import torch

    before = torch.get_num_threads()
    if count > 1:
        torch.set_num_threads(max(1, cores() // count))
    try:
        yield
    finally:
        torch.set_num_threads(before)


def run_workers(run_dir: Path, count: int, reporter: ConsoleReporter) -> int:
    """Run ``count`` workers on a run that is set up; return how many of them failed.

    They share this process's threads and CUDA devices. One that is killed is replaced, unless that does not help. On
    Ctrl-C each gives back its trial; when this process is killed, they notice and do the same.
    """
    lines: SimpleQueue[tuple[int, str | None]] = SimpleQueue()
    children: list[subprocess.Popen[str]] = []
    try:
        for number in range(count):
            children.append(_start(run_dir, number, count, lines))
        working, killed_in_vain = count, 0
        while working:
            number, line = lines.get()
            if line is not None:
                concluded = reporter.concluded
                relay(line, reporter)
                if reporter.concluded > concluded:
                    killed_in_vain = 0
            elif children[number].wait() == KILLED and killed_in_vain < DEATHS * count:
                killed_in_vain += 1
                reporter.says(f"worker {number + 1} was killed, perhaps for want of memory: another takes its place")
                children[number] = _start(run_dir, number, count, lines)
            else:
                working -= 1
    except BaseException:
        for child in children:
            assert child.stdin is not None
            child.stdin.close()  # a signal would be lost on one that is still starting
        raise
    finally:
        failed = sum(child.wait() != 0 for child in children)
    return failed


def _start(run_dir: Path, number: int, count: int, lines: SimpleQueue[tuple[int, str | None]]) -> subprocess.Popen[str]:
    """Start a worker.

    Args:
        run_dir: the run's folder.
        number: the worker's number, from 0.
        count: how many workers share the threads.
        lines: receives the number with each line of output, and with None when the worker ends.
    """
    threads = {"OMP_NUM_THREADS": str(max(1, cores() // count))}
    # A session of its own: a Ctrl-C of the terminal must not reach it twice.
    child = subprocess.Popen(  # noqa: S603  this program, without a shell
        [*PROGRAM, "worker", str(run_dir), "--child"],
        env=os.environ | threads | share(number),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )

    def forward() -> None:
        assert child.stdout is not None
        for line in child.stdout:
            lines.put((number, line))
        lines.put((number, None))

    threading.Thread(target=forward, daemon=True).start()
    return child


def stop_with_parent() -> None:
    """Send Ctrl-C to this child process as soon as its standard input closes: its parent stops it so, or has died."""
    for number in (signal.SIGTERM, signal.SIGHUP):  # sent to all processes of a job: once is enough, by the parent
        signal.signal(number, signal.SIG_IGN)
    stop_after(lambda: os.read(0, 1))  # nothing is ever written
