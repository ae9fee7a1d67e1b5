"""Output of commands: one JSON document, CSV, or a table, on stdout alone."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import sys
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Protocol, TextIO

import typer

from boostformer import extensions
from boostformer.errors import UserError
from boostformer.shown import printable
from results.summary import limits
from results.tables import MARK, OF_BUDGETS, Format, render, tabulate, to_json, to_rows

if TYPE_CHECKING:
    from results.trial import Trial

RunDir = Annotated[Path, typer.Argument(metavar="RUN_DIR", help="The folder of a run.", show_default=False)]
_AT_SPACES: dict[str, Any] = {
    "subsequent_indent": "  ",
    "break_long_words": False,
    "break_on_hyphens": False,
    "replace_whitespace": False,
    "drop_whitespace": True,
}
WhereOption = Annotated[
    str | None,
    typer.Option(
        metavar="CONDITION",
        help="Only networks that satisfy it: 'params<3M and (latency_ms<15 or miou>=60%)'.",
        show_default=False,
    ),
]
FormatOption = Annotated[Format, typer.Option("--format", help="How to print the result.")]


@contextmanager
def about_option(option: str) -> Iterator[None]:
    """Begin what is said of a mistake with the option that was given."""
    try:
        yield
    except UserError as error:
        raise UserError(f"{option}: {error}") from None


def emit(
    fmt: Format,
    document: Any,
    rows: Sequence[dict[str, Any]],
    *,
    columns: Sequence[str] = (),
    caption: str = "",
    drop: Sequence[str] = (),
) -> None:
    """Print one result in the chosen form.

    Args:
        fmt: JSON, CSV or table.
        document: what JSON shows.
        rows: what CSV and the table show.
        columns: keys of the rows; may be left out where there is always a row.
        caption: stands above the table.
        drop: columns that a table goes without on a narrow terminal, the first of them first.
    """
    if fmt is Format.json:
        text = to_json(document)
    else:
        text = tabulate(rows, fmt, columns=columns or list(rows[0]), caption=caption, width=width(), drop=drop)
    print(text, end="", flush=True)


def emit_trials(
    fmt: Format,
    trials: Sequence[Trial],
    budgets: Mapping[str, float],
    members: Sequence[Trial] = (),
    objectives: Sequence[str] = (),
) -> None:
    """Print trials, in a table under the run's budgets, in JSON each with them.

    Args:
        fmt: JSON, CSV or table.
        trials: those to show.
        budgets: of the run.
        members: of its front, which a table marks; where it shows no others, they are sorted by what is limited.
        objectives: of the run.
    """
    if fmt is not Format.table:
        rows = to_rows(trials)
        if fmt is Format.json:
            rows = [row | {"budgets": dict(budgets)} for row in rows]
        print(render(rows, fmt), end="", flush=True)
        return
    from results.marks import by_limiting, marks, of_budgets  # with NumPy, which starts slowly

    known = marks(trials, members, objectives)
    shown = by_limiting(trials, objectives, budgets) if len(trials) == len(members) else trials
    rows = [
        row | {MARK: known.get(trial.number), OF_BUDGETS: of_budgets(trial, budgets)}
        for row, trial in zip(to_rows(shown), shown, strict=True)
    ]
    caption = f"budgets: {limits(budgets)}" if budgets else ""
    show_styled(render(rows, fmt, caption=caption, width=width(), colours=has_colours()))


def has_colours() -> bool:
    """Tell whether standard output is a terminal that shows colours, and nobody asked for none (NO_COLOR)."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def show_styled(text: str) -> None:
    """Print a text of which all but the styles that we gave is printable."""
    write = getattr(sys.stdout, "write_styled", sys.stdout.write)
    write(text)
    sys.stdout.flush()


def width(stream: TextIO | None = None) -> int | None:
    """Return the terminal's width; None, for as wide as needed, when the stream (stdout) is piped."""
    return shutil.get_terminal_size().columns if (stream or sys.stdout).isatty() else None


def note(message: str) -> None:
    """Print a line for the person watching, on stderr; a terminal breaks it between words."""
    told, columns = printable(message), width(sys.stderr)
    if columns is not None:
        told = between_words(told, columns)
    print(told, file=sys.stderr, flush=True)


def next_step(*commands: str, fmt: Format = Format.table) -> None:
    """Say which commands come next, one a line so that they can be copied, unless the result is for machines."""
    if fmt is Format.table:
        program = shlex.join(["boostformer", *extensions.options()])  # without their blocks they would not run
        note("\n".join(["next:", *(f"  {re.sub('^boostformer', lambda _: program, line)}" for line in commands)]))


def exporting(network: Path) -> str:
    """Write the command that exports a checkpoint, beside where one works."""
    return shlex.join(["boostformer", "export", str(network), "--out", f"{network.resolve().name}.onnx"])


def latency_of(command: str, arch: str, size: str | None, classes: int | None, *, device: str | None = None) -> str:
    """Write the command for a network's milliseconds.

    Args:
        command: measure or estimate.
        arch: the network, as it was named.
        size: HxW, if it was given.
        classes: their number, if it was given.
        device: the device; None for the command's own.
    """
    words = ["boostformer", "latency", command, arch]
    for option, value in (("--size", size), ("--classes", classes), ("--device", device)):
        words += [] if value is None else [option, str(value)]
    return shlex.join(words)


def between_words(text: str, columns: int) -> str:
    """Break long lines between words; those that hold a command of ours, which people copy, stay in one piece."""
    return "\n".join(
        line if "boostformer " in line else textwrap.fill(line, columns, **_AT_SPACES) for line in text.split("\n")
    )


@contextmanager
def busy(what: str) -> Iterator[None]:
    """Show on a terminal that something takes time; also as a decorator of a command."""
    from rich.console import Console

    console = Console(stderr=True)
    if not console.is_terminal:
        yield
        return
    with console.status(what):
        yield


class Tell(Protocol):
    """Callback that shows how far something is."""

    def __call__(self, done: int, total: int, about: str = "") -> None:
        """Show that ``done`` of ``total`` are done, and what else is known."""


@contextmanager
def progress(what: str) -> Iterator[Tell]:
    """Show how many of ``what`` are done: a bar with the time left on a terminal, else a line now and then."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    if not console.is_terminal:
        told = 0

        def tell(done: int, total: int, about: str = "") -> None:
            nonlocal told
            if done == total or done - told >= total / 10:
                told = done
                note(f"{done}/{total} {what}" + (f", {about}" if about else ""))

        yield tell
        return
    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, TextColumn("{task.fields[about]}"), console=console, transient=True) as bars:
        task = bars.add_task(what, total=None, about="")

        def show(done: int, total: int, about: str = "") -> None:
            bars.update(task, completed=done, total=total, about=printable(about))

        yield show
