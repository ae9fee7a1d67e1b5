"""Budgets: hard upper limits on what a network may cost, absolute or as a share of a baseline."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from boostformer import presets
from boostformer.architecture import Architecture
from boostformer.errors import UserError, nearest
from evaluators.costs.counting import Cost
from evaluators.costs.table import CostTable

LIMITS = ("params", "macs", "latency_ms")
COUNTED = ("deployed", "training")
"""Which network's cost a run file's budgets and objectives mean, ``counted: deployed`` unless it says otherwise."""
KEYS = ("baseline", "counted", *LIMITS)
_SCALES = {"": 1, "k": 10**3, "K": 10**3, "M": 10**6, "G": 10**9}


@dataclass(frozen=True)
class Budget:
    """Absolute limits by name; a cost that equals its limit fits."""

    limits: tuple[tuple[str, float], ...]
    """All but ``latency_ms`` in whole numbers."""

    @classmethod
    def resolve(
        cls,
        entries: Mapping[str, object],
        table: CostTable,
        *,
        classes: int,
        size: tuple[int, int],
        source: str,
    ) -> Budget:
        """From a run file's ``budgets``: ``{baseline: segformer_b0, params: 80%, macs: 1.5G}``.

        Shares are of the baseline preset's cost for the run's classes and input size (H, W), counted as the
        ``table`` counts: of the deployed network or of the one that is trained.
        """
        baseline: Architecture | None = None
        counted_deployed(entries, source)
        if (name := entries.get("baseline")) is not None:
            baseline = presets.load(str(name), classes=classes, size=size)
        limits: list[tuple[str, float]] = []
        for key, value in entries.items():
            if key in KEYS and key not in LIMITS:
                continue
            where = f"{source}: budgets.{key}"
            if key not in LIMITS:
                raise UserError(f"{where}: unknown budget; {nearest(key, KEYS)}")
            limit = _milliseconds(value, where) if key == "latency_ms" else _limit(value, key, baseline, table, where)
            limits.append((key, limit))
        if baseline is not None and not limits:
            raise UserError(f"{source}: budgets: a baseline alone limits nothing; add {' or '.join(LIMITS)}")
        return cls(tuple(limits))

    def violations(self, cost: Cost, latency_ms: float | None = None) -> dict[str, float]:
        """How far over each limit, as a share of it: at most 0 fits. An unknown latency violates nothing."""
        figures = {"params": cost.params, "macs": cost.macs, "latency_ms": latency_ms}
        return {name: value / limit - 1 for name, limit in self.limits if (value := figures[name]) is not None}

    def fits(self, cost: Cost, latency_ms: float | None = None) -> bool:
        """So far as is known."""
        return all(violation <= 0 for violation in self.violations(cost, latency_ms).values())

    def to_dict(self) -> dict[str, float]:
        return dict(self.limits)


def counted_deployed(entries: Mapping[str, object], source: str) -> bool:
    """Whether ``budgets`` mean the deployed network."""
    value = str(entries.get("counted", COUNTED[0]))
    if value not in COUNTED:
        raise UserError(f"{source}: budgets.counted: unknown '{value}'; {nearest(value, COUNTED)}")
    return value == COUNTED[0]


def _milliseconds(value: object, where: str) -> float:
    match = re.fullmatch(r"\s*([0-9]*\.?[0-9]+)\s*(ms)?\s*", str(value))
    if isinstance(value, bool) or match is None or float(match[1]) <= 0:
        raise UserError(f"{where}: {value!r} is not a limit, allowed: milliseconds, such as 20 or 12.5")
    return float(match[1])


def _limit(value: object, key: str, baseline: Architecture | None, table: CostTable, where: str) -> int:
    match = re.fullmatch(r"\s*([0-9]*\.?[0-9]+(?:[eE][+-]?[0-9]+)?)\s*([kKMG%]?)\s*", str(value))
    if isinstance(value, bool) or match is None or float(match[1]) <= 0:
        raise UserError(f"{where}: {value!r} is not a limit, allowed: 3M, 1.5G, 2500000 or, with a baseline, 80%")
    number, unit = float(match[1]), match[2]
    if unit == "%":
        if baseline is None:
            raise UserError(f"{where}: {value!r} is a share, which needs `baseline` with a preset's name beside it")
        limit = int(getattr(table.cost(baseline), key) * number / 100)
    else:
        limit = round(number * _SCALES[unit])
    if limit < 1:
        raise UserError(f"{where}: {value!r} comes to less than 1, which no network fits")
    return limit
