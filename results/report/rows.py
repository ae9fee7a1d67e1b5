"""A run's trials as rows of numbers for the page: small enough that thousands of them open at once.

What is the same in many trials, such as blocks and reasons, is listed once and referred to by its place in the list.
Lists grow in the order of the trials, so that few rows change when later trials follow.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from results.fidelity import standing
from results.run import Run
from results.trial import START, Status, Trial

FIELDS = (
    *("number", "id", "kind", "rung", "seed", "iterations", "miou", "std", "seeds", "params", "macs", "latency_ms"),
    *("low", "high", "seconds", "parent", "behind", "reason", "network"),
)
"""What a row holds, in order: ``kind`` and ``reason`` by their places in lists; ``parent`` by number, -1 is the start;
``low`` and ``high`` of the latency; ``network`` as the places of its values in the slots' lists."""
KINDS = ("front", "dominated", "shorter", "repeat", "over budget", "failed", "interrupted", "waiting", "running")
"""What a trial is: ``shorter`` was trained less than the front, ``repeat`` counts within the mean of another row."""
_DIGITS = 6


def slots_of(architecture: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Give name and value of each field of a network: ``stem``, ``stages.0.mixer``, …, ``decoder.width``."""
    yield "stem", architecture.get("stem", {"block": "none"})
    for number, stage in enumerate(architecture["stages"]):
        for key, value in stage.items():
            yield f"stages.{number}.{key}", value
    for key, value in architecture["decoder"].items():
        yield f"decoder.{key}", value


def level_of(value: Any) -> str:
    """Name the value of a slot: a block by its name, without its options."""
    if isinstance(value, Mapping):
        return str(value["block"])
    return str(value).lower() if isinstance(value, bool) else str(value)


class _Listed:
    """Values, each listed once; gives their places."""

    def __init__(self) -> None:
        self.values: list[Any] = []
        self._places: dict[str, int] = {}

    def place(self, value: Any) -> int:
        """Return the place of a value, which is added if need be."""
        key = json.dumps(value, sort_keys=True)
        if key not in self._places:
            self._places[key] = len(self.values)
            self.values.append(value)
        return self._places[key]


def table_of(run: Run, front: Sequence[Trial]) -> dict[str, Any]:
    """Give a run's trials as the page takes them: ``fields``, ``kinds``, ``reasons``, ``slots`` and ``rows``."""
    reasons, slots = _Listed(), dict[str, _Listed]()
    members = {trial.number: trial for trial in front}
    feasible = [trial for trial in run.trials if trial.is_finished and trial.feasible and known(trial.miou)]
    shown = {trial.number: trial for trial in standing(feasible)} | members
    top = max((trial.key.rung for trial in shown.values()), default=0)
    by_weights = {(trial.id, trial.weights): trial.number for trial in run.trials if trial.weights is not None}
    rows = []
    for trial in run.trials:
        network = []
        for name, value in slots_of(trial.architecture):
            network.append(slots.setdefault(name, _Listed()).place(value))
        seen = shown.get(trial.number, trial)
        parent = None
        if (found := trial.parent) is not None:
            parent = -1 if found.id == START else by_weights.get((found.id, found.weights))
        if (timed := trial.final or trial.latency) is None:
            times: list[float | None] = [None] * 3
        else:
            times = [timed.ms, timed.figure.low, timed.figure.high]
        rows.append(
            [
                trial.number,
                trial.id,
                KINDS.index(_kind(trial, shown, members, top)),
                trial.key.rung,
                trial.key.seed,
                trial.iterations,
                _short(seen.miou),
                _short(seen.miou_std),
                seen.seeds,
                trial.params,
                trial.macs,
                *map(_short, times),
                _short(trial.seconds),
                parent,
                trial.behind,
                None if trial.reason is None else reasons.place(trial.reason),
                network,
            ]
        )
    return {
        "fields": FIELDS,
        "kinds": KINDS,
        "reasons": reasons.values,
        "slots": [{"name": name, "values": found.values} for name, found in slots.items()],
        "rows": rows,
    }


def known(value: float | None) -> bool:
    """Tell whether a value is a finite number."""
    return value is not None and math.isfinite(value)


def _kind(trial: Trial, shown: Mapping[int, Trial], members: Mapping[int, Trial], top: int) -> str:
    """Say what a trial is, out of :data:`KINDS`.

    Args:
        trial: which.
        shown: the trials that stand for their networks, by number.
        members: those on the front.
        top: the longest training's rung.
    """
    if not trial.is_finished:
        return trial.status.value.replace("_", " ")
    if not trial.feasible:
        return "over budget"
    if not known(trial.miou):
        return Status.FAILED.value
    if trial.number in members:
        return "front"
    if trial.number in shown:
        return "dominated"
    return "shorter" if trial.key.rung < top else "repeat"


def _short(value: float | None) -> float | None:
    """Leave out the digits that nobody sees, and what JSON does not have."""
    if value is None or not math.isfinite(value):
        return None
    return float(f"{value:.{_DIGITS}g}")


def first_trainings(trials: Sequence[Trial]) -> list[Trial]:
    """Return one finished trial for each network, that of its shortest training, in the order of their numbers."""
    found: dict[str, Trial] = {}
    for trial in sorted(trials, key=lambda trial: (trial.key.rung, trial.number)):
        if trial.is_finished and known(trial.miou):
            found.setdefault(trial.id, trial)
    return sorted(found.values(), key=lambda trial: trial.number)
