"""The command line in a process that is forked from the test's own, which has torch and all else imported already.

A process of its own imports for some five seconds of processor time. Where a test is about signals, the ends of
processes, or several of them, the fork does as well: it has a number, an end and streams of its own.
"""

from __future__ import annotations

import inspect
import os
import signal
import subprocess
import sys
import traceback
import warnings
from contextlib import suppress
from types import SimpleNamespace
from typing import Any

PROGRAM = "search.cli"
_EXECUTE = inspect.signature(subprocess.Popen._execute_child)  # type: ignore[attr-defined]


class Forked(subprocess.Popen[Any]):
    """``Popen`` for command lines of this program: ``["search.cli", COMMAND, ARGUMENT, …]``, whatever stands before."""

    def _execute_child(self, *arguments: Any) -> None:
        how = SimpleNamespace(**_EXECUTE.bind(self, *arguments).arguments)
        import_all()
        sys.stdout.flush()
        sys.stderr.flush()
        self.pid = os.fork()
        if self.pid == 0:
            code = 255
            try:
                code = become(how)
            finally:
                os._exit(code)
        self._child_created = True
        own = (how.p2cread, how.p2cwrite, how.c2pread, how.c2pwrite, how.errread, how.errwrite)
        self._close_pipe_fds(*own)  # type: ignore[attr-defined]


def forking() -> SimpleNamespace:
    """Stand for the module ``subprocess`` where this program is started."""
    return SimpleNamespace(**vars(subprocess) | {"Popen": Forked})


def import_all() -> None:
    """Import what a search does, unless that is done."""
    import torch._dynamo  # noqa: F401  what the first step of an optimizer does

    with suppress(ImportError):
        import datasets  # noqa: F401  what accelerate does where it is installed

    import search.worker.loop  # noqa: F401


def become(how: SimpleNamespace) -> int:
    """Run the command line as a process that was just started has it; return its exit code."""
    for number in signal.valid_signals():
        if callable(signal.getsignal(number)):
            signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # which tests that run in the background ignore
    signal.set_wakeup_fd(-1)
    if how.start_new_session:
        os.setsid()
    streams = (how.p2cread, how.c2pwrite, how.errwrite)
    for target, stream in enumerate(streams):
        if stream != -1:
            os.dup2(stream, target)
    # Locks and pipes of the test are not this process's. Their numbers stay taken, as objects here may close them yet.
    nothing = os.open(os.devnull, os.O_RDWR)
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208
        if int(name) > 2 and int(name) != nothing:
            os.dup2(nothing, int(name))
    if how.cwd is not None:
        os.chdir(how.cwd)
    if how.env is not None:
        os.environ.clear()
        os.environ.update(how.env)
    before = (sys.stdin, sys.stdout, sys.stderr, warnings.showwarning)  # noqa: F841  not to be closed
    sys.stdin, sys.stdout = open(0, closefd=False), open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", buffering=1, errors="backslashreplace", closefd=False)  # noqa: SIM115
    sys.argv = list(map(str, how.args[how.args.index(PROGRAM) :]))
    _forget()
    from search.cli.program import main

    try:
        main()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 0 if end.code is None else 1
    except (Exception, KeyboardInterrupt):
        traceback.print_exc()
        return 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
    return 0


def _forget() -> None:
    """Forget what was read from the environment of the test: who trains together, and who is a worker of NNI."""
    from accelerate.state import AcceleratorState

    AcceleratorState._reset_state(reset_partial_state=True)
    for name in [name for name in sys.modules if name.partition(".")[0] == "nni"]:
        del sys.modules[name]
