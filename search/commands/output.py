"""How commands print: one JSON document, CSV, or a table, on stdout alone."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from results.tables import Format, render, tabulate, to_json, to_rows

if TYPE_CHECKING:
    from results.record import Record

FormatOption = Annotated[Format, typer.Option("--format", help="How to print the result.")]


def emit(fmt: Format, document: Any, rows: Sequence[dict[str, Any]], *, caption: str = "") -> None:
    """Print ``document`` as JSON, or ``rows`` (all with the same keys) as CSV or as a table under ``caption``."""
    if fmt is Format.json:
        text = to_json(document)
    else:
        text = tabulate(rows, fmt, columns=list(rows[0]) if rows else [], caption=caption, width=_width())
    print(text, end="", flush=True)


def emit_records(fmt: Format, records: Sequence[Record]) -> None:
    """Print the records of trials."""
    print(render(to_rows(records), fmt, width=_width()), end="", flush=True)


def _width() -> int | None:
    """A table is as wide as the terminal, or as it needs when piped."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def note(message: str) -> None:
    """A line for the person watching, on stderr."""
    print(message, file=sys.stderr, flush=True)
