"""The history of a training, as ``metrics.csv`` beside its checkpoint has it."""

from __future__ import annotations

import csv
import math
from pathlib import Path

from boostformer.errors import UserError, os_refusal

METRICS = "metrics.csv"
_NEEDED = {"iteration", "loss", "lr", "miou"}
_SCORES = ("miou", "accuracy")

Row = dict[str, float | None]


def read_history(folder: Path) -> list[Row]:
    """Read the rows of a training: numbers by column, None where there is none; no rows where there is no file.

    Raises :class:`UserError` when the file cannot be read, is none of a training, or holds what none writes.
    """
    file = folder / METRICS
    try:
        with file.open(newline="", encoding="utf-8") as stream:
            reader = csv.DictReader(line for line in stream if line.endswith("\n"))  # the last one may be half written
            rows = [{name: _number(text) for name, text in row.items()} for row in reader]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise os_refusal(file, "cannot be read", error) from None
    except (ValueError, TypeError, csv.Error):
        raise UserError(f"{file}: not the history of a training") from None
    if not set(reader.fieldnames or ()) >= _NEEDED:
        raise UserError(f"{file}: not the history of a training: it needs {', '.join(sorted(_NEEDED))}")
    last = 0.0
    for number, row in enumerate(rows, 2):
        iteration, scores = row["iteration"], [row.get(name) for name in _SCORES]
        if iteration is None or iteration <= last or any(score is not None and not 0 <= score <= 1 for score in scores):
            raise UserError(f"{file}:{number}: damaged: iterations rise from line to line, and scores are in 0…1")
        last = iteration
    return rows


def _number(text: str) -> float | None:
    value = float(text) if text else None
    return value if value is not None and math.isfinite(value) else None


def pairs_of(rows: list[Row], column: str, scale: float = 1.0) -> list[tuple[float, float]]:
    """Give iteration and value of the rows that have one, the value times ``scale``."""
    found = ((row["iteration"], row.get(column)) for row in rows)
    return [(iteration, value * scale) for iteration, value in found if iteration is not None and value is not None]
