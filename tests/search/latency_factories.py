"""A device that is made up: how long networks take on it, and what goes wrong when, is told by the test."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from search_factories import medium, opened, table

from boostformer.architecture import Architecture
from evaluators.latency.backend import Backend, Latency, Say, silent
from search.config.timing import Timing
from search_space import SearchSpace

PROVENANCE = "measured: made up, 1 thread"


def milliseconds(arch: Architecture) -> float:
    """Another figure for every network of the small spaces, which only grows with their parameters."""
    return table().cost(arch).params / 1000


class Device(Backend):
    """Answers to ``device: host`` in a search; ``before`` is called with the number of each question, and may raise."""

    kind = "measured"

    def __init__(self, before: Callable[[int], None] = lambda number: None) -> None:
        self.asked: list[str] = []
        """Ids of the networks."""
        self.how: list[tuple[bool, int]] = []
        """``labels`` and ``builds`` of each question."""
        self.before, self.told = before, PROVENANCE

    def provenance(self) -> str:
        return self.told

    def latency(self, arch: Architecture, *, labels: bool = False, builds: int = 1, say: Say = silent) -> Latency:
        self.asked.append(arch.id)
        self.how.append((labels, builds))
        self.before(len(self.asked) - 1)
        ms = milliseconds(arch)
        return Latency(ms, 0.9 * ms, 1.1 * ms, ms + 1 if labels else None, "measured", self.told, {"clock": 921})


def timed(limit: float | None = None, space: SearchSpace | None = None, **changes: Any) -> Plan:
    """For mIoU and milliseconds on ``host``, with a budget of so many milliseconds."""
    timing = Timing.of(changes.pop("device", "host"))
    limits: dict[str, Any] = {} if limit is None else {"latency_ms": limit}
    return opened(space or medium(), limits, objectives=("miou", "latency_ms"), timing=timing, **changes)
