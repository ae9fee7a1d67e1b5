"""What all latency backends share: figures that carry their provenance, and the two interfaces.

A :class:`Meter` runs graphs on a device (``host``, ``jetson``). A :class:`Backend` says how long whole networks take:
by a meter (``measured``), from a device's measured parts (``predicted``) or from a datasheet (``estimated``). No
backend ever answers with another kind of figure than its own.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Protocol

import numpy as np
import onnx

from boostformer.architecture import Architecture

Kind = Literal["measured", "predicted", "estimated"]
Say = Callable[[str], None]
"""Is told in a line what is being done: a build, a repetition, a wait."""


def silent(line: str) -> None:
    """For those who do not want to know."""


class Unavailable(Exception):
    """The device cannot be reached now, or is busy for too long: worth trying again later. Says why in a line."""


class MeasureFailure(Exception):
    """The device was reached but cannot run this graph, or never gave a steady figure: says why in a line."""


@dataclass(frozen=True)
class Measured:
    """Milliseconds of one graph: the median of the runs, and the quartiles between which their middle half lies.

    Of several builds it is the median build's, and ``low_ms`` to ``high_ms`` spans all the builds' medians.
    ``state`` holds what else was recorded: builds, clocks, temperatures, coefficient of variance.
    """

    median_ms: float
    low_ms: float
    high_ms: float
    runs: int
    state: dict[str, Any] = field(default_factory=dict, hash=False)

    @classmethod
    def of_builds(cls, builds: Sequence[Sequence[float]]) -> Measured:
        """From the milliseconds of every run, build by build."""
        medians = [float(np.median(times)) for times in builds]
        if len(builds) == 1:
            low, high = (float(q) for q in np.quantile(builds[0], [0.25, 0.75]))
        else:
            low, high = min(medians), max(medians)
        return cls(float(np.median(medians)), low, high, sum(map(len, builds)), {"builds_ms": medians})


@dataclass(frozen=True)
class Latency:
    """Milliseconds of a network at batch 1, from the image to the logits.

    ``low_ms`` to ``high_ms``: of a measured figure as in :class:`Measured`; of the others the band in which the
    device is expected to be. ``labels_ms`` is the time to the label map, the final upsample and argmax included,
    where it was asked for.
    """

    ms: float
    low_ms: float
    high_ms: float
    labels_ms: float | None
    kind: Kind
    provenance: str
    state: dict[str, Any] = field(default_factory=dict, hash=False)


class Meter(Protocol):
    """Runs graphs on a device."""

    @property
    def opset(self) -> int:
        """The opset in which the device wants graphs; asking may connect to it."""

    at_once: int
    """So many graphs are best given to :meth:`measure` together."""

    def provenance(self) -> str:
        """What figures are measured with, ``measured: …``: device, runtime and version, precision, power, clocks."""

    def measure(
        self, graphs: Mapping[str, onnx.ModelProto], *, builds: int = 1, say: Say = silent
    ) -> dict[str, Measured]:
        """Of each graph, where the device allows it in turns, so that a drift meets all alike.

        Raises :class:`Unavailable` or :class:`MeasureFailure`.
        """


class Backend(ABC):
    """How long networks take on one device."""

    kind: ClassVar[Kind]

    @abstractmethod
    def provenance(self) -> str:
        """One line, beginning with the kind: two figures may be compared when theirs are equal."""

    @abstractmethod
    def latency(self, arch: Architecture, *, labels: bool = False, builds: int = 1, say: Say = silent) -> Latency:
        """Of the deployed network, to the label map too if ``labels``; ``builds`` concern only what is measured."""
