"""Graphs as phones take them (see `mobile`): the same function of more nodes, each of which NNAPI and CoreML know.

What is no longer one operator is slower elsewhere, so only `export --target mobile` asks for it. All is exact up to
rounding but the error function, whose GELU is off by at most 4e-6.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from onnxscript import ir

from boostformer.deploy.mobile import RANKS
from boostformer.deploy.onnx_decompose import DECOMPOSED
from boostformer.deploy.onnx_graph import constant, constant_of, emit, replace, shape_of

ERF_REACH = 3.5
"""The argument from which on the error function is nearly 1 in single precision."""
ERF = (3.9490478957617787, 4.42250631347194, -0.37060107226118705, -2.227991070474753, 1.998686079775537)
"""erf(z) = tanh(w * P(w^2)) with w = z / ERF_REACH in -1…1: P's coefficients, fitted to the least error of a GELU."""
RANK = min(RANKS.values())


def rewrite(graph: ir.Graph) -> None:
    """Write operators that phones do not know by those that they do."""
    for node in list(graph):
        if node.op_type == "Gelu":
            DECOMPOSED["Gelu"](node, 0)
    for node in list(graph):
        if rule := _RULES.get(node.op_type):
            rule(node)


def split_transposes(graph: ir.Graph) -> None:
    """Write transposes of many axes as several of few, each of which swaps two blocks of neighbouring axes."""
    for node in list(graph):
        if node.op_type == "Transpose" and len(shape_of(node.outputs[0])) > RANK:
            _split(node)


def _split(node: ir.Node) -> None:
    source, output = node.inputs[0], node.outputs[0]
    assert source is not None and node.graph is not None
    sizes, order = shape_of(source), list(node.attributes["perm"].as_ints())
    now, value = list(range(len(sizes))), source
    if (above := source.producer()) is not None and above.op_type == "Reshape" and above.inputs[0] is not None:
        value = above.inputs[0]
    for place, axis in enumerate(order):
        at = now.index(axis)
        length = 1
        while at + length < len(now) and place + length < len(order) and order[place + length] == now[at + length]:
            length += 1
        if at == place:
            continue
        parts = now[:place], now[place:at], now[at : at + length], now[at + length :]
        shape = [math.prod(sizes[i] for i in part) for part in parts]
        swapped = [shape[i] for i in (0, 2, 1, 3)]
        value = emit(node, "Transpose", [_reshape(node, value, shape)], swapped, {"perm": [0, 2, 1, 3]})
        now = [*parts[0], *parts[2], *parts[1], *parts[3]]
    users = [user for user, _ in output.uses()]
    if output.is_graph_output() or any(user.op_type != "Reshape" for user in users):
        value = _reshape(node, value, shape_of(output))
    replace(node, value)


def _reshape(before: ir.Node, value: ir.Value, shape: list[int]) -> ir.Value:
    assert before.graph is not None
    sizes = constant(before.graph, np.array(shape, np.int64), f"{before.outputs[0].name}_sizes")
    return emit(before, "Reshape", [value, sizes], shape)


def _number(node: ir.Node, number: float, name: str) -> ir.Value:
    return _numbers(node, np.array(number), name)


def _numbers(node: ir.Node, numbers: np.ndarray, name: str) -> ir.Value:
    assert node.graph is not None
    return constant(node.graph, numbers.astype(np.float32), name)


def _mean(node: ir.Node, value: ir.Value, axes: list[int], reduced: list[int]) -> ir.Value:
    assert node.graph is not None
    over = constant(node.graph, np.array(axes, np.int64), "axes")
    return emit(node, "ReduceMean", [value, over], reduced, {"keepdims": 1})


