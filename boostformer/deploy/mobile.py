"""Nodes of a graph that ONNX Runtime's providers for phones take, and those that they leave on the CPU.

By the lists of operators in ONNX Runtime's documentation, and by what its providers ask of ranks, types and constants
besides. A phone's driver may leave more.
"""

from __future__ import annotations

from collections import Counter

import onnx
from onnx import TensorProto

_BOTH = """
Add AveragePool Cast Clip Concat Conv DepthToSpace Div Elu Exp Gemm GlobalAveragePool GlobalMaxPool Identity LeakyRelu
MatMul Max MaxPool Mul PRelu Pow ReduceMean Relu Reshape Resize Sigmoid Sin Slice Softmax Split Sqrt Squeeze Sub Tanh
Transpose Unsqueeze
"""
_NNAPI = "Abs BatchNormalization Flatten Floor Gather LRN Log Min Neg Pad"
_COREML = """
And ArgMax Ceil ConvTranspose Cos Erf GatherND Gelu GridSample GroupNormalization HardSigmoid InstanceNormalization
LayerNormalization Reciprocal ReduceMax ReduceSum Round Shape Softplus Tile Where
"""
OPERATORS = {
    "NNAPI": frozenset(f"{_BOTH} {_NNAPI}".split()),
    "CoreML": frozenset(f"{_BOTH} {_COREML}".split()),
}
"""Floating-point operators that the provider takes; CoreML's as an ML program."""
RANKS = {"NNAPI": 4, "CoreML": 5}
"""The most axes of a tensor."""


def left_on_cpu(graph: onnx.ModelProto) -> dict[str, Counter[str]]:
    """Count by provider the operators of the nodes that it does not take; the graph's shapes must be inferred."""
    shapes = {
        value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in (*graph.graph.input, *graph.graph.value_info, *graph.graph.output)
    }
    types = {
        value.name: value.type.tensor_type.elem_type
        for value in (*graph.graph.input, *graph.graph.value_info, *graph.graph.output)
    }
    constants = {item.name: list(item.dims) for item in graph.graph.initializer}
    types |= {item.name: item.data_type for item in graph.graph.initializer}
    left: dict[str, Counter[str]] = {provider: Counter() for provider in OPERATORS}
    for node in graph.graph.node:
        sizes = [shapes.get(name, constants.get(name, [])) for name in (*node.input, *node.output) if name]
        fixed = all(all(size) for size in sizes)
        for provider, taken in OPERATORS.items():
            if (
                node.op_type not in taken
                or not fixed
                or max(map(len, sizes)) > RANKS[provider]
                or types[node.input[0]] != TensorProto.FLOAT
                or (provider == "NNAPI" and not _nnapi_takes(node, shapes, constants, types))
            ):
                left[provider][node.op_type] += 1
    return left


def _nnapi_takes(
    node: onnx.NodeProto, shapes: dict[str, list[int]], constants: dict[str, list[int]], types: dict[str, int]
) -> bool:
    """Say whether NNAPI takes a node whose operator it knows.

    Args:
        node: of the graph.
        shapes: of what is computed.
        constants: shapes of what is constant.
        types: elements of both.
    """
    if node.op_type == "Softmax":
        return len(shapes[node.input[0]]) in (2, 4)
    if node.op_type == "Gather":
        return node.input[1] in constants or types[node.input[1]] == TensorProto.INT32
    if node.op_type == "MatMul":
        one, other = (shapes.get(name, constants.get(name, [])) for name in node.input)
        if len(one) == len(other) == 2:
            return node.input[1] in constants
        return len(one) == len(other) and one[:-2] == other[:-2]
    return True
