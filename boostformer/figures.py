"""Milliseconds as values: a figure, what it depends on, and both together as a latency. Torch-free.

They stand on the ground floor because devices make them (`evaluators`) and trials keep them (`results`).
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, get_args

from boostformer.errors import UserError

Kind = Literal["measured", "predicted", "estimated"]
_LARGEST = sys.float_info.max


@dataclass(frozen=True, slots=True)
class Figure:
    """Milliseconds, and the two between which they lie.

    Of a measurement these are the quartiles of its runs (of several builds: the least and the largest of their
    medians), of a prediction or an estimate the band in which the device is expected to be.
    ValueError unless all three are finite and positive, and in order.
    """

    ms: float
    low: float
    high: float

    def __post_init__(self) -> None:
        if not (0 < self.low <= self.high <= _LARGEST and 0 < self.ms <= _LARGEST):
            raise ValueError(f"{self.ms} ms between {self.low} and {self.high} ms is not a figure")


@dataclass(frozen=True, slots=True)
class Provenance:
    """All that a figure depends on besides the network: figures may be compared when theirs are equal.

    Attributes:
        kind: how the figure came about.
        engine: what ran the network or computed the figure, with its version, such as ``onnxruntime 1.32.0``.
        device: the processor or board.
        precision: ``fp32`` or ``fp16``.
        settings: everything else, each in words: threads, power mode, clocks, batch.
    """

    kind: Kind
    engine: str
    device: str
    precision: str
    settings: tuple[str, ...] = ()

    def __str__(self) -> str:
        """One line for people: ``measured: onnxruntime 1.32.0, Xeon, fp32, 1 thread, batch 1``."""
        return f"{self.kind}: {', '.join((self.engine, self.device, self.precision, *self.settings))}"

    def require_same(self, now: Provenance, what: str) -> None:
        """Raise :class:`UserError` when figures of ``now`` must not stand beside those of ``what``, which have this."""
        if now != self:
            raise UserError(
                f"{what}: its figures are '{self}', those of now would be '{now}'; figures of different provenance "
                "are never mixed"
            )

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "settings": list(self.settings)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Provenance:
        """Read :meth:`to_dict`'s form; ValueError when it is another."""
        if data["kind"] not in get_args(Kind):
            raise ValueError(f"kind is {data['kind']!r}, allowed: {', '.join(get_args(Kind))}")
        found = cls(data["kind"], data["engine"], data["device"], data["precision"], tuple(data["settings"]))
        if not all(isinstance(word, str) for word in (found.engine, found.device, found.precision, *found.settings)):
            raise ValueError("a provenance is made of words")
        return found


@dataclass(frozen=True)
class Latency:
    """The latency of one network at batch 1, from the image to the logits.

    ValueError unless ``labels_ms``, where there is one, is finite and positive.

    Attributes:
        figure: the milliseconds.
        provenance: what they depend on.
        labels_ms: milliseconds to the label map, the final upsample and argmax included, where they were asked for.
        state: what else was recorded: runs, builds, clocks, temperatures.
    """

    figure: Figure
    provenance: Provenance
    labels_ms: float | None = None
    state: dict[str, Any] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        if self.labels_ms is not None and not 0 < self.labels_ms <= _LARGEST:
            raise ValueError(f"{self.labels_ms} ms to the label map is not a figure")

    @property
    def ms(self) -> float:
        return self.figure.ms

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; :meth:`from_dict` gives back an equal latency."""
        return {
            **asdict(self.figure),
            "labels_ms": self.labels_ms,
            "provenance": self.provenance.to_dict(),
            "state": self.state,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Latency:
        """Read :meth:`to_dict`'s form; ValueError, TypeError or KeyError when it is another."""
        return cls(
            Figure(data["ms"], data["low"], data["high"]),
            Provenance.from_dict(data["provenance"]),
            data["labels_ms"],
            dict(data["state"]),
        )
