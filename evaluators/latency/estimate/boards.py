"""`boards.yaml`: clocks, peaks and fitted constants of the Jetson boards, by power mode."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt, model_validator

from boostformer.errors import UserError, nearest
from boostformer.files import read_text
from boostformer.yaml_lines import compose
from evaluators.latency.device import Precision

FILE = Path(__file__).parent / "boards.yaml"


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Mode(_Entry):
    """A power mode as nvpmodel sets it."""

    gpu_mhz: PositiveFloat
    multiprocessors: PositiveInt
    """Those that the mode does not gate."""
    memory_mhz: PositiveFloat
    checked: bool = True
    """Each number was found in a source."""


class Efficiency(_Entry):
    """The share of the peak that each kind of kernel that multiplies reaches."""

    conv: PositiveFloat
    pointwise: PositiveFloat
    depthwise: PositiveFloat
    grouped: PositiveFloat
    matmul: PositiveFloat


class GpuArchitecture(_Entry):
    """Constants that boards of one kind of GPU have in common."""

    flops: dict[Precision, PositiveInt]
    """Floating-point operations of a multiprocessor in one clock."""
    fitted_on: str
    """The board whose measurements gave the rest."""
    efficiency: Efficiency
    bandwidth: PositiveFloat
    """Share of the memory's peak."""
    launch_us: PositiveFloat
    """Microseconds of each kernel's launch on the board ``fitted_on`` in its largest mode."""
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
        """Find a power mode by name, by default the largest; :class:`UserError` when the board has none such."""
        name = name or self.default_mode
        if name not in self.modes:
            raise UserError(f"power_mode: {self.title} has no '{name}'; {nearest(name, self.modes)}")
        return name, self.modes[name]

    def bytes_per_second(self, mode: Mode) -> float:
        """Compute the peak of the memory, which transfers twice in each clock."""
        return mode.memory_mhz * 1e6 * 2 * self.bus_bits / 8


class Boards(_Entry):
    """The content of the file."""

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
    """Read the file."""
    top = compose(read_text(FILE), str(FILE), needs="there must be architectures and boards")
    return Boards.model_validate(top.plain())


def board(name: str) -> Board:
    """Find a board by name; :class:`UserError` with the nearest known one."""
    found = boards().boards
    if name not in found:
        raise UserError(f"board: unknown '{name}'; {nearest(name, found)}")
    return found[name]


def architecture(of: Board) -> tuple[GpuArchitecture, Mode]:
    """Find the GPU's architecture of a board, and the mode of the board on which that was fitted."""
    found = boards().architectures[of.architecture]
    return found, boards().boards[found.fitted_on].mode(None)[1]
