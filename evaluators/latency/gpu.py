"""Milliseconds in torch on this machine's accelerator, measured; each run is the replay of one CUDA graph."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from boostformer.architecture import Architecture
from boostformer.errors import UserError
from boostformer.figures import Latency, Provenance
from evaluators.latency.backend import Backend, Measured, Say, silent
from evaluators.latency.device import MeasuredConfig, Precision

if TYPE_CHECKING:
    from torch import Tensor, nn

WARM_UP = 3
RUNS, SECONDS = 100, 1.0
"""Least number of runs of a network, and least seconds of all together."""


class CudaDevice(MeasuredConfig):
    """torch with CUDA graphs on the accelerator of this machine."""

    here: ClassVar[bool] = True

    kind: Literal["cuda"]
    precision: Precision = "fp16"

    def open(self, name: str, folder: Path) -> CudaGraphs:
        return CudaGraphs(self.precision)


class CudaGraphs(Backend):
    """Networks in one precision, captured once per build: the launches of single kernels cost nothing then."""

    def __init__(self, precision: Precision) -> None:
        """Raise :class:`UserError` where torch finds no accelerator."""
        import torch

        if not torch.cuda.is_available():
            raise UserError("a device of kind cuda needs an NVIDIA GPU that torch can use, and finds none here")
        self.precision = precision

    def provenance(self) -> Provenance:
        import torch

        name = torch.cuda.get_device_name()
        return Provenance("measured", f"torch {torch.__version__}", name, self.precision, ("CUDA graphs", "batch 1"))

    def latency(self, arch: Architecture, *, labels: bool = False, builds: int = 1, say: Say = silent) -> Latency:
        import torch
        from torch import nn

        from boostformer.layers import LabelMap
        from evaluators.latency.graphs import deployed_network

        network, image = deployed_network(arch), torch.zeros(1, arch.bands, *arch.size)
        found = Measured.of_builds([self._run(network, image) for _ in range(builds)])
        after = None
        if labels:
            after = Measured.of_builds([self._run(nn.Sequential(network, LabelMap(arch.size)), image)]).ms
        return Latency(found.figure, self.provenance(), after, {"runs": found.runs, **found.state})

    def _run(self, network: nn.Module, image: Tensor) -> list[float]:
        """Time each run in milliseconds, by the accelerator's own clock."""
        import torch

        half = self.precision == "fp16"
        # Channels last is the layout that convolutions in half precision are fastest in.
        layout, dtype = (torch.channels_last, torch.float16) if half else (torch.contiguous_format, torch.float32)
        network = network.to("cuda", dtype).to(memory_format=layout)  # type: ignore[call-overload]
        image = image.to("cuda", dtype, memory_format=layout)
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.no_grad(), torch.cuda.stream(side):  # where capturing wants its warm-up to be
            for _ in range(WARM_UP):
                network(image)
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.no_grad(), torch.cuda.graph(graph):
            network(image)
        taken: list[float] = []
        while len(taken) < RUNS or sum(taken) < 1e3 * SECONDS:
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            start.record()
            graph.replay()
            end.record()
            end.synchronize()
            taken.append(start.elapsed_time(end))
        return taken
