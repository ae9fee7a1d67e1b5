"""`boards.yaml`: clocks, peaks and fitted constants of the Jetson boards, by power mode."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt, model_validator

from boostformer.errors import UserError, nearest
from evaluators.latency.device import Precision

FILE = Path(__file__).parent / "boards.yaml"


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Mode(_Entry):
    """A power mode as nvpmodel sets it."""

    gpu_mhz: PositiveFloat
    multiprocessors: PositiveInt
    """How many are not gated."""
    memory_mhz: PositiveFloat
    checked: bool = True
    """Whether each number was found in a source."""


class Efficiency(_Entry):
    """Of each kind of kernel that multiplies, the share of the peak that it reaches."""

    conv: PositiveFloat
    pointwise: PositiveFloat
    depthwise: PositiveFloat
    grouped: PositiveFloat
    matmul: PositiveFloat


class GpuArchitecture(_Entry):
    """What boards of one kind of GPU have in common."""

    flops: dict[Precision, PositiveInt]
    """Of a multiprocessor in one clock."""
    fitted_on: str
    """The board whose measurements gave the rest."""
    efficiency: Efficiency
    bandwidth: PositiveFloat
    """Share of the memory's peak."""
    launch_us: PositiveFloat
    """Of each kernel on the board ``fitted_on`` in its largest mode."""
    tile: PositiveInt


class Board(_Entry):
    """One module; its largest power mode comes first."""

    title: str
    architecture: str
    bus_bits: PositiveInt
    error: float | None = Field(default=None, gt=0, lt=1)
    """Mean relative error of the estimate in the largest mode in FP16, where there is something to compare with."""
    modes: dict[str, Mode] = Field(min_length=1)

    @property
    def default_mode(self) -> str:
        return next(iter(self.modes))

    def mode(self, name: str | None) -> tuple[str, Mode]:
        """The power mode of this name, by default the largest; :class:`UserError` when the board has none such."""
        name = name or self.default_mode
        if name not in self.modes:
            raise UserError(f"power_mode: {self.title} has no '{name}'; {nearest(name, self.modes)}")
        return name, self.modes[name]

    def bytes_per_second(self, mode: Mode) -> float:
        """Peak of the memory, which transfers twice in each clock."""
        return mode.memory_mhz * 1e6 * 2 * self.bus_bits / 8


class Boards(_Entry):
    """The whole file."""

    architectures: dict[str, GpuArchitecture]
    boards: dict[str, Board]

    @model_validator(mode="after")
    def _names_fit(self) -> Boards:
        for board in self.boards.values():
            if board.architecture not in self.architectures:
                raise ValueError(f"{board.title}: no architecture {board.architecture!r}")
        for name, architecture in self.architectures.items():
            if architecture.fitted_on not in self.boards:
                raise ValueError(f"{name}: no board {architecture.fitted_on!r}")
        return self


@cache
def boards() -> Boards:
    """All that the file holds."""
    return Boards.model_validate(yaml.safe_load(FILE.read_text(encoding="utf-8")))


def board(name: str) -> Board:
    """The board of this name; :class:`UserError` with the nearest known one."""
    found = boards().boards
    if name not in found:
        raise UserError(f"board: unknown '{name}'; {nearest(name, found)}")
    return found[name]


def architecture(of: Board) -> tuple[GpuArchitecture, Mode]:
    """Of a board: its GPU's architecture, and the mode of the board on which that was fitted."""
    found = boards().architectures[of.architecture]
    return found, boards().boards[found.fitted_on].mode(None)[1]
