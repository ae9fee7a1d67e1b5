"""What a plot of the front shows, whichever library draws it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from results.fidelity import standing
from results.pareto import non_dominated_rank
from results.schema import Record

#  A network to compare with: ``name``, ``params``, ``macs``, and optionally ``latency_ms`` and ``miou``
# (0…1).
Reference = Mapping[str, Any]

# From Okabe and Ito's palette, which colour-blind readers can tell apart.
FRONT_COLOUR, OTHER_COLOUR, REFERENCE_COLOUR = "#0072B2", "#8C8C8C", "#D55E00"


@dataclass(frozen=True)
class Axis:
    """A cost axis: the record's field, its label, and what its values are divided by."""

    field: str
    label: str
    unit: float

    def values(self, records: Sequence[Record]) -> list[float]:
        return [getattr(record, self.field) / self.unit for record in records]

    def cost(self, reference: Reference) -> float | None:
        value = reference.get(self.field)
        return None if value is None else float(value) / self.unit


AXES = (
    Axis("params", "Parameters (M)", 1e6),
    Axis("macs", "Multiply-adds (G MACs)", 1e9),
    Axis("latency_ms", "Latency (ms)", 1.0),
)


@dataclass(frozen=True)
class Picture:
    """The finished feasible networks, the front among them, the references, and one panel per cost axis.

    ``dots`` were trained as long as the front, ``shorter`` less: their mIoU is not to be compared with the others'.
    """

    dots: Sequence[Record]
    shorter: Sequence[Record]
    front: Sequence[Record]
    references: Sequence[Reference]
    axes: Sequence[Axis]
    title: str

    @classmethod
    def of(
        cls,
        records: Sequence[Record],
        front: Sequence[Record],
        references: Sequence[Reference],
        objectives: Sequence[str],
        title: str,
    ) -> Picture:
        known = [r for r in records if r.state == "finished" and r.feasible and _known(r.miou)]
        axes = [axis for axis in AXES if all(_known(getattr(record, axis.field)) for record in known)]
        heading = f"{title} (objectives: {', '.join(objectives)})"
        top = max((record.rung for record in front or known), default=0)
        dots = standing([record for record in known if record.rung == top])
        shorter = [record for record in known if record.rung < top]
        # A front without mIoU among its objectives may hold records that have none.
        return cls(dots, shorter, [r for r in front if _known(r.miou)], references, axes, heading)

    def others(self) -> list[Record]:
        on_front = {record.id for record in self.front}
        return [record for record in self.dots if record.id not in on_front]

    def lengths(self) -> str:
        """Names the ``shorter`` trainings."""
        found = sorted({record.iterations for record in self.shorter if record.iterations is not None})
        return f"shorter training ({', '.join(map(str, found))} iterations)"

    def staircase(self, axis: Axis) -> list[Record]:
        """The members of the front that none beats on this axis and mIoU alone, by rising cost."""
        points = np.array([axis.values(self.front), [-y for y in percent(self.front)]]).T
        ranks = non_dominated_rank(points)
        members = [record for record, rank in zip(self.front, ranks, strict=True) if rank == 0]
        return sorted(members, key=lambda record: (getattr(record, axis.field), record.trial))

    def latency_note(self) -> str:
        """Where the latencies come from; empty where none are drawn."""
        if all(axis.field != "latency_ms" for axis in self.axes):
            return ""
        return "Latency: " + "; ".join(sorted({record.latency_provenance or "unknown" for record in self.dots}))


def percent(records: Sequence[Record]) -> list[float]:
    """mIoU in % of records that have one."""
    return [100 * record.miou for record in records if record.miou is not None]


def spread(records: Sequence[Record]) -> list[float]:
    """The standard deviation over seeds in %; 0 where there is one seed."""
    return [100 * (record.miou_std or 0.0) for record in records]


def _known(value: float | None) -> bool:
    return value is not None and bool(np.isfinite(value))
