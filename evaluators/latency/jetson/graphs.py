"""Changes to graphs for FP16: norms kept in FP32 for older TensorRTs, FP16 written into the graph for newer ones."""

from __future__ import annotations

import onnx
from onnxscript import ir


def norm_layers(graph: onnx.ModelProto) -> list[str]:
    """List the nodes into which norms were decomposed: those beside a root, under the norm's name (`NORM/Sqrt`)."""
    norms = {node.name.rpartition("/")[0] for node in graph.graph.node if node.op_type == "Sqrt" and "/" in node.name}
    return [node.name for node in graph.graph.node if node.name.rpartition("/")[0] in norms]


def half(graph: onnx.ModelProto) -> onnx.ModelProto:
    """Convert a graph to FP16 with inputs and outputs in FP32; a LayerNormalization computes in FP32 all the same."""
    from onnxruntime.transformers.float16 import convert_float_to_float16

    copy = onnx.ModelProto()
    copy.CopyFrom(graph)
    model = ir.from_proto(convert_float_to_float16(copy, keep_io_types=True, op_block_list=[]))
    model.graph.sort()
    converted = ir.to_proto(model)
    onnx.checker.check_model(converted, full_check=True)
    return converted
