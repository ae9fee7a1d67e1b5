"""The program where others start it, engines and their nodes: each process is forked from the test's own.

What they start is this file, which asks a server for the fork, takes no time to import, and stands for the fork: it
passes signals on, ends as the fork does, and where it is killed, so is the fork.
"""

from __future__ import annotations

import json
import os
import selectors
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

PASSED_ON = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)


@contextmanager
def forks(folder: Path, prepare: Callable[[], object] = lambda: None) -> Iterator[list[str]]:
    """Return the words that stand for those of the program, ``[*words, "worker", …]``, as long as the context lasts.

    Args:
        folder: where the server's socket is; its path is short.
        prepare: is called in the server, whose forks then have what it changes.
    """
    from forked import import_all

    import_all()
    words = [sys.executable, "-S", __file__, str(folder / "forks")]
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(words[-1])
        listener.listen()
        until, held = os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                os.close(held)
                _serve(listener, until, words, prepare)
            finally:
                os._exit(0)
    os.close(until)
    try:
        yield words
    finally:
        os.close(held)
        os.waitpid(pid, 0)


def _serve(listener: socket.socket, until: int, words: list[str], prepare: Callable[[], object]) -> None:
    """Fork for each who asks, until ``until`` is closed."""
    from search.worker import local

    os.setsid()
    local.PROGRAM[:] = words
    prepare()
    ended, end = os.pipe()
    os.set_blocking(end, False)
    signal.set_wakeup_fd(end, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    children: dict[int, socket.socket] = {}
    with selectors.DefaultSelector() as waiting:
        for source in (listener, until, ended):
            waiting.register(source, selectors.EVENT_READ)
        while True:
            for key, _ in waiting.select():
                if key.fileobj is listener:
                    connection = listener.accept()[0]
                    children[pid := _fork(connection)] = connection
                    waiting.register(connection, selectors.EVENT_READ, pid)
                elif key.fileobj == until:
                    for pid in children:
                        os.kill(pid, signal.SIGKILL)
                    return
                elif key.fileobj == ended:
                    os.read(ended, 4096)
                    for pid, code in iter(_ended, None):
                        with suppress(OSError):  # who asked was killed
                            children[pid].sendall(f"{code}\n".encode())
                        with suppress(KeyError):
                            waiting.unregister(children[pid])
                        children.pop(pid).close()
                elif key.data in children:
                    waiting.unregister(key.fileobj)
                    os.kill(key.data, signal.SIGKILL)


def _ended() -> tuple[int, int] | None:
    with suppress(ChildProcessError):
        pid, status = os.waitpid(-1, os.WNOHANG)
        return (pid, os.waitstatus_to_exitcode(status)) if pid else None
    return None


def _fork(connection: socket.socket) -> int:
    from types import SimpleNamespace

    from forked import PROGRAM, become

    _, streams, _, _ = socket.recv_fds(connection, 1, 3)
    asked = json.loads(connection.makefile("rb").readline())
    pid = os.fork()
    if pid == 0:
        code = 255
        try:
            names = dict(zip(("p2cread", "c2pwrite", "errwrite"), streams, strict=True))
            arguments: Any = {
                "args": [PROGRAM, *asked["arguments"]],
                "env": asked["environment"],
                "cwd": asked["folder"],
            }
            code = become(SimpleNamespace(**names, **arguments, start_new_session=True))
        finally:
            os._exit(code)
    for stream in streams:
        os.close(stream)
    connection.sendall(f"{pid}\n".encode())
    return pid


def ask() -> None:
    """Ask for a fork, and be it."""
    place, *arguments = sys.argv[1:]
    signal.pthread_sigmask(signal.SIG_BLOCK, PASSED_ON)
    with socket.socket(socket.AF_UNIX) as server:
        server.connect(place)
        socket.send_fds(server, [b"!"], [0, 1, 2])
        asked = {"arguments": arguments, "environment": dict(os.environ), "folder": os.getcwd()}  # noqa: PTH109
        server.sendall(json.dumps(asked).encode() + b"\n")
        os.closerange(0, 2)  # the fork alone holds them
        with server.makefile() as answers:
            pid = int(answers.readline())
            for number in PASSED_ON:
                signal.signal(number, lambda number, _: os.kill(pid, number))
            signal.pthread_sigmask(signal.SIG_UNBLOCK, PASSED_ON)
            code = int(answers.readline())
    if code < 0:
        signal.signal(-code, signal.SIG_DFL) if -code != signal.SIGKILL else None
        os.kill(os.getpid(), -code)
    os._exit(code)


if __name__ == "__main__":
    ask()
