"""Rows, mostly of trials, as a table for people, as JSON and as CSV."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Callable, Mapping, Sequence, Sized
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Literal

from boostformer.errors import UserError, nearest
from boostformer.shown import csv_cell, printable
from results.fitting import least, widths, wrapped
from results.summary import human, summary
from results.trial import COSTS, COUNTED, MEMORY, OBJECTIVES, Trial

if TYPE_CHECKING:
    import pandas

Row = dict[str, Any]


class Format(StrEnum):
    """The forms in which rows are written; the values of ``--format``."""

    table = "table"
    json = "json"
    csv = "csv"


COLUMNS = (
    *("trial", "id", *OBJECTIVES, "miou_std", "seeds", "rung", "iterations", "promoted"),
    *(name for name in COUNTED if name not in OBJECTIVES),
    *MEMORY,
    *("latency_low_ms", "latency_high_ms", "latency_provenance"),
    *("final_latency_ms", "final_low_ms", "final_high_ms", "final_labels_ms", "final_provenance"),
    *("seed", "seconds", "status", "feasible", "reason", "provenance", "parent", "behind", "architecture"),
)
MARK, OF_BUDGETS = "mark", "% of budget"
"""Columns of a table alone: see :mod:`results.marks`."""
_EMPHASIS = {"knee": "bold green", "best": "bold"}
"""Styles of rows on a terminal with colours, by the beginning of their marks."""
# What a person wants to see side by side; the other columns are in JSON and CSV.
_SHOWN = (
    MARK,
    *("trial", "id", "miou", "miou_std", "seeds", "seed", "iterations", "promoted", *COSTS, OF_BUDGETS),
    *("activations_mb", "final_latency_ms", "final_labels_ms", "seconds", "parent", "status", "reason", "architecture"),
)
_DROPPED = (
    *("architecture", "seconds", "parent", "promoted", "seed", "final_labels_ms", "reason", "iterations", "seeds"),
    *(OF_BUDGETS, "activations_mb", "miou_std", "final_latency_ms", MARK),
)
"""Columns that a narrow table goes without, the first of them first."""
_USUAL = {"seeds": 1, "promoted": False, "status": "finished"}
"""Not worth a column where all rows have it."""


def to_rows(trials: Sequence[Trial]) -> list[Row]:
    """Return one dict per trial with the keys ``COLUMNS``; an unknown value or NaN is None; ``miou`` is in 0…1."""
    return [{column: known_values(values[column]) for column in COLUMNS} for values in map(flat, trials)]


def flat(trial: Trial) -> dict[str, Any]:
    """Return a trial's values by the names of ``COLUMNS``, with those of its key and latencies among them."""
    own = {name: getattr(trial, name, None) for name in COLUMNS}
    own |= {"trial": trial.number, "status": trial.status.value, "rung": trial.key.rung, "seed": trial.key.seed}
    own |= {"parent": None if trial.parent is None else trial.parent.id}
    if (found := trial.latency) is not None:
        own |= {"latency_ms": found.ms, "latency_low_ms": found.figure.low, "latency_high_ms": found.figure.high}
        own |= {"latency_provenance": str(found.provenance)}
    if (final := trial.final) is not None:
        own |= {"final_latency_ms": final.ms, "final_low_ms": final.figure.low, "final_high_ms": final.figure.high}
        own |= {"final_labels_ms": final.labels_ms, "final_provenance": str(final.provenance)}
    return own


def render(
    rows: Sequence[Row],
    fmt: str = "table",
    *,
    caption: str = "",
    width: int | None = None,
    first: Sequence[str] = (),
    colours: bool = False,
) -> str:
    """Write the ``rows`` of :func:`to_rows`, which may have columns before these, ``first``, as :func:`tabulate` does.

    The table is for people: it has units, a summary of the architecture where there is room, and no columns that are
    empty throughout or only say the usual: one length of training, one seed, finished. JSON and CSV have all columns,
    the architecture in full. Tables may have the columns :data:`MARK` and :data:`OF_BUDGETS` besides.
    """
    if fmt != "table":
        return tabulate(rows, fmt, columns=[*first, *COLUMNS])
    usual = _USUAL | ({"seed": rows[0]["seed"]} if rows else {})
    columns = [column for column in (*first, *_SHOWN) if not rows or any(_tells(row, column, usual) for row in rows)]
    return tabulate(
        rows,
        fmt,
        columns=columns,
        cell=_record_cell,
        caption=caption,
        width=width,
        drop=_DROPPED,
        colours=colours,
    )


