"""Records as a table for people, as JSON and as CSV."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, get_args

from boostformer.errors import UserError, nearest
from results.record import Record
from results.summary import human, summary

if TYPE_CHECKING:
    import pandas

Format = Literal["table", "json", "csv"]
Row = dict[str, Any]

COLUMNS = (
    "trial",
    "id",
    "miou",
    "params",
    "macs",
    "latency_ms",
    "conv_linear_macs",
    "attention_macs",
    "latency_provenance",
    "seed",
    "seconds",
    "state",
    "feasible",
    "failure",
    "provenance",
    "architecture",
)
# What a person wants to see side by side; the other columns are in JSON and CSV.
_SHOWN = (
    "trial",
    "id",
    "miou",
    "params",
    "macs",
    "latency_ms",
    "latency_provenance",
    "seconds",
    "failure",
    "architecture",
)
_TEXT = ("id", "latency_provenance", "failure", "architecture")


def to_rows(records: Sequence[Record]) -> list[Row]:
    """One dict per record with the keys ``COLUMNS``; what is unknown, or NaN, is None; ``miou`` in 0…1."""
    return [{column: _known(getattr(record, column)) for column in COLUMNS} for record in records]


def render(rows: Sequence[Row], fmt: str = "table", *, width: int | None = None) -> str:
    """``rows`` as text that ends in one newline.

    "table": with units, a summary for the architecture, and without columns that are empty throughout;
    ``width`` characters wide, or as wide as it needs. "json": a list of objects, the architecture in full.
    "csv": a header and one line per row, the architecture as JSON.

    Raises :class:`UserError` for another format.
    """
    if fmt == "json":
        return json.dumps(list(rows), indent=2, allow_nan=False) + "\n"
    if fmt == "csv":
        return _csv(rows)
    if fmt == "table":
        return _table(rows, width)
    raise UserError(f"unknown format '{fmt}'; {nearest(fmt, get_args(Format))}")


def to_frame(records: Sequence[Record]) -> pandas.DataFrame:
    """The same as a pandas frame, for a notebook: one row per record, ``architecture`` as a dict."""
    import pandas

    return pandas.DataFrame(to_rows(records), columns=list(COLUMNS))


def _known(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _csv(rows: Sequence[Row]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({**row, "architecture": json.dumps(row["architecture"], separators=(",", ":"))})
    return text.getvalue()


def _table(rows: Sequence[Row], width: int | None) -> str:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    columns = [column for column in _SHOWN if not rows or any(row[column] is not None for row in rows)]
    table = Table()
    for column in columns:
        table.add_column(
            column,
            justify="left" if column in _TEXT else "right",
            no_wrap=column not in _TEXT or column == "id",
            overflow="fold",
        )
    for row in rows:
        shown = {**row, "architecture": summary(row["architecture"])}
        # As Text, because a string may hold what rich takes for markup.
        table.add_row(*(Text(human(column, shown[column])) for column in columns))
    text = io.StringIO()
    console = Console(file=text, width=width or 10_000, color_system=None, highlight=False, legacy_windows=False)
    console.print(table)
    return text.getvalue()
