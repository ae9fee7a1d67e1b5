"""Latency as a sum over the parts of a network: what table and estimate have in common."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

from boostformer.architecture import Architecture
from boostformer.errors import UserError
from boostformer.figures import Figure, Latency
from boostformer.parts import labels_part
from evaluators.costs.populations import PartSums
from evaluators.latency.backend import Backend, Say, silent


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
        ms, (low, high) = self.milliseconds(arch), self.band
        after = ms + self.part(labels_part(arch)) if labels else None
        provenance = self.provenance()
        try:
            return Latency(Figure(ms, ms * low, ms * high), provenance, after, {"band": [low, high]})
        except ValueError as error:
            raise UserError(f"network {arch.id}: {error} ({provenance})") from None
