"""The command line, `boostformer`: its groups of commands, and its answers to mistakes.

Nothing heavy is imported before a command runs, so that inspecting a run is quick.
"""

from __future__ import annotations

import contextlib
import errno
import io
import logging
import os
import signal
import sys
import warnings
from pathlib import Path
from typing import Annotated, Any

import typer

from boostformer import __version__
from boostformer.errors import FULL, UserError
from boostformer.extensions import VARIABLE
from boostformer.shown import one_line, printable
from search.cli import (
    compare,
    data,
    deploy,
    evaluate,
    export,
    init,
    inspect,
    latency,
    launch,
    lighten,
    outcome,
    recipes,
    report,
    retraining,
    run,
    show,
    train,
    travel,
    trust,
    use,
    worker,
)
from search.cli.sign_of_life import sign_of_life

# Typer has its own copy of click, and exports of its errors only this one's child.
_UsageError: Any = typer.BadParameter.__bases__[0]


def _say_version(asked: bool) -> None:
    if asked:
        print(f"boostformer {__version__}")
        raise typer.Exit


app = typer.Typer(
    name="boostformer",
    help="Networks for semantic segmentation that fit a budget: search, inspect, train, export.",
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # plain help: the boxes of typer's take a quarter of a second to import
)


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_say_version, help="Show the version and exit.")
    ] = False,
    modules: Annotated[
        list[str] | None,
        typer.Option(
            "--import", metavar="MODULE", help="A module, or a FILE.py, with blocks of your own; may be repeated."
        ),
    ] = None,
    leashed: Annotated[bool, typer.Option("--leashed", hidden=True)] = False,
) -> None:
    """Take the options that stand before the command."""
    if leashed:
        from search.worker.local import stop_with_parent

        stop_with_parent()
    if modules:  # by the environment, so that the processes of a search have them too
        files = [str(Path(name).absolute()) if name.endswith(".py") else name for name in modules]
        os.environ[VARIABLE] = os.pathsep.join([*filter(None, [os.environ.get(VARIABLE)]), *files])


for group in (
    init,
    run,
    worker,
    lighten,
    launch,
    outcome,
    report,
    show,
    travel,
    trust,
    retraining,
    train,
    recipes,
    evaluate,
    compare,
    use,
    export,
    deploy,
    data,
    inspect,
    latency,
):
    group.register(app)


_OUTSIDE = {
    errno.EACCES: "",
    errno.EPERM: "",
    errno.ENAMETOOLONG: "",
    errno.ELOOP: "",
    errno.EROFS: "",
    errno.EMFILE: "; allow more (`ulimit -n 4096`), or start fewer workers",
    errno.ENFILE: "; start fewer workers",
}
"""Errors of the system that are no bug of ours wherever they occur, with what helps."""


def main() -> None:
    """Run the command line.

    Exit codes: 2 for bad input, after one line, ``error: …``; 1 for a full disk; 130 for Ctrl-C and signals like it.
    """
    warnings.formatwarning = _one_line
    if logging.lastResort is not None:
        logging.lastResort.setFormatter(_Lines())
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # what its encoding lacks is written as \\u2026
            stream.reconfigure(errors="backslashreplace")
    # An orderly stop, as by a closed terminal or a cluster's time limit (USR1), is a Ctrl-C; who ignores it, as nohup
    # does, still does.
    for number in _STOPS:
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, _interrupt)
    try:
        with sign_of_life(), contextlib.redirect_stdout(_Printable(sys.stdout)):
            code = app(args=sys.argv[1:] or ["--help"], prog_name="boostformer", standalone_mode=False)
    except UserError as error:
        code = _refuse(str(error))
    except _UsageError as error:
        code = _refuse(error.format_message())
    except OSError as error:
        place = f"{error.filename or Path.cwd()}: {error.strerror}"
        if error.errno in _OUTSIDE:
            code = _refuse(place + _OUTSIDE[error.errno])
        elif error.errno in FULL:
            _refuse(f"{place}; free space and repeat the command")
            code = 1
        else:
            raise
    except (typer.Abort, KeyboardInterrupt):  # typer makes the one of the other
        code = 130
    sys.exit(code if isinstance(code, int) else 0)


class _Printable:
    """A text stream that writes nothing which a terminal obeys."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        self._stream.write(printable(text))
        return len(text)

    def write_styled(self, text: str) -> None:
        """Write a text that has styles of ours, and whose other parts were made printable before."""
        self._stream.write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class _Lines(logging.Formatter):
    """Writes each message of the log as one printable line."""

    def format(self, record: logging.LogRecord) -> str:
        return one_line(record.getMessage())


def _one_line(message: Warning | str, category: type[Warning], filename: str, lineno: int, line: Any = None) -> str:
    """Format a warning as one line; only one that is not for users names the place in the code.

    Args:
        message: the warning.
        category: its class; UserWarning is for users.
        filename: the code that gave it.
        lineno: the line there.
        line: the line's text.
    """
    place = "" if category is UserWarning else f"{filename}:{lineno}: {category.__name__}: "
    return f"warning: {place}{one_line(str(message))}\n"


_STOPS = (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)


def _interrupt(number: int, frame: Any) -> None:
    # Once: Slurm tells each process of a job two or three times, where a second Ctrl-C would have nothing saved.
    for stop in _STOPS:
        if signal.getsignal(stop) is _interrupt:
            signal.signal(stop, lambda number, frame: None)
    if not callable(signal.getsignal(signal.SIGINT)):  # ignored, as in a shell's background job
        raise KeyboardInterrupt
    signal.raise_signal(signal.SIGINT)


def _refuse(message: str) -> int:
    print(f"error: {one_line(message)}", file=sys.stderr)
    return 2
