"""Latency as a sum over the parts of a network: what table and estimate have in common."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

from boostformer.architecture import Architecture
from boostformer.parts import labels_part
from evaluators.costs.populations import PartSums
from evaluators.latency.backend import Backend, Latency, Say, silent


class Additive(Backend, PartSums[float]):
    """A backend whose milliseconds are ``overhead_ms`` and a sum over parts, so that populations are quick too."""

    overhead_ms = 0.0
    """Of every network, whatever it is made of."""

    def __init__(self) -> None:
        super().__init__(0.0, deployed=True)

    @property
    @abstractmethod
    def band(self) -> tuple[float, float]:
        """Between which multiples of a figure the device is expected to be."""

    def prepare(self, slots: Mapping[str, Sequence[Any]], one: Architecture) -> None:
        """Raises :class:`boostformer.errors.UserError` unless all networks of a space can be told, ``one`` of which."""

    def can_tell(self, arch: Architecture) -> bool:
        """Whether all that this network needs is known."""
        return True

    def milliseconds(self, arch: Architecture) -> float:
        """To the logits."""
        return self.overhead_ms + sum(self.pieces(arch))

    def latency(self, arch: Architecture, *, labels: bool = False, builds: int = 1, say: Say = silent) -> Latency:
        ms = self.milliseconds(arch)
        low, high = self.band
        after = self.part(labels_part(arch)) if labels else None
        return Latency(
            ms,
            ms * low,
            ms * high,
            None if after is None else ms + after,
            self.kind,
            self.provenance(),
            {"band": [low, high]},
        )
