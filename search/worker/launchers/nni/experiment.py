"""An NNI experiment from start to end: its web page, for this user alone, and what becomes of its workers."""

from __future__ import annotations

import os
import socket
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from boostformer.errors import UserError
from search.worker.launchers.launcher import State
from search.worker.launchers.nni.service import LOOPBACK

LISTEN_VARIABLE = "BOOSTFORMER_NNI_LISTEN"
_GUARD = Path(__file__).with_name("guard.js")
_STATES = {"RUNNING": State.WORKING, "SUCCEEDED": State.ENDED, "FAILED": State.FAILED}
_STATES |= dict.fromkeys(("USER_CANCELED", "SYS_CANCELED", "EARLY_STOPPED"), State.STOPPED)


def require_nni() -> None:
    """Make NNI usable beside current versions of other packages. :class:`UserError` where it is not installed."""
    try:
        from nni.runtime.log import silence_stdout
        from nni.tools.nnictl.common_utils import SimplePreemptiveLock
    except ImportError:
        raise UserError("launching needs NNI: pip install --no-deps -r constraints-nni.txt") from None
    silence_stdout()

    # NNI's lock keeps its descriptor where filelock before 3.12 looked for it; with later ones it would wait for ever.
    SimplePreemptiveLock._lock_file_fd = property(
        lambda lock: lock._context.lock_file_fd, lambda lock, fd: setattr(lock._context, "lock_file_fd", fd)
    )


@dataclass(frozen=True)
class Experiment:
    """A running NNI experiment at ``port``. Its queries raise :class:`UserError` once it is gone."""

    handle: Any
    port: int
    log: Path

    def is_done(self) -> bool:
        """Tell whether all workers have ended."""
        status = self._ask(self.handle.get_status)
        if status in ("ERROR", "STOPPING", "STOPPED"):
            raise self.over()
        return bool(status == "DONE")

    def workers(self) -> dict[int, State]:
        """Return the state of each worker that NNI has started, by its number."""
        jobs = self._ask(self.handle.list_trial_jobs)
        return {_number(job): _STATES[job.status] for job in jobs if job.status in _STATES}

    def last_words(self, number: int) -> str:
        """Return the last line that a worker wrote to its stderr."""
        jobs = self._ask(self.handle.list_trial_jobs)
        job = next(job for job in jobs if _number(job) == number)
        address = f"http://{LOOPBACK}:{self.port}/api/v1/nni/trial-file/{job.trialJobId}/stderr"
        try:
            with _direct(), urllib.request.urlopen(address, timeout=20) as answer:
                lines = answer.read().decode(errors="replace").split("\n")
                said = [line.strip() for line in lines if line.strip()]
                return said[-1] if said else f"it said nothing; see {self.log.parent}"
        except OSError as error:
            return f"its output cannot be had ({error})"

    def stop(self) -> None:
        """Stop NNI and the workers, each of which gives back its trial."""
        with _direct():
            self.handle.stop()

    def over(self) -> UserError:
        """Return NNI's reason for giving up, from its log."""
        text = self.log.read_text(encoding="utf-8", errors="replace") if self.log.exists() else ""
        errors = [line for line in text.splitlines() if "] ERROR (" in line or "] CRITICAL (" in line]
        said = errors[-1].partition(") ")[2] if errors else "it did not say why"
        return UserError(f"NNI gave up: {' '.join(said.split())}; its log: {self.log}")

    def _ask(self, question: Callable[[], Any]) -> Any:
        try:
            with _direct():
                return question()
        except OSError:  # what requests raises is one
            raise self.over() from None


def started(config: Any, port: int, addresses: Sequence[str]) -> Experiment:
    """Start an NNI experiment, which goes on until it is stopped.

    Args:
        config: NNI's configuration of it.
        port: of the web page, which answers only this user's processes on this machine (``guard.js``).
        addresses: the only ones where its servers listen.

    Raises:
        UserError: the port is taken, or NNI does not start.
    """
    from nni.experiment import Experiment as Handle
    from nni.experiment import RunMode

    _refuse_taken(port, addresses)
    handle = Handle(config)
    experiment = Experiment(handle, port, _log(config.experiment_working_directory, handle.id))
    try:
        with _direct(), _guarded(addresses):
            handle.start(port, run_mode=RunMode.Detach)  # its output goes to files; stopping it is ours
    except BaseException as error:
        experiment.stop()
        if isinstance(error, RuntimeError):
            raise UserError(f"NNI did not start: {error}") from None
        if isinstance(error, OSError):  # what requests raises is one
            raise experiment.over() from None
        raise
    return experiment


def connected(name: str, port: int, folder: Path) -> Experiment | None:
    """Find the experiment of this ``name`` that was started at ``port``; None when it is there no more.

    ``folder`` is where NNI writes its files.
    """
    from nni.experiment import Experiment as Handle

    try:
        with _direct():
            handle = Handle.connect(port)
    except Exception:  # whatever answers there, or nobody: it is not the one
        return None
    return Experiment(handle, port, _log(folder, name)) if handle.id == name else None


def _log(folder: str | Path, name: str) -> Path:
    return Path(folder) / name / "log" / "nnimanager.log"


def _refuse_taken(port: int, addresses: Sequence[str]) -> None:
    for address in addresses:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        try:
            socket.create_server((address, port), family=family).close()
        except OSError as error:
            said = os.strerror(error.errno or 0)
            raise UserError(f"--host {address} --port {port}: {said}; choose another") from None


@contextmanager
def _guarded(addresses: Sequence[str]) -> Iterator[None]:
    """Give NNI's manager, which starts within, the guard."""
    guard = f'--require "{str(_GUARD).replace(chr(92), chr(92) * 2)}"'
    with _variables({LISTEN_VARIABLE: ",".join(addresses), "NODE_OPTIONS": guard}):
        yield


@contextmanager
def _direct() -> Iterator[None]:
    """Keep the HTTP queries within off proxies."""
    direct = ",".join(filter(None, [os.environ.get("no_proxy"), "localhost", LOOPBACK]))
    with _variables({"no_proxy": direct, "NO_PROXY": direct}):
        yield


@contextmanager
def _variables(values: dict[str, str]) -> Iterator[None]:
    before = dict(os.environ)
    os.environ |= values
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def _number(job: Any) -> int:
    number: int = job.hyperParameters[0].parameters["worker"]
    return number
