"""The command line, `boostformer`: its groups of commands, and its answers to mistakes.

Nothing heavy is imported before a command runs, so that inspecting a run is quick.
"""

from __future__ import annotations

import signal
import sys
import warnings
from pathlib import Path
from typing import Any

import typer

from boostformer.errors import FULL, UserError
from search.cli import (
    compare,
    data,
    evaluate,
    inspect,
    latency,
    launch,
    outcome,
    recipes,
    run,
    train,
    trust,
    use,
)

# Typer has its own copy of click, and exports of its errors only this one's child.
_UsageError: Any = typer.BadParameter.__bases__[0]

app = typer.Typer(
    name="boostformer",
    help="Networks for semantic segmentation that fit a budget: search, inspect, train, export.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # plain help: the boxes of typer's take a quarter of a second to import
)
for group in (run, launch, outcome, trust, train, recipes, evaluate, compare, use, data, inspect, latency):
    group.register(app)


def main() -> None:
    """Run the command line.

    Exit codes: 2 for bad input, after one line, ``error: …``; 1 for a full disk; 130 for Ctrl-C, SIGTERM and SIGHUP.
    """
    warnings.formatwarning = _one_line
    # An orderly stop, as by a time limit or a closed terminal, is a Ctrl-C; who ignores it, as nohup does, still does.
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, _interrupt)
    try:
        code = app(args=sys.argv[1:] or ["--help"], standalone_mode=False)
    except UserError as error:
        code = _refuse(str(error))
    except _UsageError as error:
        code = _refuse(error.format_message())
    except OSError as error:
        if error.errno not in FULL:
            raise
        _refuse(f"{error.filename or Path.cwd()}: {error.strerror}; free some and repeat the command")
        code = 1
    except typer.Abort:  # what typer makes of Ctrl-C
        code = 130
    sys.exit(code if isinstance(code, int) else 0)


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
    return f"warning: {place}{message}\n"


def _interrupt(number: int, frame: Any) -> None:
    if not callable(signal.getsignal(signal.SIGINT)):  # ignored, as in a shell's background job
        raise KeyboardInterrupt
    signal.raise_signal(signal.SIGINT)


def _refuse(message: str) -> int:
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
    return 2
