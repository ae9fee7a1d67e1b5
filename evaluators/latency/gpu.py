"""Milliseconds in torch on this machine's accelerator, measured; each run is the replay of one CUDA graph."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from boostformer.architecture import Architecture
from boostformer.errors import UserError
from boostformer.figures import Latency, Provenance
from boostformer.layers import LabelMap
from evaluators.latency.backend import Backend, Measured, Say, silent
from evaluators.latency.devices import Precision
from evaluators.latency.graphs import deployed_network

WARM_UP = 3
RUNS, SECONDS = 100, 1.0
"""How often, and how long in all, a network is run at least."""
DTYPES = {"fp16": torch.float16, "fp32": torch.float32}


class CudaGraphs(Backend):
    """Networks in one precision, captured once per build: the launches of single kernels cost nothing then."""

    def __init__(self, precision: Precision) -> None:
        """:class:`UserError` where torch finds no accelerator."""
        if not torch.cuda.is_available():
            raise UserError("a device of kind cuda needs an NVIDIA GPU that torch can use, and finds none here")
        self.precision = precision

    def provenance(self) -> Provenance:
        name = torch.cuda.get_device_name()
        return Provenance("measured", f"torch {torch.__version__}", name, self.precision, ("CUDA graphs", "batch 1"))

    def latency(self, arch: Architecture, *, labels: bool = False, builds: int = 1, say: Say = silent) -> Latency:
        network = deployed_network(arch)
        image = torch.zeros(1, 3, *arch.size)
        found = Measured.of_builds([self._run(network, image) for _ in range(builds)])
        after = None
        if labels:
            after = Measured.of_builds([self._run(nn.Sequential(network, LabelMap(arch.size)), image)]).ms
        return Latency(found.figure, self.provenance(), after, {"runs": found.runs, **found.state})

    @torch.no_grad()
    def _run(self, network: nn.Module, image: Tensor) -> list[float]:
        """Milliseconds of each run, by the accelerator's own clock."""
        # Channels last is the layout that convolutions in half precision are fastest in.
        layout = torch.channels_last if self.precision == "fp16" else torch.contiguous_format
        network = network.to("cuda", DTYPES[self.precision]).to(memory_format=layout)  # type: ignore[call-overload]
        image = image.to("cuda", DTYPES[self.precision], memory_format=layout)
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):  # where capturing wants its warm-up to be
            for _ in range(WARM_UP):
                network(image)
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
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
