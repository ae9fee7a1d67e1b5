"""How commands print: one JSON document, CSV, or a table, on stdout alone."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated, Any

import typer


class Format(StrEnum):
    """What ``--format`` takes."""

    table = "table"
    json = "json"
    csv = "csv"


FormatOption = Annotated[Format, typer.Option("--format", help="How to print the result.")]


def emit(fmt: Format, document: Any, rows: Sequence[dict[str, Any]], *, caption: str = "") -> None:
    """Print ``document`` as JSON, or ``rows`` (all with the same keys) as CSV or as a table under ``caption``."""
    if fmt is Format.json:
        print(json.dumps(document, indent=2))
    elif fmt is Format.csv:
        text = io.StringIO()
        writer = csv.DictWriter(text, list(rows[0]) if rows else [], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        print(text.getvalue(), end="")
    else:
        _table(rows, caption)


def _table(rows: Sequence[dict[str, Any]], caption: str) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table()
    for name in rows[0] if rows else []:
        number = all(isinstance(row[name], int | float) for row in rows)
        table.add_column(name, justify="right" if number else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(_cell(value)) for value in row.values()))
    # Piped, a table is as wide as it needs.
    console = Console(width=None if sys.stdout.isatty() else 10_000, highlight=False)
    if caption:
        console.print(Text(caption))
    console.print(table)


def _cell(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:.4g}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def note(message: str) -> None:
    """A line for the person watching, on stderr."""
    print(message, file=sys.stderr, flush=True)
