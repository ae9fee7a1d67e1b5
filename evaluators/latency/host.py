"""Milliseconds in ONNX Runtime on the processor of this machine, measured.

Other work on the machine spoils a figure: it shows in the spread of the runs, or in a reference graph that takes turns
with what is measured, and always does the same work. Such runs are repeated, then refused.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
from pydantic import Field

from boostformer.figures import Provenance
from evaluators.latency.backend import Measured, Say, Unavailable, silent
from evaluators.latency.device import MeterConfig
from evaluators.latency.steady import counting

if TYPE_CHECKING:
    import onnx
    import onnxruntime

WARM_UP = 3
SECONDS = 0.2
"""Least seconds that each graph is run, all runs together."""
RUNS = 10
"""Least number of runs of each graph."""
ATTEMPTS, TOLERANCE = 3, 0.25
NOISE_MS = 0.05
"""Milliseconds between the quartiles that are no sign of other work, however quick the graph."""
REFERENCE_SHARE = 0.1
"""Largest share of the time that the reference graph may take, beside one run."""
ENOUGH = 5
"""Runs of the reference at the beginning and at the end without which they say nothing."""


class HostDevice(MeterConfig):
    """ONNX Runtime on the processor of this machine."""

    PLACE: ClassVar[frozenset[str]] = frozenset({"attempts", "tolerance"})
    here: ClassVar[bool] = True

    kind: Literal["host"]
    threads: int = Field(default=1, ge=1)
    seconds: float = Field(default=1.0, gt=0)
    """Seconds that a graph is run at least."""
    attempts: int = Field(default=ATTEMPTS, ge=1)
    """Number of times that an unsteady measurement is tried."""
    tolerance: float = Field(default=TOLERANCE, gt=0)
    """Largest spread between quartiles, and largest drift of a reference, as shares of the median."""

    def meter(self, name: str, folder: Path) -> HostMeter:
        return HostMeter(self.threads, self.seconds, self.attempts, self.tolerance, name)


class HostMeter:
    """Runs graphs in ONNX Runtime, each at least ``RUNS`` times.

    Args:
        threads: that each graph runs on.
        seconds: that each graph is run at least.
        attempts: how often an unsteady measurement is tried.
        tolerance: largest spread between the quartiles and largest drift, as shares of the median.
        name: the device's, for messages.
    """

    at_once = 8

    def __init__(
        self,
        threads: int = 1,
        seconds: float = SECONDS,
        attempts: int = ATTEMPTS,
        tolerance: float = TOLERANCE,
        name: str = "host",
    ) -> None:
        self.threads, self.seconds = threads, seconds
        self.attempts, self.tolerance, self.name = attempts, tolerance, name
        self._best: float | None = None  # milliseconds of the reference when it was quickest

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
        """Run the graphs in turns, so that a drift of the machine meets all alike; a build is a session.

        Raises :class:`Unavailable` where other work disturbs every attempt: that is no fault of the graphs.
        """
        taken: dict[str, list[list[float]]] = {name: [] for name in graphs}
        rejected: list[str] = []
        for build in range(builds):
            if builds > 1:
                say(f"build {build + 1} of {builds}")
            times, unsteady = counting(
                lambda: self._once(graphs),
                self.attempts,
                self.name,
                failure=Unavailable,
                say=say,
                remedy=f"let other work end, or allow more than `tolerance: {self.tolerance:g}` in devices.yaml",
            )
            rejected += unsteady
            for name, values in times.items():
                taken[name].append(values)
        found = {name: Measured.of_builds(values) for name, values in taken.items()}
        return {name: replace(one, state={**one.state, "rejected": rejected}) for name, one in found.items()}

    def _once(self, graphs: Mapping[str, onnx.ModelProto]) -> tuple[dict[str, list[float]], list[str]]:
        """Run all graphs long enough; give the times, and why they do not count."""
        taken, reference = self._rounds(graphs)
        reasons = [spread for name, times in taken.items() if (spread := self._spread(name, times))]
        if (drift := self._drift(reference)) is not None:
            reasons.append(drift)
        if not reasons:
            now = float(np.median(reference))
            self._best = now if self._best is None else min(self._best, now)
        return taken, reasons[:1]

    def _spread(self, name: str, times: Sequence[float]) -> str | None:
        low, median, high = np.quantile(times, [0.25, 0.5, 0.75]).tolist()
        if high - low <= max(self.tolerance * median, NOISE_MS):
            return None
        return f"unsteady: half of the runs of {name} took {low:.3g} to {high:.3g} ms, the median {median:.3g} ms"

    def _drift(self, reference: Sequence[float]) -> str | None:
        """Say whether the machine became another: on the way, or since the reference was quickest."""
        half = len(reference) // 2
        first, last = (float(np.median(part)) for part in (reference[: half or 1], reference[half:]))
        if half >= ENOUGH and abs(last - first) > max(self.tolerance * min(first, last), NOISE_MS):
            return f"drift: a reference graph took {first:.3g} ms at first, {last:.3g} ms at last"
        now = float(np.median(reference))
        if half >= ENOUGH and self._best is not None and now - self._best > max(self.tolerance * self._best, NOISE_MS):
            return f"drift: a reference graph takes {now:.3g} ms, {self._best:.3g} ms before"
        return None

    @cached_property
    def _reference(self) -> onnxruntime.InferenceSession:
        return self._session(reference_graph())

    def _rounds(self, graphs: Mapping[str, onnx.ModelProto]) -> tuple[dict[str, list[float]], list[float]]:
        """Run the graphs by turns, and between them the reference: milliseconds of each run."""
        sessions = {name: self._session(graph) for name, graph in graphs.items()}
        feeds = {name: _feed(session) for name, session in sessions.items()}
        taken: dict[str, list[float]] = {name: [] for name in graphs}
        reference, fed, total = list[float](), _feed(self._reference), 0.0
        for session, feed in [*((sessions[name], feeds[name]) for name in graphs), (self._reference, fed)]:
            for _ in range(WARM_UP):
                session.run(None, feed)
        waiting = list(graphs)
        while waiting:
            if sum(reference) <= REFERENCE_SHARE * total:
                reference.append(_timed(self._reference, fed))
            for name in waiting:
                taken[name].append(_timed(sessions[name], feeds[name]))
                total += taken[name][-1]
            waiting = [n for n in waiting if len(taken[n]) < RUNS or sum(taken[n]) < 1e3 * self.seconds]
        return taken, reference

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


@cache
def reference_graph() -> onnx.ModelProto:
    """Make what the machine is timed by: a convolution of some 9 million multiply-adds."""
    from onnx import TensorProto, helper, numpy_helper

    weights = np.random.default_rng(0).standard_normal((16, 16, 3, 3), dtype=np.float32)
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 16, 64, 64]) for name in ("x", "y")]
    node = helper.make_node("Conv", ["x", "w"], ["y"], pads=[1] * 4)
    graph = helper.make_graph([node], "reference", ends[:1], ends[1:], [numpy_helper.from_array(weights, "w")])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=7)


def _timed(session: onnxruntime.InferenceSession, feed: dict[str, np.ndarray]) -> float:
    start = time.perf_counter()
    session.run(None, feed)
    return 1e3 * (time.perf_counter() - start)


def _feed(session: onnxruntime.InferenceSession) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {item.name: rng.standard_normal(item.shape, dtype=np.float32) for item in session.get_inputs()}
