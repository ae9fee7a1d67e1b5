"""Milliseconds of a network on a board that nobody at hand owns, from the board's datasheet.

Every fused kernel (:mod:`evaluators.latency.estimate.kernels`) takes as long as its multiplications or its memory
traffic, whichever is slower, at the share of the board's peak that such kernels are known to reach, and the time of a
launch::

    t = max(padded FLOPs / (peak · share of the kind), bytes / (bandwidth · share)) + launch

The shares were fitted to public measurements of three boards (:mod:`evaluators.latency.estimate.boards`); the others
are given those of the nearest one. Launches become slower with the GPU's clock. ``benchmarks/latency_estimate.py``
compares with what was published. Figures are good for a first choice; a board at hand is better measured.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache

import torch

from boostformer.figures import Provenance
from boostformer.parts import Part
from evaluators.costs.counting import shapes_only
from evaluators.latency.additive import Additive
from evaluators.latency.device import Precision
from evaluators.latency.estimate.boards import architecture, board
from evaluators.latency.estimate.kernels import Kernel, kernels
from evaluators.latency.graphs import elements_of

BYTES: dict[Precision, int] = {"fp16": 2, "fp32": 4}
UNKNOWN_ERROR = 0.5
"""Half of the band where nothing was compared with a measurement: a board, a power mode, FP32."""


class Estimate(Additive):
    """One board in one power mode (by default its largest) and precision, at batch 1."""

    def __init__(self, name: str, power_mode: str | None = None, precision: Precision = "fp16") -> None:
        """Raise :class:`boostformer.errors.UserError` for a board or a power mode that does not exist."""
        super().__init__()
        self.board, self.precision = board(name), precision
        self.power_mode, self.mode = self.board.mode(power_mode)
        self._gpu, fitted = architecture(self.board)
        self._flops = self._gpu.flops[precision] * self.mode.multiprocessors * self.mode.gpu_mhz * 1e6
        self._bytes = self.board.bytes_per_second(self.mode) * self._gpu.bandwidth
        self._launch = self._gpu.launch_us * 1e-6 * fitted.gpu_mhz / self.mode.gpu_mhz
        self._elements: dict[Part, float] = {}

    def provenance(self) -> Provenance:
        mode = self.power_mode if self.mode.checked else f"{self.power_mode} (as recalled, not checked)"
        return Provenance("estimated", "datasheet", self.board.title, self.precision, (mode, "batch 1"))

    @property
    def band(self) -> tuple[float, float]:
        """One minus and plus the mean error on public figures, which is no bound."""
        compared = self.precision == "fp16" and self.power_mode == self.board.default_mode
        error = (compared and self.board.error) or UNKNOWN_ERROR
        return 1 - error, 1 + error

    def kernels_ms(self, launched: Iterable[Kernel]) -> float:
        """Sum up the milliseconds of kernels that run one after the other."""
        return 1e3 * sum(map(self._seconds, launched))

    def part(self, part: Part) -> float:
        """Sum up the milliseconds of a part's elements: few make up many parts, and each has to be traced."""
        return sum((self._element(element) for element in elements_of(part)), 0.0)

    def _element(self, element: Part) -> float:
        if element not in self._elements:
            self._elements[element] = self.kernels_ms(part_kernels(element))
        return self._elements[element]

    def _seconds(self, kernel: Kernel) -> float:
        traffic = BYTES[self.precision] * kernel.elements / self._bytes
        if kernel.kind == "memory":
            return traffic + self._launch
        share: float = getattr(self._gpu.efficiency, kernel.kind)
        return max(2 * kernel.padded_macs(self._gpu.tile) / (self._flops * share), traffic) + self._launch


@cache
def part_kernels(part: Part) -> tuple[Kernel, ...]:
    """List what a runtime launches for a part."""
    with shapes_only():
        module = part.build()
        inputs = [torch.empty(1, *shape) for shape in part.inputs]
    return kernels(module, [inputs] if part.kind == "fusion" else inputs)
