"""ONNX operators by older ones: what an opset, or a device, does not have in another form.

All forms hold in half precision, too: nothing in them grows beyond what goes in and comes out.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from onnxscript import ir

from boostformer.deploy.onnx_graph import constant, dims_of, emit, refuse, replace

Rule = Callable[[ir.Node, int], None]
LEAST = 2.0**-8
"""Least deviation that a norm is scaled by: with it eps stays a number in half precision, too."""
_FLOATS = (ir.DataType.FLOAT16, ir.DataType.FLOAT, ir.DataType.DOUBLE)


def _float(node: ir.Node, opset: int, number: float, name: str) -> ir.Value:
    """A scalar of the type of the node's input, which must be a floating-point one that NumPy has."""
    value = node.inputs[0]
    assert value is not None and value.dtype is not None and node.graph is not None
    if value.dtype not in _FLOATS:
        raise refuse(node, opset, f"its input is {value.dtype}")
    return constant(node.graph, np.array(number, value.dtype.numpy()), name)


def layer_norm(node: ir.Node, opset: int) -> None:
    """u / sqrt(mean(u^2) + eps / m^2) * scale + bias, with u = (x - mean) / m and m = max |x - mean|.

    That is LayerNorm for any m. The squares of x - mean itself are beyond half precision from 256 on.
    """
    x, scale, *bias = node.inputs
    if any(output.uses() or output.is_graph_output() for output in node.outputs[1:]):
        raise refuse(node, opset, "its mean or deviation is used")
    assert x is not None
    shape = dims_of(x)
    axis = node.attributes["axis"].as_int() if "axis" in node.attributes else -1
    axes = list(range(axis % len(shape), len(shape)))
    reduced = [1 if i in axes else size for i, size in enumerate(shape)]
    over = {"axes": axes, "keepdims": 1}
    eps = node.attributes["epsilon"].as_float() if "epsilon" in node.attributes else 1e-5
    root = _float(node, opset, math.sqrt(eps), "root_of_eps")

    centred = emit(node, "Sub", [x, emit(node, "ReduceMean", [x], reduced, over)], shape)
    largest = emit(node, "ReduceMax", [emit(node, "Abs", [centred], shape)], reduced, over)
    unit = emit(node, "Max", [largest, _float(node, opset, LEAST, "least")], reduced)
    scaled = emit(node, "Div", [centred, unit], shape)
    variance = emit(node, "ReduceMean", [emit(node, "Mul", [scaled, scaled], shape)], reduced, over)
    floor = emit(node, "Div", [root, unit], reduced)
    total = emit(node, "Add", [variance, emit(node, "Mul", [floor, floor], reduced)], reduced)
    deviation = emit(node, "Sqrt", [total], reduced)
    value = emit(node, "Mul", [emit(node, "Div", [scaled, deviation], shape), scale], shape)
    if bias and bias[0] is not None:
        value = emit(node, "Add", [value, bias[0]], shape)
    node.resize_outputs(1)
    replace(node, value)


def _gelu(node: ir.Node, opset: int) -> None:
    """x * (1 + erf(x / sqrt 2)) / 2, in the order that ONNX Runtime and TensorRT know."""
    if "approximate" in node.attributes and node.attributes["approximate"].as_string() != "none":
        raise refuse(node, opset, "it is the approximation by tanh")
    x = node.inputs[0]
    assert x is not None
    shape = dims_of(x)
    root, one, half = (_float(node, opset, number, "gelu") for number in (math.sqrt(2), 1, 0.5))
    erf = emit(node, "Erf", [emit(node, "Div", [x, root], shape)], shape)
    gated = emit(node, "Mul", [x, emit(node, "Add", [erf, one], shape)], shape)
    replace(node, emit(node, "Mul", [gated, half], shape))


def _hard_swish(node: ir.Node, opset: int) -> None:
    """x * clip(x / 6 + 1/2, 0, 1)."""
    x = node.inputs[0]
    assert x is not None
    shape = dims_of(x)
    gate = emit(node, "HardSigmoid", [x], shape, {"alpha": 1 / 6, "beta": 0.5})
    replace(node, emit(node, "Mul", [x, gate], shape))


def _reciprocal(node: ir.Node, opset: int) -> None:
    replace(node, emit(node, "Div", [_float(node, opset, 1, "one"), node.inputs[0]], dims_of(node.outputs[0])))


DECOMPOSED: dict[str, Rule] = {
    "Gelu": _gelu,
    "HardSwish": _hard_swish,
    "LayerNormalization": layer_norm,
    "Reciprocal": _reciprocal,
}
