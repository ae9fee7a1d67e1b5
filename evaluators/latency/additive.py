"""Backends whose latency is a sum over the parts of a network: predictions from a table, and estimates."""

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
    """Milliseconds of every network, whatever it is made of."""

    def __init__(self) -> None:
        super().__init__(0.0, deployed=True)

    @property
    @abstractmethod
    def band(self) -> tuple[float, float]:
        """The least and the largest multiple of a figure that the device is expected to take."""

    def prepare(self, slots: Mapping[str, Sequence[Any]], one: Architecture) -> None:
        """Raise :class:`UserError` unless the latency of every network of a space can be told.

        ``slots`` are the space's, by name, each with its variants; ``one`` is any of its networks.
        """

    def doubts(self) -> str | None:
        """Say why its figures should not decide a search, if there is a reason."""
        return None

    def can_tell(self, arch: Architecture) -> bool:
        """Tell whether all that the latency of this network needs is known."""
        return True

    def milliseconds(self, arch: Architecture) -> float:
        """Sum up the milliseconds from the image to the logits."""
        return self.overhead_ms + sum(self.pieces(arch))

    def latency(self, arch: Architecture, *, labels: bool = False, builds: int = 1, say: Say = silent) -> Latency:
        ms, (low, high) = self.milliseconds(arch), self.band
        after = ms + self.part(labels_part(arch)) if labels else None
        provenance = self.provenance()
        try:
            return Latency(Figure(ms, ms * low, ms * high), provenance, after, {"band": [low, high]})
        except ValueError as error:
            raise UserError(f"network {arch.id}: {error} ({provenance})") from None
