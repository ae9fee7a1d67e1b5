"""An experiment of NNI from its start to its end, on chosen addresses alone, and what becomes of its workers."""

from __future__ import annotations

import os
import socket
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from boostformer.errors import UserError
from search.worker.launchers.nni.service import LOOPBACK

PAUSE = 1.0
"""Seconds between two looks at the experiment."""
LISTEN_VARIABLE = "BOOSTFORMER_NNI_LISTEN"
_GUARD = Path(__file__).with_name("listen.js")
_STATES = {"RUNNING": "started", "SUCCEEDED": "ended", "FAILED": "failed"}
_STATES |= dict.fromkeys(("USER_CANCELED", "SYS_CANCELED", "EARLY_STOPPED"), "was stopped or killed")


def require_nni() -> None:
    """:class:`UserError` where NNI is not installed."""
    try:
        from nni.runtime.log import silence_stdout
    except ImportError:
        raise UserError("launching needs NNI: pip install -c constraints.txt -e '.[nni]'") from None
    silence_stdout()


@dataclass(frozen=True)
class Experiment:
    """A running experiment of NNI at ``port``. What asks it raises :class:`UserError` when it is no longer there."""

    handle: Any
    port: int
    log: Path

    def is_done(self) -> bool:
        """Whether all workers have ended."""
        status = self._ask(self.handle.get_status)
        if status in ("ERROR", "STOPPING", "STOPPED"):
            raise self.over()
        return bool(status == "DONE")

    def workers(self) -> dict[int, str]:
        """What each worker does, by its number: "started", "ended", "failed" or "was stopped or killed"."""
        jobs = self._ask(self.handle.list_trial_jobs)
        return {_number(job): _STATES[job.status] for job in jobs if job.status in _STATES}

    def last_words(self, number: int) -> str:
        """The last line that a worker wrote to its stderr."""
        jobs = self._ask(self.handle.list_trial_jobs)
        job = next(job for job in jobs if _number(job) == number)
        address = f"http://{LOOPBACK}:{self.port}/api/v1/nni/trial-file/{job.trialJobId}/stderr"
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with direct.open(address, timeout=20) as answer:
                return _last_line(answer.read().decode(errors="replace")) or f"it said nothing; see {self.log.parent}"
        except OSError as error:
            return f"its output cannot be had ({error})"

    def over(self) -> UserError:
        """Why NNI gave up, as its log says."""
        text = self.log.read_text(encoding="utf-8", errors="replace") if self.log.exists() else ""
        errors = [line for line in text.splitlines() if "] ERROR (" in line or "] CRITICAL (" in line]
        said = errors[-1].partition(") ")[2] if errors else "it did not say why"
        return UserError(f"NNI gave up: {' '.join(said.split())}; its log: {self.log}")

    def _ask(self, question: Callable[[], Any]) -> Any:
        try:
            return question()
        except OSError:  # what requests raises is one
            raise self.over() from None


@contextmanager
def running(config: Any, port: int, addresses: Sequence[str], **environment: str) -> Iterator[Experiment]:
    """The experiment of ``config`` while it runs; when the block ends, it and its workers are stopped.

    Its servers listen at ``addresses`` alone, and they are looked at before the block begins. ``environment`` is
    added to that of the workers on this machine. :class:`UserError` when the port is taken or NNI does not start.
    """
    from nni.experiment import Experiment as Handle
    from nni.experiment import RunMode

    _refuse_taken(port, addresses)
    handle = Handle(config)
    folder = Path(config.experiment_working_directory) / handle.id
    experiment = Experiment(handle, port, folder / "log" / "nnimanager.log")
    # NNI asks itself by HTTP, which is no business of a proxy.
    direct = ",".join(filter(None, [os.environ.get("no_proxy"), "localhost", LOOPBACK]))
    guard = f'--require "{str(_GUARD).replace(chr(92), chr(92) * 2)}"'
    variables = {"NODE_OPTIONS": guard, LISTEN_VARIABLE: ",".join(addresses), "no_proxy": direct, "NO_PROXY": direct}
    try:
        try:
            with _environment(variables | environment):
                handle.start(port, run_mode=RunMode.Detach)  # its output goes to files; stopping it is ours
        except RuntimeError as error:
            raise UserError(f"NNI did not start: {error}") from None
        except OSError:  # what requests raises is one
            raise experiment.over() from None
        _refuse_open(addresses)
        yield experiment
    finally:
        handle.stop()


def follow(experiment: Experiment, say: Callable[[str], None], look: Callable[[], None]) -> dict[int, str]:
    """Waits until all workers have ended, says what becomes of each, and calls ``look`` now and then.

    Returns what each came to.
    """
    known: dict[int, str] = {}
    done = False
    while not done:
        time.sleep(PAUSE)
        done = experiment.is_done()
        found = experiment.workers()
        for number in sorted(number for number in found if found[number] != known.get(number)):
            why = f": {experiment.last_words(number)}" if found[number] == "failed" else ""
            say(f"worker {number} {found[number]}{why}")
        known = found
        look()
    return known


def listening() -> set[str]:
    """The addresses at which processes that this one started listen for connections."""
    import psutil

    found = set()
    for process in psutil.Process().children(recursive=True):
        try:
            connections = process.net_connections(kind="inet")
        except psutil.Error:  # ended meanwhile
            continue
        found |= {connection.laddr.ip for connection in connections if connection.status == psutil.CONN_LISTEN}
    return found


def _refuse_open(addresses: Sequence[str]) -> None:
    if wrong := sorted(listening() - set(addresses)):
        raise UserError(f"NNI listens at {', '.join(wrong)}, not only at {', '.join(addresses)}: it was stopped")


def _refuse_taken(port: int, addresses: Sequence[str]) -> None:
    for address in addresses:
        with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((address, port))
            except OSError as error:
                raise UserError(f"--host {address} --port {port}: {error.strerror}; choose another") from None


@contextmanager
def _environment(variables: dict[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _number(job: Any) -> int:
    number: int = job.hyperParameters[0].parameters["worker"]
    return number


def _last_line(text: str) -> str:
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "")
