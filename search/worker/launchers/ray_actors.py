"""Actors of Ray: one that keeps a worker going, and one that keeps the processes of a training going.

Each process gives back its trial, or saves its training, when the actor that started it goes away.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from boostformer.shown import one_line
from search.worker.launchers.launcher import State
from search.worker.local import KILLED

LINGER = 60.0
"""Seconds for which an actor whose work is over can still be asked what became of it."""
DEATHS = 20
"""The number of times that an actor replaces what is killed."""
TOGETHER = 15.0
"""Seconds within which the processes of a training end when one of them has."""
MISTAKE = 2
"""Exit code of a mistake in what was given, which no other try mends."""
_GROUP = "training"


class Process:
    """A process of this program, and the last line that it said."""

    def __init__(self, words: list[str], environment: Mapping[str, str], folder: str | None = None) -> None:
        """Start it.

        Args:
            words: behind this machine's Python.
            environment: beside that of this process.
            folder: where it is started; None for here.
        """
        self._said: deque[str] = deque(maxlen=1)
        # Ray blocks SIGINT in all that it starts; a worker stops by it.
        before = signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        try:
            self._process = subprocess.Popen(  # noqa: S603  this program, without a shell
                [sys.executable, *words],
                env=os.environ | environment,
                cwd=folder,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                start_new_session=True,
            )
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    @property
    def said(self) -> str:
        return self._said[-1] if self._said else "it said nothing"

    def watch(self) -> int:
        """Pass on what it says until it ends; return its exit code."""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            print(line, end="", flush=True)  # into Ray's log of the actor, which its dashboard shows
            if line.strip():
                self._said.append(line.strip())
        return self._process.wait()

    def stop(self) -> None:
        """Stop it as Ctrl-C does; return when it has ended."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


class Worker:
    """Keeps a worker of a search going."""

    def __init__(self, words: list[str], threads: int | None) -> None:
        """Start the worker.

        It starts here, and not in a method, so that Ray does it again when it restarts the actor elsewhere, also when
        nobody follows it any more.
        """
        self._words, self._environment = words, {"OMP_NUM_THREADS": str(threads)} if threads else {}
        self._code: int | None = None
        self._stopped = False
        self._process = Process(self._words, self._environment)
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        for _ in range(DEATHS):
            code = self._process.watch()
            if code != KILLED or self._stopped:
                break
            self._process = Process(self._words, self._environment)
        self._code = code
        _leave()

    def state(self) -> tuple[str, str]:
        """Return the worker's state and the last line that it said."""
        return _state(self._code), self._process.said

    def stop(self) -> None:
        """Stop the worker as Ctrl-C does; return when it has given back its trial."""
        self._stopped = True
        self._process.stop()


class Member:
    """Runs one process of a training."""

    def __init__(self) -> None:
        self._process: Process | None = None

    def meeting(self) -> tuple[str, int]:
        """Return an address of this machine, and a port that is free there, at which the processes can meet."""
        import ray

        with socket.socket() as free:
            free.bind(("", 0))
            return ray.util.get_node_ip_address(), int(free.getsockname()[1])

    def run(self, words: list[str], environment: dict[str, str], folder: str) -> tuple[int, str]:
        """Run the process to its end; return its exit code and the last line that it said."""
        try:
            self._process = Process(words, environment, folder)
        except OSError as error:
            return 2, f"{folder}: {error.strerror}; a training is started in the folder where it was launched"
        return self._process.watch(), self._process.said

    def said(self) -> str:
        """Return the last line that the process said."""
        return self._process.said if self._process is not None else "it said nothing"

    def stop(self) -> None:
        """Stop the process as Ctrl-C does."""
        if self._process is not None:
            self._process.stop()


