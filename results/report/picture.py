"""Contents of a plot of the front, independent of the library that draws it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from results.fidelity import standing
from results.pareto import non_dominated_rank
from results.summary import limits
from results.trial import COSTS, OBJECTIVES, Objective, Trial

#  A network to compare with: ``name``, ``params``, ``macs``, and optionally ``latency_ms`` and ``miou``
# (0…1).
Reference = Mapping[str, Any]

# From Okabe and Ito's palette, which colour-blind readers can tell apart.
FRONT_COLOUR, OTHER_COLOUR, REFERENCE_COLOUR, BUDGET_COLOUR = "#0072B2", "#8C8C8C", "#D55E00", "#000000"
NEAR = 4
"""Budgets farther from the networks than by this factor are not drawn: the networks would be squeezed together."""


@dataclass(frozen=True)
class Axis:
    """A cost as the axis of a panel."""

    cost: Objective

    @property
    def label(self) -> str:
        return self.cost.label

    def values(self, trials: Sequence[Trial]) -> list[float]:
        """Return the costs of trials that all have one, in the axis's unit."""
        return [value / self.cost.unit for trial in trials if (value := self.cost.value(trial)) is not None]

    def of(self, reference: Reference) -> float | None:
        """Return a reference's cost in the axis's unit; None where it is unknown."""
        value = reference.get(self.cost.name)
        return None if value is None else float(value) / self.cost.unit


AXES = tuple(Axis(OBJECTIVES[name]) for name in COSTS)


@dataclass(frozen=True)
class Picture:
    """The finished feasible networks, the front among them, the references, and one panel per cost axis.

    ``dots`` were trained as long as the front. ``shorter`` were trained less, so their mIoU cannot be compared with it.
    """

    dots: Sequence[Trial]
    shorter: Sequence[Trial]
    front: Sequence[Trial]
    references: Sequence[Reference]
    axes: Sequence[Axis]
    title: str
    objectives: Sequence[str] = ()
    budgets: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        trials: Sequence[Trial],
        front: Sequence[Trial],
        references: Sequence[Reference],
        objectives: Sequence[str],
        title: str,
        budgets: Mapping[str, float] | None = None,
    ) -> Picture:
        """Choose what is drawn.

        Args:
            trials: all trials of a run.
            front: those on its front.
            references: networks to compare with, as :func:`results.report.plots.plot_front` takes them.
            objectives: names, in the run's order.
            title: names the run and its data.
            budgets: limits by the cost's name.
        """
        known = [r for r in trials if r.is_finished and r.feasible and _known(r.miou)]
        axes = [axis for axis in AXES if all(_known(axis.cost.value(trial)) for trial in known)]
        top = max((trial.key.rung for trial in front or known), default=0)
        dots = standing([trial for trial in known if trial.key.rung == top])
        shorter = [trial for trial in known if trial.key.rung < top]
        # A front without mIoU among its objectives may hold trials that have none.
        drawn = [trial for trial in front if _known(trial.miou)]
        return cls(dots, shorter, drawn, references, axes, title, objectives, budgets or {})

    def others(self) -> list[Trial]:
        on_front = {trial.id for trial in self.front}
        return [trial for trial in self.dots if trial.id not in on_front]

    def lengths(self) -> str:
        """Name the lengths of the ``shorter`` trainings for the legend."""
        found = sorted({trial.iterations for trial in self.shorter if trial.iterations is not None})
        return f"shorter training ({', '.join(map(str, found))} iterations)"

    def staircase(self, axis: Axis) -> list[Trial]:
        """List the members of the front that no other beats on this axis and mIoU alone, by rising cost."""
        points = np.array([axis.values(self.front), [-y for y in percent(self.front)]]).T
        ranks = non_dominated_rank(points)
        members = [trial for trial, rank in zip(self.front, ranks, strict=True) if rank == 0]
        return sorted(members, key=lambda trial: (axis.values([trial]), trial.number))

    def budget(self, axis: Axis) -> float | None:
        """Return the limit of an axis's cost in its unit, where there is one and it is near enough to be drawn."""
        limit, known = self.budgets.get(axis.cost.name), axis.values([*self.dots, *self.shorter])
        if limit is None or not limit / NEAR <= max(known) * axis.cost.unit <= limit * NEAR:
            return None
        return limit / axis.cost.unit

    def notes(self) -> list[str]:
        """Say in sentences what is not in the drawing: objectives, budgets, provenance of latencies."""
        told = [f"Objectives: {', '.join(self.objectives)}", f"Budgets: {limits(self.budgets)}", self.latency_note()]
        return [note for note in told if note]

    def latency_note(self) -> str:
        """Say where the latencies come from; empty where none are drawn."""
        if all(axis.cost.name != "latency_ms" for axis in self.axes):
            return ""
        return "Latency: " + "; ".join(sorted({str(trial.latency.provenance) for trial in self.dots if trial.latency}))


def percent(trials: Sequence[Trial]) -> list[float]:
    """Return the mIoU in % of trials that all have one."""
    return [100 * trial.miou for trial in trials if trial.miou is not None]


def spread(trials: Sequence[Trial]) -> list[float]:
    """Return each trial's standard deviation over seeds in %; 0 where there is one seed."""
    return [100 * (trial.miou_std or 0.0) for trial in trials]


def _known(value: float | None) -> bool:
    return value is not None and bool(np.isfinite(value))
