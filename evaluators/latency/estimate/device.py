"""The entry of a board that is only estimated."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from evaluators.latency.device import AdditiveConfig, Precision

if TYPE_CHECKING:
    from evaluators.latency.estimate.estimate import Estimate


class EstimateDevice(AdditiveConfig):
    """An estimate from a board's datasheet: for a board that nobody at hand owns."""

    kind: Literal["estimate"]
    board: str
    power_mode: str | None = None
    precision: Precision = "fp16"

    def open(self, name: str, folder: Path) -> Estimate:
        from evaluators.latency.estimate.estimate import Estimate

        return Estimate(self.board, self.power_mode, self.precision)
