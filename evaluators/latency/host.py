"""Milliseconds in ONNX Runtime on the processor of this machine, measured."""

from __future__ import annotations

import platform
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
from pydantic import Field

from boostformer.figures import Provenance
from evaluators.latency.backend import Measured, Say, silent
from evaluators.latency.device import MeterConfig

if TYPE_CHECKING:
    import onnx
    import onnxruntime

WARM_UP = 3
SECONDS = 0.2
"""Least seconds that each graph is run, all runs together."""
RUNS = 10
"""Least number of runs of each graph."""


class HostDevice(MeterConfig):
    """ONNX Runtime on the processor of this machine."""

    here: ClassVar[bool] = True

    kind: Literal["host"]
    threads: int = Field(default=1, ge=1)
    seconds: float = Field(default=1.0, gt=0)
    """Seconds that a graph is run at least."""

    def meter(self, name: str, folder: Path) -> HostMeter:
        return HostMeter(self.threads, self.seconds)


class HostMeter:
    """Runs graphs in ONNX Runtime on ``threads`` threads, each graph at least ``RUNS`` times and ``seconds`` long."""

    at_once = 8

    def __init__(self, threads: int = 1, seconds: float = SECONDS) -> None:
        self.threads, self.seconds = threads, seconds

    @property
    def opset(self) -> int:
        from boostformer.deploy.export import OPSET

        return OPSET

    def provenance(self) -> Provenance:
        import onnxruntime

        threads = f"{self.threads} thread{'s' if self.threads > 1 else ''}"
        engine = f"onnxruntime {onnxruntime.__version__}"
        return Provenance("measured", engine, processor(), "fp32", (threads, "batch 1"))

    def measure(
        self, graphs: Mapping[str, onnx.ModelProto], *, builds: int = 1, say: Say = silent
    ) -> dict[str, Measured]:
        """Run the graphs in turns, so that a drift of the machine meets all alike; a build is a session."""
        taken: dict[str, list[list[float]]] = {name: [] for name in graphs}
        for build in range(builds):
            if builds > 1:
                say(f"build {build + 1} of {builds}")
            for name, values in self._rounds(graphs).items():
                taken[name].append(values)
        return {name: Measured.of_builds(values) for name, values in taken.items()}

    def _rounds(self, graphs: Mapping[str, onnx.ModelProto]) -> dict[str, list[float]]:
        sessions = {name: self._session(graph) for name, graph in graphs.items()}
        feeds = {name: _feed(session) for name, session in sessions.items()}
        taken: dict[str, list[float]] = {name: [] for name in graphs}
        for name, session in sessions.items():
            for _ in range(WARM_UP):
                session.run(None, feeds[name])
        waiting = list(graphs)
        while waiting:
            for name in waiting:
                start = time.perf_counter()
                sessions[name].run(None, feeds[name])
                taken[name].append(1e3 * (time.perf_counter() - start))
            waiting = [n for n in waiting if len(taken[n]) < RUNS or sum(taken[n]) < 1e3 * self.seconds]
        return taken

    def _session(self, graph: onnx.ModelProto) -> onnxruntime.InferenceSession:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self.threads
        options.inter_op_num_threads = 1
        return onnxruntime.InferenceSession(graph.SerializeToString(), options, providers=["CPUExecutionProvider"])


def processor() -> str:
    """Read the processor's name."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(": ")[2] for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _feed(session: onnxruntime.InferenceSession) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {item.name: rng.standard_normal(item.shape, dtype=np.float32) for item in session.get_inputs()}
