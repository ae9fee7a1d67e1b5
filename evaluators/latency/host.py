"""Milliseconds in ONNX Runtime on the processor of this machine, measured."""

from __future__ import annotations

import platform
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime

WARM_UP = 3
SECONDS = 0.2
"""How long each graph is run at least, in all."""
RUNS = 10
"""How often each graph is run at least."""


@dataclass(frozen=True)
class Measured:
    """Milliseconds of one run: the median, and between which values the middle half of the runs lies."""

    median_ms: float
    low_ms: float
    high_ms: float
    runs: int


def measure(
    graphs: Mapping[str, onnx.ModelProto], *, threads: int = 1, seconds: float = SECONDS
) -> dict[str, Measured]:
    """Run each graph at least ``RUNS`` times and ``seconds`` long, in turns, so that a drift meets all alike."""
    sessions = {name: _session(graph, threads) for name, graph in graphs.items()}
    feeds = {name: _feed(session) for name, session in sessions.items()}
    taken: dict[str, list[float]] = {name: [] for name in graphs}
    for name, session in sessions.items():
        for _ in range(WARM_UP):
            session.run(None, feeds[name])
    waiting = set(graphs)
    while waiting:
        for name in [name for name in graphs if name in waiting]:
            start = time.perf_counter()
            sessions[name].run(None, feeds[name])
            taken[name].append(time.perf_counter() - start)
            if len(taken[name]) >= RUNS and sum(taken[name]) >= seconds:
                waiting.discard(name)
    found = {}
    for name, values in taken.items():
        low, median, high = (1e3 * float(q) for q in np.quantile(values, [0.25, 0.5, 0.75]))
        found[name] = Measured(median, low, high, len(values))
    return found


def provenance(threads: int) -> str:
    """What a figure of :func:`measure` was measured with."""
    each = f"{threads} thread{'s' if threads > 1 else ''}"
    return f"measured: onnxruntime {onnxruntime.__version__}, {processor()}, {each}, float32, batch 1"


def processor() -> str:
    """The processor's name."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(": ")[2] for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _session(graph: onnx.ModelProto, threads: int) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(graph.SerializeToString(), options, providers=["CPUExecutionProvider"])


def _feed(session: onnxruntime.InferenceSession) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {item.name: rng.standard_normal(item.shape, dtype=np.float32) for item in session.get_inputs()}
