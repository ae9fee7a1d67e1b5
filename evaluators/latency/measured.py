"""Latency of whole networks, measured by a meter."""

from __future__ import annotations

from functools import cache

import onnx
import torch

from boostformer.architecture import Architecture
from boostformer.deploy.onnx_writer import to_onnx
from boostformer.figures import Latency, Provenance
from boostformer.layers import LabelMap
from evaluators.latency.backend import Backend, Meter, Say, silent
from evaluators.latency.graphs import LOGITS, graph_hash, network_graph


class Metered(Backend):
    """Exports each network for ``meter`` to run."""

    def __init__(self, meter: Meter) -> None:
        self.meter = meter

    def provenance(self) -> Provenance:
        return self.meter.provenance()

    def latency(self, arch: Architecture, *, labels: bool = False, builds: int = 1, say: Say = silent) -> Latency:
        graph = network_graph(arch, self.meter.opset)
        graphs = {LOGITS: graph}
        if labels:
            graphs["labels"] = with_labels(graph, arch, self.meter.opset)
        found = self.meter.measure(graphs, builds=builds, say=say)
        logits = found[LOGITS]
        return Latency(
            logits.figure,
            self.provenance(),
            found["labels"].ms if labels else None,
            {"runs": logits.runs, "graph": graph_hash(graph), **logits.state},
        )


def with_labels(graph: onnx.ModelProto, arch: Architecture, opset: int) -> onnx.ModelProto:
    """Append the final upsample and argmax to the network's ``graph``, whose logits then become an inner value."""
    tail = _tail(arch.classes, arch.map_sizes()[0], arch.size, opset)
    joined = onnx.compose.merge_models(graph, tail, io_map=[(LOGITS, "input0")])
    onnx.checker.check_model(joined, full_check=True)
    return joined


@cache
def _tail(classes: int, logits: tuple[int, int], size: tuple[int, int], opset: int) -> onnx.ModelProto:
    """Export the way from the logits to the label map.

    Args:
        classes: number of classes.
        logits: (H, W) of the logits.
        size: (H, W) of the label map.
        opset: of the graph.
    """
    graph = to_onnx(LabelMap(size).eval(), (torch.zeros(1, classes, *logits),), opset, ["input0"], ["labels"])
    return onnx.compose.add_prefix(graph, "labels/", rename_inputs=False, rename_outputs=False)
