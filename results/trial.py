"""A trial of a search: its values, status and key, and the objectives that may be optimised or limited."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final, Literal

from boostformer.errors import UserError, nearest
from boostformer.figures import Latency


class Status(StrEnum):
    """State of a trial; the value is what is stored and shown."""

    RUNNING = "running"
    FINISHED = "finished"
    FAILED = "failed"
    """Cannot be trained or measured: counts as tried and is not repeated."""
    INTERRUPTED = "interrupted"
    """Given back by its worker, or left by a dead one: is repeated."""
    WAITING = "waiting"
    """Scored; its latency is measured once its device is back."""
    OVER_BUDGET = "over_budget"
    """Measured over budget: is not repeated, and does not count as tried."""

    @property
    def concludes(self) -> bool:
        """Tell whether a trial of this status counts as done."""
        return self in (Status.FINISHED, Status.FAILED)


@dataclass(frozen=True, slots=True)
class TrialKey:
    """Identity of a training: network ``arch_id``, length by ``rung`` (from 0), and ``seed``."""

    arch_id: str
    rung: int
    seed: int


START: Final = "start"
"""Stands, in place of a network's id, for the trained network that the search began with."""


@dataclass(frozen=True, slots=True)
class Parent:
    """The network whose trained weights a training began from.

    Attributes:
        id: of a network of the run, whose first training they are of; or :data:`START`.
        weights: SHA-256 of these weights, by which they are found.
        behind: iterations that lie behind them, those of its own ancestors included, but none of the start's.
    """

    id: str
    weights: str
    behind: int


@dataclass(frozen=True)
class Trial:
    """One attempt at training one network: its costs and its score.

    Attributes:
        number: the trial's number in its run, from 0.
        key: which training it is. Several trials have the same key when one was interrupted.
        architecture: the network, as ``Architecture.to_dict`` writes it.
        params, macs, conv_linear_macs, attention_macs: exact costs; multiply-adds at batch 1.
        feasible: whether the network is within the run's budgets, so far as is known.
        iterations: length of the training.
        miou: score in 0…1; where a trial stands for several ``seeds`` their mean, ``miou_std`` their deviation.
        seconds: wall-clock time of the evaluation.
        provenance: how the score came about.
        latency: milliseconds on the run's device, as the search had them.
        final: milliseconds of a finalist, measured again in several builds when the search ended.
        promoted: whether a longer training of the network was begun; None in a run of one length.
        reason: why the trial failed, waits or is over budget.
        owner: the worker that claimed it.
        reached: iterations saved by an earlier worker that died, from which this trial goes on.
        abandoned: whether the worker of an interrupted trial died, rather than giving the trial back.
        parent: what the training began from; None for random weights.
        weights: SHA-256 of the trained weights, where they were stored.
        iou: of each class, in the order of the run's labels; None for one that does not occur.
        activations: bytes of all tensors that live at once, at most, in a run that limits them.
    """

    number: int
    key: TrialKey
    status: Status
    architecture: dict[str, Any] = field(hash=False)
    params: int
    macs: int
    conv_linear_macs: int
    attention_macs: int
    feasible: bool
    iterations: int | None = None
    miou: float | None = None
    seconds: float | None = None
    provenance: str = ""
    latency: Latency | None = None
    final: Latency | None = None
    promoted: bool | None = None
    miou_std: float | None = None
    seeds: int = 1
    reason: str | None = None
    owner: str = ""
    reached: int = 0
    abandoned: bool = False
    parent: Parent | None = None
    weights: str | None = None
    iou: tuple[float | None, ...] | None = None
    activations: int | None = None

    @property
    def id(self) -> str:
        """The network's id."""
        return self.key.arch_id

    @property
    def behind(self) -> int:
        """The iterations that lie behind the score, those of the network's ancestors included."""
        return (self.iterations or 0) + (self.parent.behind if self.parent is not None else 0)

    @property
    def weights_mb(self) -> float:
        """Megabytes of the parameters in fp32."""
        return weights_mb(self.params)

    @property
    def activations_mb(self) -> float | None:
        """Megabytes that the activations take at most, at batch 1 in fp32, where that was asked for."""
        return None if self.activations is None else megabytes(self.activations)

    @property
    def latency_ms(self) -> float | None:
        """The last and best figure there is, which decides."""
        known = self.final or self.latency
        return None if known is None else known.ms

    @property
    def is_finished(self) -> bool:
        return self.status is Status.FINISHED


