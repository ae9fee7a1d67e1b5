"""Workers on this machine, as processes that live no longer than their launcher."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from boostformer.errors import UserError
from boostformer.files import appending, make_folder, replacing
from results.run import read_run
from search.study.claim import DEATHS
from search.study.folder import LAUNCH
from search.worker.accelerators import share, visible
from search.worker.launchers.command import LEASHED, joining_here, training, variables
from search.worker.launchers.launcher import Fleet, State
from search.worker.launchers.order import Options, Order
from search.worker.local import KILLED, PROGRAM, cores

RECORD = "local.json"
"""Names, in the run's folder for launchers, the processes that were started last."""


@dataclass(frozen=True)
class Process:
    """A process, told from a later one of the same number by when it began, in ticks since the machine did."""

    pid: int
    began: int

    @classmethod
    def of(cls, pid: int) -> Process | None:
        """Return the living process of this number; None when there is none."""
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            return None
        return None if fields[0] in "ZX" else cls(pid, int(fields[19]))

    def lives(self) -> bool:
        return Process.of(self.pid) == self


class Local:
    """Local processes. A worker that is killed is replaced; the launcher's end, however it comes, is theirs."""

    engine: ClassVar[str] = "local"
    options: ClassVar[type[Options]] = Options
    lasts: ClassVar[bool] = False
    scales: ClassVar[bool] = False
    gathers: ClassVar[bool] = False
    trains: ClassVar[bool] = True

    def __init__(self, order: Order, options: Options) -> None:
        if order.data is not None:
            raise UserError(f"--data '{order.data}': is for workers on other machines, not for --on local")
        if order.needs.memory is not None:
            raise UserError(
                "--memory: --on local gives no worker memory of its own; leave it out, or take fewer workers"
            )
        self._order, self._folder = order, order.run_dir / LAUNCH
        if order.needs.whole_gpus and not share(0):
            raise UserError("--gpus 1: this machine has no CUDA device that may be used; leave it out to train on CPUs")
        self._words = joining_here(order, leashed=True)
        if order.training is not None:
            self._words = training(order, [*PROGRAM, LEASHED])
            if order.needs.gpus and order.workers.most > (there := len(visible())):
                raise UserError(f"--workers {order.workers.most}: each needs a GPU, and this machine has {there}")

    def plan(self) -> str:
        lines = [
            f"{shlex.join(f'{name}={value}' for name, value in self._environment(number).items())} "
            f"{shlex.join(self._words)} >> {shlex.quote(str(self._log(number)))} 2>&1"
            for number in range(self._order.workers.most)
        ]
        return "\n".join([f"cd {shlex.quote(str(Path.cwd()))}", *lines])

    def start(self) -> Fleet:
        make_folder(self._folder)
        concluded = self._concluded if self._order.training is None else None
        return _Own(self._order.run_dir, self._start, self._order.workers.most, self._note, concluded)

    def find(self) -> Fleet | None:
        """Find those of a living launcher; those of a dead one are stopping by themselves, and are waited for."""
        try:
            record = json.loads((self._folder / RECORD).read_text(encoding="utf-8"))
            launcher, *workers = (Process(int(pid), int(began)) for pid, began in record)
        except (OSError, ValueError, TypeError):
            return None
        while not launcher.lives() and any(worker.lives() for worker in workers):
            time.sleep(0.1)
        if not any(worker.lives() for worker in workers):
            return None
        return _Others(workers, launcher.pid, self._log)

    def _environment(self, number: int) -> dict[str, str]:
        threads = {"OMP_NUM_THREADS": str(self._order.needs.cores or max(1, cores() // self._order.workers.most))}
        if self._order.training is None:
            return threads | share(number)
        place = {"RANK": str(number), "LOCAL_RANK": str(number), "WORLD_SIZE": str(self._order.workers.most)}
        port = 20000 + int(self._order.name[-4:], 16) % 20000  # known before the processes are
        return variables(self._order) | threads | place | {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}

    def _concluded(self) -> int:
        """Count the trainings of the run that are over."""
        return sum(trial.status.concludes for trial in read_run(self._order.run_dir).trials)

    def _log(self, number: int) -> Path:
        return self._folder / f"local-{number}.log"

    def _start(self, number: int) -> subprocess.Popen[bytes]:
        with appending(self._log(number)) as log:
            return subprocess.Popen(  # noqa: S603  this program, without a shell
                self._words,
                env=os.environ | self._environment(number),
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # a Ctrl-C of the terminal must not reach it twice
            )

    def _note(self, pids: list[int]) -> None:
        found = [process for pid in (os.getpid(), *pids) if (process := Process.of(pid)) is not None]
        with replacing(self._folder / RECORD) as path:
            path.write_text(json.dumps([(process.pid, process.began) for process in found]), encoding="utf-8")


def last_line(log: Path) -> str:
    """Return the last line of a worker's log."""
    try:
        lines = [line.strip() for line in log.read_text(encoding="utf-8", errors="replace").splitlines()]
    except OSError as error:
        return f"its output cannot be had ({error.strerror})"
    return next((line for line in reversed(lines) if line), f"it said nothing; see {log}")


class _Own:
    """The processes of this launcher."""

    pause = 0.2

    def __init__(
        self,
        run_dir: Path,
        start: Callable[[int], subprocess.Popen[bytes]],
        count: int,
        note: Callable[[list[int]], None],
        concluded: Callable[[], int] | None,
    ) -> None:
        """Start the processes.

        Args:
            run_dir: the run's folder.
            start: starts the worker of a number.
            count: how many.
            note: keeps the numbers of the processes for launchers to come.
            concluded: counts the trainings that are over; None for the processes of one training, none of which goes on
                without the others.
        """
        self._run_dir, self._start, self._note, self._count = run_dir, start, note, concluded
        self._children: list[subprocess.Popen[bytes]] = []
        self._killed_in_vain, self._concluded = 0, 0
        try:
            for number in range(count):
                self._children.append(start(number))
                self._note([child.pid for child in self._children])
        except BaseException:
            self.stop()
            raise
        self.title = f"{count} local processes, whose output is in {run_dir / LAUNCH}"

    def workers(self) -> dict[int, State]:
        for number, child in enumerate(self._children):
            if child.poll() == KILLED and self._helps():
                self._children[number] = self._start(number)
                self._note([child.pid for child in self._children])
        if self._count is None and any(child.poll() for child in self._children):
            self._release()
        return {number: _state(child.poll()) for number, child in enumerate(self._children)}

    def _helps(self) -> bool:
        """Tell whether to replace a killed worker: not when too many were killed without a training concluded."""
        if self._count is None:
            return False
        concluded = self._count()
        if concluded > self._concluded:
            self._concluded, self._killed_in_vain = concluded, 0
        self._killed_in_vain += 1
        return self._killed_in_vain <= DEATHS * len(self._children)

    def last_words(self, number: int) -> str:
        return last_line(self._run_dir / LAUNCH / f"local-{number}.log")

    def stop(self) -> None:
        self._release()
        for child in self._children:
            child.wait()

    def _release(self) -> None:
        for child in self._children:
            assert child.stdin is not None
            child.stdin.close()  # a signal would be lost on one that is still starting


class _Others:
    """The processes of a launcher that lives elsewhere on this machine."""

    pause = 0.2

    def __init__(self, processes: list[Process], launcher: int, log: Callable[[int], Path]) -> None:
        self._processes, self._log = processes, log
        self.title = f"{len(processes)} local processes, which process {launcher} launched"

    def workers(self) -> dict[int, State]:
        return {
            number: State.WORKING if process.lives() else State.STOPPED
            for number, process in enumerate(self._processes)
        }

    def last_words(self, number: int) -> str:
        return last_line(self._log(number))

    def stop(self) -> None:
        for process in self._processes:
            with suppress(ProcessLookupError):
                if process.lives():
                    os.kill(process.pid, signal.SIGINT)
        while any(process.lives() for process in self._processes):
            time.sleep(0.1)


def _state(code: int | None) -> State:
    if code is None:
        return State.WORKING
    if code == 0:
        return State.ENDED
    return State.STOPPED if code in (KILLED, 130) else State.FAILED