def tabulate(
    rows: Sequence[Mapping[str, Any]],
    fmt: str = "table",
    *,
    columns: Sequence[str],
    cell: Callable[[str, Any], str] | None = None,
    caption: str = "",
    width: int | None = None,
    drop: Sequence[str] = (),
    colours: bool = False,
) -> str:
    """Write columns of rows as text that ends in one newline.

    "json" is a list of the whole rows, "csv" a header and one line per row with lists and mappings as JSON.

    Args:
        rows: values by column.
        fmt: "table", "json" or "csv".
        columns: those of a table or CSV, in order.
        cell: writes the value of a column in a table.
        caption: stands above a table.
        width: characters of a table's line; more where words, numbers and ids need it, by default as many as needed.
        drop: columns that a table goes without where the width does not suffice, the first of them first; it says so.
        colours: whether a terminal with colours shows the table: rows with some marks stand out, and texts are made
            printable here, since what obeys a terminal is then among them.

    Raises:
        UserError: ``fmt`` is another.
    """
    if fmt == "json":
        return to_json(rows)
    if fmt == "csv":
        return _csv(rows, columns)
    if fmt == "table":
        return _table(rows, columns, cell or _plain_cell, caption, width, drop, colours)
    raise UserError(f"unknown format '{fmt}'; {nearest(fmt, Format)}")


def to_json(document: Any) -> str:
    """Write as indented JSON; NaN and infinities, which JSON does not have, become null."""
    return json.dumps(known_values(document), indent=2, allow_nan=False) + "\n"


def to_frame(trials: Sequence[Trial]) -> pandas.DataFrame:
    """Return the trials as a pandas frame, for a notebook: one row per trial, ``architecture`` as a dict."""
    import pandas

    return pandas.DataFrame(to_rows(trials), columns=list(COLUMNS))


def known_values(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: known_values(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [known_values(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _csv(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([csv_cell(column) for column in columns])
    for row in rows:
        values = [row[column] for column in columns]
        writer.writerow(
            [json.dumps(v, separators=(",", ":")) if isinstance(v, dict | list) else csv_cell(v) for v in values]
        )
    return text.getvalue()


def _table(
    rows: Sequence[Mapping[str, Any]],
    columns: Sequence[str],
    cell: Callable[[str, Any], str],
    caption: str,
    width: int | None,
    drop: Sequence[str],
    colours: bool,
) -> str:
    """Draw a table with rich; the arguments are those of :func:`tabulate`."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    cells = {column: [printable(cell(column, row[column])) for row in rows] for column in columns}
    natural = {column: max(map(len, (column, *texts))) for column, texts in cells.items()}
    needed = {
        column: natural[column] if _is_whole(rows, column) else max(len(column), *map(least, texts))
        for column, texts in cells.items()
    }
    dropped = []
    for column in drop:
        if width is None or sum(needed.values()) + _lines(needed) <= width:
            break
        if needed.pop(column, None) is not None:
            dropped.append(column)
    room = 10_000 if width is None else width - _lines(needed)
    shares = widths([natural[column] for column in needed], list(needed.values()), room)

    table = Table()
    for column in needed:
        right = _is_whole(rows, column) and column != "id"
        table.add_column(column, justify="right" if right else "left", no_wrap=True)
    for number, row in enumerate(rows):
        # As Text, because a string may hold what rich takes for markup.
        texts = [Text(wrapped(cells[name][number], share)) for name, share in zip(needed, shares, strict=True)]
        table.add_row(*texts, style=_EMPHASIS.get(str(row.get(MARK)).partition("+")[0]))
    text = io.StringIO()
    system: Literal["standard"] | None = "standard" if colours else None
    console = Console(
        file=text, width=10_000, color_system=system, force_terminal=colours, highlight=False, legacy_windows=False
    )
    wide = max(width, sum(shares) + _lines(needed)) if width else 10_000
    for line in caption.splitlines():
        console.print(Text(wrapped(printable(line), wide)))
    console.print(table)
    if dropped:
        console.print(Text(wrapped(f"in a wider terminal, or another --format: {', '.join(dropped)}", wide)))
    return text.getvalue()


def _lines(columns: Sized) -> int:
    """Count the characters that the lines between columns take."""
    return 3 * len(columns) + 1


def _is_whole(rows: Sequence[Mapping[str, Any]], column: str) -> bool:
    """Tell whether a column's values stay in one piece: numbers are compared, and ids are copied."""
    return column == "id" or all(isinstance(row[column], int | float | None) for row in rows)


def _tells(row: Row, column: str, usual: Mapping[str, Any]) -> bool:
    """Tell whether a column says anything unusual of this row."""
    if column == "iterations":
        return bool(row["rung"])
    return row.get(column) is not None and usual.get(column) != row[column]


def _plain_cell(column: str, value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:.4g}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def _record_cell(column: str, value: Any) -> str:
    return summary(value) if column == "architecture" else human(column, value)