class Training:
    """Keeps the processes of a training going, each in a place of its own: all are started anew when one was killed."""

    def __init__(self, words: list[str], needs: list[dict[str, Any]], environment: dict[str, str], folder: str) -> None:
        """Start the processes.

        Args:
            words: of each, behind a machine's Python.
            needs: the resources of each, as Ray names them.
            environment: of each, beside its place among them.
            folder: where each is started.
        """
        self._words, self._needs, self._environment, self._folder = words, needs, environment, folder
        self._code: int | None = None
        self._stopped = False
        self._said = "waits for a place"
        self._members: list[Any] = []
        self._over = threading.Event()
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        code = KILLED
        for _ in range(DEATHS):
            code = self._once()
            if code != KILLED or self._stopped:
                break
        self._code = code
        self._over.set()
        _leave()

    def _once(self) -> int:
        """Run all processes to the end of the first; return the exit code, :data:`KILLED` where one was killed."""
        import ray
        from ray.util.placement_group import get_placement_group, placement_group, remove_placement_group
        from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

        with suppress(ValueError):
            remove_placement_group(get_placement_group(_GROUP))  # of this actor, before it was restarted elsewhere
        group = placement_group([_bundle(needs) for needs in self._needs], strategy="PACK", name=_GROUP)
        try:
            while not group.wait(1):
                if self._stopped:
                    return 130
            remote = ray.remote(Member)
            self._members = [
                remote.options(
                    max_concurrency=3,
                    scheduling_strategy=PlacementGroupSchedulingStrategy(group, place),
                    **needs,
                ).remote()
                for place, needs in enumerate(self._needs)
            ]
            return self._run(ray)
        finally:
            for member in self._members:
                ray.kill(member)
            self._members = []
            remove_placement_group(group)

    def _run(self, ray: Any) -> int:
        try:
            address, port = ray.get(self._members[0].meeting.remote())
        except ray.exceptions.RayActorError:
            return KILLED
        known = self._environment | {"MASTER_ADDR": address, "MASTER_PORT": str(port)}
        known |= {"WORLD_SIZE": str(len(self._members)), "LOCAL_RANK": "0"}  # Ray shows each its own GPU alone
        left = [
            member.run.remote(self._words, known | {"RANK": str(rank)}, self._folder)
            for rank, member in enumerate(self._members)
        ]
        codes: list[int] = []
        until = None
        while left and (until is None or time.monotonic() < until):
            done, left = ray.wait(left, timeout=1)
            for ref in done:
                try:
                    code, said = ray.get(ref)
                except ray.exceptions.RayActorError as error:  # its node is gone
                    code, said = KILLED, one_line(str(error))
                codes.append(code)
                if code != 0 and until is None:  # the others find it gone, or wait for it in vain
                    self._said, until = said, time.monotonic() + TOGETHER
            if until is None and self._members:
                self._hear(ray)
        if self._stopped and any(codes):
            return 130
        if KILLED in codes or (left and MISTAKE not in codes):  # a node's death may be known later than its silence
            return KILLED
        return max(codes)

    def _hear(self, ray: Any) -> None:
        with suppress(ray.exceptions.RayActorError, ray.exceptions.GetTimeoutError):  # which is seen by its end
            self._said = ray.get(self._members[0].said.remote(), timeout=5)

    def state(self) -> tuple[str, str]:
        """Return the training's state and the last line that its first process said."""
        return _state(self._code), self._said

    def stop(self) -> None:
        """Stop the training as Ctrl-C does; return when it is saved."""
        self._stopped = True
        for member in self._members:
            member.stop.remote()
        self._over.wait()


def _bundle(needs: dict[str, Any]) -> dict[str, float]:
    names = {"num_cpus": "CPU", "num_gpus": "GPU"}
    return {names.get(name, name): amount for name, amount in needs.items() if amount}


def _state(code: int | None) -> str:
    if code is None:
        return State.WORKING
    over = {0: State.ENDED, 130: State.STOPPED, KILLED: State.STOPPED}
    return over.get(code, State.FAILED)


def _leave() -> None:
    """End this actor for good, after a while in which it can be asked."""
    import ray

    time.sleep(LINGER)
    ray.kill(ray.get_runtime_context().current_actor, no_restart=True)