@dataclass(frozen=True, slots=True)
class Objective:
    """A quantity that a run may optimise or limit: a field or property of :class:`Trial` by its name.

    Attributes:
        maximised: the direction, stated here alone; every other objective is minimised.
        label: title of a plot's axis.
        unit: what the axis divides values by.
        show: writes a value for people, with its unit.
        noun: what stands behind that in a sentence.
    """

    name: str
    maximised: bool
    label: str
    unit: float
    show: Callable[[float], str]
    noun: str = ""

    @property
    def direction(self) -> Literal["minimize", "maximize"]:
        """The direction in Optuna's words."""
        return "maximize" if self.maximised else "minimize"

    @property
    def sign(self) -> float:
        """The factor that turns a value into one to minimise."""
        return -1.0 if self.maximised else 1.0

    def value(self, trial: Trial) -> float | None:
        found: float | None = getattr(trial, self.name)
        return found


def _counted(value: float, *units: tuple[float, str]) -> str:
    """Write a count in the first unit of which it is a tenth at least: ``62.338 G``, ``0.127 G``, ``4.040 M``."""
    size, letter = next((unit for unit in units if value >= 0.1 * unit[0]), units[-1])
    return f"{value / size:.3f} {letter}"


def _params(value: float) -> str:
    return _counted(value, (1e6, "M"), (1e3, "k"))


def _macs(value: float) -> str:
    return _counted(value, (1e9, "G"), (1e6, "M"), (1e3, "k"))


MIOU = "miou"
OBJECTIVES = {
    objective.name: objective
    for objective in (
        Objective(MIOU, True, "mIoU (%)", 0.01, lambda value: f"{100 * value:.2f} %"),
        Objective("params", False, "Parameters (M)", 1e6, _params, "params"),
        Objective("macs", False, "Multiply-adds (G MACs)", 1e9, _macs, "MACs"),
        Objective("latency_ms", False, "Latency (ms)", 1.0, lambda value: f"{value:.2f} ms"),
    )
}
"""All objectives by name. All but ``miou`` are costs."""
COUNTED = ("params", "macs", "conv_linear_macs", "attention_macs")
"""The costs that are counted from a network's structure, exactly, when its trial begins."""
COSTS = tuple(name for name in OBJECTIVES if name != MIOU)
"""Costs that are objectives, too."""


MEMORY = ("weights_mb", "activations_mb")
"""Megabytes (of 1e6 bytes) that budgets may limit, but that nothing is optimised for."""
LIMITABLE = (*COSTS, *MEMORY)


def megabytes(count: Any) -> Any:
    """Give a number of bytes in megabytes, or those of a whole population."""
    return count / 1e6


def weights_mb(params: Any) -> Any:
    """Give the megabytes that so many parameters take in fp32, or those of a whole population."""
    return megabytes(4 * params)


def objective(name: str) -> Objective:
    """Look an objective up; :class:`UserError` for an unknown one."""
    if name not in OBJECTIVES:
        raise UserError(f"unknown objective '{name}'; {nearest(name, OBJECTIVES)}")
    return OBJECTIVES[name]


def minimised_values(trial: Trial, objectives: Sequence[str]) -> tuple[float, ...]:
    """Return the objectives' values with signs turned so that less is better; NaN where one is unknown."""
    found = (objective(name) for name in objectives)
    return tuple(o.sign * math.nan if (value := o.value(trial)) is None else o.sign * float(value) for o in found)