def _standard(node: ir.Node, axes: list[int]) -> ir.Value:
    """(x - mean) / sqrt(mean((x - mean)^2) + eps) over axes."""
    x = node.inputs[0]
    assert x is not None
    shape = shape_of(x)
    reduced = [1 if i in axes else size for i, size in enumerate(shape)]
    eps = node.attributes["epsilon"].as_float() if "epsilon" in node.attributes else 1e-5
    centred = emit(node, "Sub", [x, _mean(node, x, axes, reduced)], shape)
    variance = _mean(node, emit(node, "Mul", [centred, centred], shape), axes, reduced)
    total = emit(node, "Add", [variance, _number(node, eps, "epsilon")], reduced)
    return emit(node, "Div", [centred, emit(node, "Sqrt", [total], reduced)], shape)


def _layer_norm(node: ir.Node) -> None:
    x, scale, *bias = node.inputs
    assert x is not None
    shape = shape_of(x)
    first = (node.attributes["axis"].as_int() if "axis" in node.attributes else -1) % len(shape)
    value = emit(node, "Mul", [_standard(node, list(range(first, len(shape)))), scale], shape)
    if bias and bias[0] is not None:
        value = emit(node, "Add", [value, bias[0]], shape)
    node.resize_outputs(1)
    replace(node, value)


def _by_channel(node: ir.Node, value: ir.Value, factor: np.ndarray, term: np.ndarray) -> ir.Value:
    """``value`` * factor + term, both of the second axis."""
    shape = shape_of(value)
    over = (-1, *[1] * (len(shape) - 2))
    scaled = emit(node, "Mul", [value, _numbers(node, factor.reshape(over), "scale")], shape)
    return emit(node, "Add", [scaled, _numbers(node, term.reshape(over), "shift")], shape)


def _instance_norm(node: ir.Node) -> None:
    x = node.inputs[0]
    scale, bias = (constant_of(value) for value in node.inputs[1:3])
    if x is None or scale is None or bias is None:
        return
    value = _standard(node, list(range(2, len(shape_of(x)))))
    replace(node, value if (scale == 1).all() and not bias.any() else _by_channel(node, value, scale, bias))


def _batch_norm(node: ir.Node) -> None:
    x = node.inputs[0]
    found = [constant_of(value) for value in node.inputs[1:]]
    if x is None or any(numbers is None for numbers in found):
        return
    scale, bias, mean, variance = (np.asarray(numbers, np.float64) for numbers in found)
    eps = node.attributes["epsilon"].as_float() if "epsilon" in node.attributes else 1e-5
    factor = scale / np.sqrt(variance + eps)
    replace(node, _by_channel(node, x, factor, bias - mean * factor))


def _reduce_sum(node: ir.Node) -> None:
    """The mean, times how many there are."""
    x, axes = node.inputs[0], constant_of(node.inputs[1]) if len(node.inputs) > 1 else None
    keeps = "keepdims" not in node.attributes or node.attributes["keepdims"].as_int() == 1
    if x is None or axes is None or not axes.size or not keeps:
        return
    shape, reduced = shape_of(x), shape_of(node.outputs[0])
    mean = _mean(node, x, [int(axis) % len(shape) for axis in axes], reduced)
    count = math.prod(shape) // math.prod(reduced)
    replace(node, emit(node, "Mul", [mean, _number(node, count, "count")], reduced))


def _erf(node: ir.Node) -> None:
    x = node.inputs[0]
    assert x is not None
    shape = shape_of(x)
    limits = [_number(node, limit, "limit") for limit in (-1, 1)]
    scaled = emit(node, "Mul", [x, _number(node, 1 / ERF_REACH, "reach")], shape)
    w = emit(node, "Clip", [scaled, *limits], shape)
    square = emit(node, "Mul", [w, w], shape)
    value = emit(node, "Mul", [square, _number(node, ERF[-1], "erf")], shape)
    for coefficient in ERF[-2:0:-1]:
        value = emit(node, "Add", [value, _number(node, coefficient, "erf")], shape)
        value = emit(node, "Mul", [value, square], shape)
    value = emit(node, "Add", [value, _number(node, ERF[0], "erf")], shape)
    replace(node, emit(node, "Tanh", [emit(node, "Mul", [value, w], shape)], shape))


