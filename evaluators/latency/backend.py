"""The interfaces of all latency backends: what measures graphs, and what tells the latency of networks.

A :class:`Meter` runs graphs on a device (``host``, ``jetson``). A :class:`Backend` says how long whole networks take:
by a meter (``measured``), from a device's measured parts (``predicted``) or from a datasheet (``estimated``). No
backend ever answers with another kind of figure than its own.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from boostformer.architecture import Architecture
from boostformer.figures import Figure, Latency, Provenance

if TYPE_CHECKING:
    import onnx

Say = Callable[[str], None]
"""Called with a line that says what is being done: a build, a repetition, a wait."""


def silent(line: str) -> None:
    """Ignore the line."""


class Unavailable(Exception):
    """The device cannot be reached now, or is busy for too long: worth trying again later. Says why in a line."""


class MeasureFailure(Exception):
    """The device was reached but cannot run this graph, or never gave a steady figure: says why in a line."""


@dataclass(frozen=True)
class Measured:
    """The latency of one graph as a meter measured it.

    Attributes:
        figure: the median of the runs between their quartiles; of several builds the median build's between the least
            and the largest of all the builds' medians.
        runs: how many runs there were.
        state: what else was recorded: builds, clocks, temperatures, coefficient of variance.
    """

    figure: Figure
    runs: int
    state: dict[str, Any] = field(default_factory=dict, hash=False)

    @classmethod
    def of_builds(cls, builds: Sequence[Sequence[float]]) -> Measured:
        """Sum up the milliseconds of every run, build by build; :class:`MeasureFailure` where they are no figure."""
        medians = [float(np.median(times)) for times in builds]
        if len(builds) == 1:
            low, high = (float(q) for q in np.quantile(builds[0], [0.25, 0.75]))
        else:
            low, high = min(medians), max(medians)
        try:
            figure = Figure(float(np.median(medians)), low, high)
        except ValueError as error:
            raise MeasureFailure(str(error)) from None
        return cls(figure, sum(map(len, builds)), {"builds_ms": medians})

    @property
    def ms(self) -> float:
        return self.figure.ms

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; :meth:`from_dict` gives back an equal one."""
        return {**asdict(self.figure), "runs": self.runs, "state": self.state}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Measured:
        """Read :meth:`to_dict`'s form; ValueError, TypeError or KeyError when it is another."""
        return cls(Figure(data["ms"], data["low"], data["high"]), data["runs"], dict(data["state"]))


class Meter(Protocol):
    """Runs graphs on a device."""

    @property
    def opset(self) -> int:
        """The opset in which the device wants graphs; asking may connect to it."""

    at_once: int
    """Number of graphs that are best given to :meth:`measure` together."""

    def provenance(self) -> Provenance:
        """Describe what figures are measured with; asking may connect to the device."""

    def measure(
        self, graphs: Mapping[str, onnx.ModelProto], *, builds: int = 1, say: Say = silent
    ) -> dict[str, Measured]:
        """Measure each graph, where the device allows it in turns, so that a drift meets all alike.

        Args:
            graphs: by name, at batch 1 with static shapes.
            builds: how many times each is built anew.
            say: called with a line about what is being done.

        Raises :class:`Unavailable` or :class:`MeasureFailure`.
        """


class Backend(ABC):
    """Tells how long networks take on one device."""

    @abstractmethod
    def provenance(self) -> Provenance:
        """Describe what its figures depend on: two may be compared when theirs are equal."""

    @abstractmethod
    def latency(self, arch: Architecture, *, labels: bool = False, builds: int = 1, say: Say = silent) -> Latency:
        """Tell the latency of the deployed network.

        Args:
            arch: the network.
            labels: whether to tell the milliseconds to the label map too.
            builds: how many times the network is built; only what is measured depends on it.
            say: called with a line about what is being done.

        Raises :class:`Unavailable` or :class:`MeasureFailure` where it measures, and
        :class:`boostformer.errors.UserError` where it has no figure for this network.
        """
