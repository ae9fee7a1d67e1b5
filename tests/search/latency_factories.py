"""A device that is made up: how long networks take on it, and what goes wrong when, is told by the test."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from search_factories import medium, opened, table

from boostformer.architecture import Architecture
from boostformer.figures import Figure, Latency, Provenance
from evaluators.latency.backend import Backend, Say, silent
from search.config.opening import OpenExperiment
from search.config.timing import Timing
from search_space import SearchSpace

PROVENANCE = Provenance("measured", "made up", "nothing", "fp32", ("1 thread",))
OTHER = replace(PROVENANCE, settings=("2 threads",))


def milliseconds(arch: Architecture) -> float:
    """Another figure for every network of the small spaces, which only grows with their parameters."""
    return table().cost(arch).params / 1000


class Device(Backend):
    """Answers to ``device: host`` in a search; ``before`` is called with the number of each question, and may raise."""

    def __init__(self, before: Callable[[int], None] = lambda number: None) -> None:
        self.asked: list[str] = []
        """Ids of the networks."""
        self.how: list[tuple[bool, int]] = []
        """``labels`` and ``builds`` of each question."""
        self.before, self.told = before, PROVENANCE
        self.slower: dict[str, float] = {}
        """Milliseconds more of networks, by their ids."""

    def provenance(self) -> Provenance:
        return self.told

    def latency(self, arch: Architecture, *, labels: bool = False, builds: int = 1, say: Say = silent) -> Latency:
        self.asked.append(arch.id)
        self.how.append((labels, builds))
        self.before(len(self.asked) - 1)
        ms = milliseconds(arch) + self.slower.get(arch.id, 0.0)
        return Latency(Figure(ms, 0.9 * ms, 1.1 * ms), self.told, ms + 1 if labels else None, {"clock": 921})


def timed(limit: float | None = None, space: SearchSpace | None = None, **changes: Any) -> OpenExperiment:
    """For mIoU and milliseconds on ``host``, with a budget of so many milliseconds."""
    timing, _ = Timing.of(changes.pop("device", "host"))
    limits: dict[str, Any] = {} if limit is None else {"latency_ms": limit}
    return opened(space or medium(), limits, objectives=("miou", "latency_ms"), latency=timing, **changes)