def _abs(node: ir.Node) -> None:
    """max(x, -x)."""
    x = node.inputs[0]
    assert x is not None
    shape = shape_of(x)
    replace(node, emit(node, "Max", [x, emit(node, "Mul", [x, _number(node, -1, "minus")], shape)], shape))


def _hard_swish(node: ir.Node) -> None:
    """x * clip(x + 3, 0, 6) / 6."""
    x = node.inputs[0]
    assert x is not None
    shape = shape_of(x)
    moved = emit(node, "Add", [x, _number(node, 3, "three")], shape)
    gate = emit(node, "Clip", [moved, _number(node, 0, "least"), _number(node, 6, "most")], shape)
    gated = emit(node, "Mul", [x, gate], shape)
    replace(node, emit(node, "Mul", [gated, _number(node, 1 / 6, "sixth")], shape))


def _hard_sigmoid(node: ir.Node) -> None:
    x = node.inputs[0]
    assert x is not None
    shape = shape_of(x)
    slope = node.attributes["alpha"].as_float() if "alpha" in node.attributes else 0.2
    term = node.attributes["beta"].as_float() if "beta" in node.attributes else 0.5
    risen = emit(node, "Mul", [x, _number(node, slope, "slope")], shape)
    line = emit(node, "Add", [risen, _number(node, term, "term")], shape)
    replace(node, emit(node, "Clip", [line, _number(node, 0, "least"), _number(node, 1, "most")], shape))


def _softmax(node: ir.Node) -> None:
    """NNAPI's has two or four axes."""
    x = node.inputs[0]
    assert x is not None
    shape = shape_of(x)
    if len(shape) != RANK - 1:
        return
    axis = (node.attributes["axis"].as_int() if "axis" in node.attributes else -1) % len(shape)
    value = emit(node, "Softmax", [_reshape(node, x, [1, *shape])], [1, *shape], {"axis": axis + 1})
    replace(node, _reshape(node, value, shape))


def _matmul(node: ir.Node) -> None:
    """A product with a constant matrix is one of two matrices, the constant last; others have as many axes each."""
    one, other = node.inputs
    assert one is not None and other is not None
    shapes, output = [shape_of(one), shape_of(other)], shape_of(node.outputs[0])
    if constant_of(one) is not None and len(shapes[0]) == 2 and len(shapes[1]) > 2:
        turned = _turned(node, other)
        value = _product(node, turned, constant_of(one).T, _last_swapped(output))  # type: ignore[union-attr]
        replace(node, _turned(node, value))
    elif constant_of(other) is not None and len(shapes[1]) == 2 and len(shapes[0]) > 2:
        replace(node, _product(node, one, constant_of(other), output))


def _product(node: ir.Node, value: ir.Value, matrix: np.ndarray | None, shape: list[int]) -> ir.Value:
    assert matrix is not None
    rows = math.prod(shape[:-1])
    flat = _reshape(node, value, [rows, matrix.shape[0]])
    product = emit(node, "MatMul", [flat, _numbers(node, matrix, "matrix")], [rows, matrix.shape[1]])
    return _reshape(node, product, shape)


def _last_swapped(shape: list[int]) -> list[int]:
    return [*shape[:-2], shape[-1], shape[-2]]


def _turned(node: ir.Node, value: ir.Value) -> ir.Value:
    """The last two axes swapped."""
    shape = shape_of(value)
    order = _last_swapped(list(range(len(shape))))
    return emit(node, "Transpose", [value], _last_swapped(shape), {"perm": order})


_RULES: dict[str, Callable[[ir.Node], None]] = {
    "Abs": _abs,
    "BatchNormalization": _batch_norm,
    "Erf": _erf,
    "HardSigmoid": _hard_sigmoid,
    "HardSwish": _hard_swish,
    "InstanceNormalization": _instance_norm,
    "LayerNormalization": _layer_norm,
    "MatMul": _matmul,
    "ReduceSum": _reduce_sum,
    "Softmax": _softmax,
}
