"""Latency of whole networks, measured by a meter."""

from __future__ import annotations

from functools import cache

import onnx
import torch

from boostformer.architecture import Architecture
from boostformer.deploy.export import to_onnx
from boostformer.layers import LabelMap
from evaluators.latency.backend import Backend, Latency, Meter, Say, silent
from evaluators.latency.graphs import LOGITS, graph_hash, network_graph


class Metered(Backend):
    """Exports each network and has the ``meter`` run it."""

    kind = "measured"

    def __init__(self, meter: Meter) -> None:
        self.meter = meter

    def provenance(self) -> str:
        return self.meter.provenance()

    def latency(self, arch: Architecture, *, labels: bool = False, builds: int = 1, say: Say = silent) -> Latency:
        """Raises Unavailable or MeasureFailure as the meter does."""
        graph = network_graph(arch, self.meter.opset)
        graphs = {LOGITS: graph}
        if labels:
            graphs["labels"] = with_labels(graph, arch, self.meter.opset)
        found = self.meter.measure(graphs, builds=builds, say=say)
        logits = found[LOGITS]
        return Latency(
            logits.median_ms,
            logits.low_ms,
            logits.high_ms,
            found["labels"].median_ms if labels else None,
            self.kind,
            self.provenance(),
            {"runs": logits.runs, "graph": graph_hash(graph), **logits.state},
        )


def with_labels(graph: onnx.ModelProto, arch: Architecture, opset: int) -> onnx.ModelProto:
    """The network's graph and behind it the final upsample and argmax."""
    tail = _tail(arch.classes, arch.map_sizes()[0], arch.size, opset)
    joined = onnx.compose.merge_models(graph, tail, io_map=[(LOGITS, "input0")])
    onnx.checker.check_model(joined, full_check=True)
    return joined


@cache
def _tail(classes: int, logits: tuple[int, int], size: tuple[int, int], opset: int) -> onnx.ModelProto:
    graph = to_onnx(LabelMap(size).eval(), (torch.zeros(1, classes, *logits),), opset, ["input0"], ["labels"])
    return onnx.compose.add_prefix(graph, "labels/", rename_inputs=False, rename_outputs=False)
