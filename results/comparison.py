"""Networks side by side, as a publication's table of results: costs, scores over seeds, and what each saves."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import fmean, stdev
from typing import Any

from boostformer.figures import Latency
from results.trial import OBJECTIVES

Basis = dict[str, Any]
"""Facts that scores must share to be compared, None where unknown: data (a digest), split, size, fit, classes."""

COSTS = ("params", "deployed_params", "deployed_macs", "latency_ms")
COLUMNS = (
    *("network", "id", "seeds", *COSTS, "miou", "miou_std", "accuracy", "accuracy_std"),
    *(f"{cost}_reduction_percent" for cost in COSTS),
    "miou_gain_points",
)


@dataclass(frozen=True)
class Scored:
    """One training's scores in 0…1, and what they were made on."""

    checkpoint: str
    miou: float
    accuracy: float
    basis: Basis


@dataclass(frozen=True)
class Entry:
    """A network that is compared.

    Attributes:
        name: as people call it.
        id: of its architecture.
        params: of the network that is trained.
        deployed_params: once it is folded.
        deployed_macs: multiply-adds of the folded network at batch 1.
        scores: of its trainings, one for each seed.
        latency: milliseconds, where they are known.
    """

    name: str
    id: str
    params: int
    deployed_params: int
    deployed_macs: int
    scores: list[Scored]
    latency: Latency | None = field(default=None, hash=False)


def differences(entries: Sequence[Entry]) -> list[str]:
    """Say in a line for each what the scores do not share, or do not tell of; none where all may be compared."""
    scores = [(entry.name, score) for entry in entries for score in entry.scores]
    if len(scores) < 2:
        return []
    lines = []
    for key in scores[0][1].basis:
        by_value: dict[str, list[str]] = {}
        for name, score in scores:
            value = score.basis[key]
            told = "unknown" if value is None else value if isinstance(value, str) else json.dumps(value)
            by_value.setdefault(told, []).append(name)
        if len(by_value) > 1 or "unknown" in by_value:
            sides = (f"{value} ({', '.join(dict.fromkeys(names))})" for value, names in by_value.items())
            lines.append(f"{key}: {', '.join(sides)}")
    return lines


def compare(entries: Sequence[Entry], baseline: str) -> list[dict[str, Any]]:
    """Return a row with the keys ``COLUMNS`` for each network.

    Scores are means over seeds with their standard deviations (n - 1), None for one seed. Reductions are in per cent of
    the network ``baseline``, whose own are None, as are those that are not known.
    """
    rows = [_row(entry) for entry in entries]
    base = next(row for row in rows if row["network"] == baseline)
    for row in rows:
        for cost in COSTS:
            known = row is not base and row[cost] is not None and base[cost]
            row[f"{cost}_reduction_percent"] = 100 * (1 - row[cost] / base[cost]) if known else None
        row["miou_gain_points"] = None if row is base else 100 * (row["miou"] - base["miou"])
    return rows


def shown(rows: Sequence[dict[str, Any]]) -> tuple[list[dict[str, str]], list[str]]:
    """Write rows of :func:`compare` for people, without columns that say nothing: the cells, and their columns."""
    written = [_shown(row) for row in rows]
    columns = [column for column in written[0] if any(row[column] for row in written)]
    return [{column: row[column] or "–" for column in columns} for row in written], columns


def _row(entry: Entry) -> dict[str, Any]:
    row: dict[str, Any] = {
        "network": entry.name,
        "id": entry.id,
        "seeds": len(entry.scores),
        "params": entry.params,
        "deployed_params": entry.deployed_params,
        "deployed_macs": entry.deployed_macs,
        "latency_ms": None if entry.latency is None else entry.latency.ms,
    }
    for key in ("miou", "accuracy"):
        values = [getattr(score, key) for score in entry.scores]
        row |= {key: fmean(values), f"{key}_std": stdev(values) if len(values) > 1 else None}
    return row


def _shown(row: dict[str, Any]) -> dict[str, str]:
    def cost(column: str, like: str) -> str:
        return "" if row[column] is None else OBJECTIVES[like].show(row[column])

    def score(column: str) -> str:
        spread = "" if row[f"{column}_std"] is None else f" ± {100 * row[f'{column}_std']:.2f}"
        return f"{100 * row[column]:.2f}{spread}"

    def signed(column: str, digits: int) -> str:
        return "" if row[column] is None else f"{row[column]:+.{digits}f}"

    def saved(column: str) -> str:
        value = row[f"{column}_reduction_percent"]
        return "" if value is None else f"{value:.1f}"

    return {
        "network": row["network"],
        "params": cost("params", "params"),
        "deployed params": cost("deployed_params", "params"),
        "deployed MACs": cost("deployed_macs", "macs"),
        "latency": cost("latency_ms", "latency_ms"),
        "mIoU (%)": score("miou"),
        "accuracy (%)": score("accuracy"),
        "seeds": "" if row["seeds"] == 1 else str(row["seeds"]),
        "fewer params (%)": saved("params"),
        "fewer deployed params (%)": saved("deployed_params"),
        "fewer deployed MACs (%)": saved("deployed_macs"),
        "less latency (%)": saved("latency_ms"),
        "mIoU (points)": signed("miou_gain_points", 2),
    }
