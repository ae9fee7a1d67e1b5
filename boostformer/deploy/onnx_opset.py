"""Conversion of ONNX graphs to an older opset, exact or refused; and the operators that TensorRT 8.2 can read.

torch's exporter writes opset 18 whatever older one it is asked for. ONNX's own schemas tell what is newer than the
target: an operator whose schema differs by more than the types of its elements needs a rule here, and without one it
is an error that names it. So nothing newer is written silently.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import onnx.defs
from onnxscript import ir

from boostformer.deploy.onnx_graph import constant, constant_of, emit, replace, shape_of

NEWEST = 20
"""The newest opset whose schemas were looked through for changes of meaning under an unchanged signature."""

IR_VERSIONS = {13: 7, 14: 7, 15: 8, 16: 8, 17: 8, 18: 8, 19: 9, 20: 9}
"""The ONNX IR version that was current when the opset appeared: an older runtime reads no newer one."""

_TENSORRT_8_2 = """
Abs Add And ArgMax ArgMin AveragePool BatchNormalization Cast Ceil Clip Concat Constant ConstantOfShape Conv
ConvTranspose Cos DepthToSpace Div Elu Equal Erf Exp Expand Flatten Floor Gather GatherElements GatherND Gemm
GlobalAveragePool GlobalMaxPool Greater GreaterOrEqual HardSigmoid Identity InstanceNormalization LeakyRelu Less
LessOrEqual Log LogSoftmax MatMul Max MaxPool Mean Min Mul Neg Not Or PRelu Pad Pow ReduceL1 ReduceL2
ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare Relu Reshape
Resize Selu Shape Sigmoid Sign Sin Slice Softmax Softplus Softsign SpaceToDepth Split Sqrt Squeeze Sub Sum Tan
Tanh Tile TopK Transpose Unsqueeze Where
"""
TENSORRT_8_2 = frozenset(_TENSORRT_8_2.split())
"""Operators that TensorRT 8.2 (Jetson Nano, TX2) reads at opset 13.

The floating-point ones of NVIDIA's table (onnx-tensorrt, docs/operators.md) that need no plugin, subgraph or state.
It has no LayerNormalization, Gelu, HardSwish, GridSample, Mod, Reciprocal.
"""

_NEUTRAL = {
    ("AveragePool", "dilations"): (1, 1),
    ("BatchNormalization", "training_mode"): 0,
    ("Cast", "saturate"): 1,
    ("Resize", "antialias"): 0,
    ("Resize", "axes"): None,
    ("Resize", "keep_aspect_ratio_policy"): "stretch",
    ("Reshape", "allowzero"): 0,
    ("ScatterElements", "reduction"): "none",
    ("ScatterND", "reduction"): "none",
    ("Shape", "end"): None,
    ("Shape", "start"): 0,
}
"""Attributes newer than some opset, at the value that is all the older operator does; None is "left out"."""

_NEW_VALUES = {
    ("Pad", "mode", "wrap"): 19,
    ("Resize", "coordinate_transformation_mode", "half_pixel_symmetric"): 19,
    ("ScatterElements", "reduction", "max"): 18,
    ("ScatterElements", "reduction", "min"): 18,
    ("ScatterND", "reduction", "max"): 18,
    ("ScatterND", "reduction", "min"): 18,
}
"""Values that an attribute may have only from an opset on; the signature does not tell."""


def convert(model: ir.Model, opset: int) -> None:
    """Change ``model``, with static shapes, to ``opset`` in place; RuntimeError names what cannot be written in it."""
    written = model.opset_imports[""]
    if not min(IR_VERSIONS) <= opset <= written <= NEWEST:
        raise RuntimeError(f"a graph of opset {written} cannot be converted to opset {opset}")
    for node in list(model.graph):
        _lower(node, written, opset)
    if opset == 13:
        _check_tensorrt(model.graph)
    ir.passes.common.RemoveUnusedNodesPass()(model)
    ir.passes.common.DeduplicateInitializersPass()(model)
    ir.passes.common.NameFixPass()(model)
    model.opset_imports.clear()
    model.opset_imports[""] = opset
    model.ir_version = IR_VERSIONS[opset]


def _check_tensorrt(graph: ir.Graph) -> None:
    unknown = sorted({node.op_type for node in graph} - TENSORRT_8_2)
    if unknown:
        raise RuntimeError(
            f"opset 13 is for TensorRT 8.2, which does not read {', '.join(unknown)}: "
            + ", ".join(str(node.name) for node in graph if node.op_type in unknown)
        )


def _refuse(node: ir.Node, opset: int, reason: str) -> RuntimeError:
    return RuntimeError(f"{node.op_type} (node {node.name}) cannot be written in opset {opset}: {reason}")


def _schema(operator: str, opset: int) -> onnx.defs.OpSchema | None:
    try:
        return onnx.defs.get_schema(operator, max_inclusive_version=opset)
    except onnx.defs.SchemaError:
        return None


def _lower(node: ir.Node, written: int, opset: int) -> None:
    if node.domain:
        raise _refuse(node, opset, f"it is of domain {node.domain}")
    if any(value.type in (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS) for value in node.attributes.values()):
        raise _refuse(node, opset, "it holds a graph")
    for name, value in node.attributes.items():
        if opset < _NEW_VALUES.get((node.op_type, name, str(_plain(value))), 0):
            raise _refuse(node, opset, f"{name} {_plain(value)}")
    now, then = _schema(node.op_type, written), _schema(node.op_type, opset)
    if now is None:
        raise _refuse(node, opset, "it is no operator of ONNX")
    if then is None or (node.op_type, opset) in _AVOIDED:
        rule = _DECOMPOSED.get(node.op_type)
        if rule is None:
            raise _refuse(node, opset, f"it is newer (opset {now.since_version}), without another form here")
        rule(node, opset)
        return
    if now.since_version == then.since_version:
        return
    for name in set(node.attributes) - set(then.attributes):
        if _NEUTRAL.get((node.op_type, name)) == _plain(node.attributes[name]):
            node.attributes.pop(name)
    if (change := _CHANGED.get(node.op_type)) and not _same_but_types(now, then):
        change(node, opset)
    elif not _same_but_types(now, then, {name for operator, name in _NEUTRAL if operator == node.op_type}):
        raise _refuse(node, opset, f"it is as of opset {now.since_version}")
    newer = sorted(set(node.attributes) - set(then.attributes))
    if newer or len(node.inputs) > then.max_input:
        raise _refuse(node, opset, f"it has {', '.join(newer) or 'more inputs'}")


def _plain(value: ir.Attr) -> object:
    return tuple(value.value) if value.type == ir.AttributeType.INTS else value.value


def _same_but_types(now: onnx.defs.OpSchema, then: onnx.defs.OpSchema, besides: set[str] | None = None) -> bool:
    """Say whether two versions of an operator differ only in element types and in the attributes ``besides``."""

    def signature(schema: onnx.defs.OpSchema) -> tuple[object, ...]:
        formal = [(item.name, item.option) for item in (*schema.inputs, *schema.outputs)]
        attributes = {
            name: (item.type, item.required, str(item.default_value))
            for name, item in schema.attributes.items()
            if name not in (besides or ())
        }
        return len(schema.inputs), formal, attributes

    return signature(now) == signature(then)


# --- operators that an older opset has in another form --------------------------------------------------------


def _numbers(node: ir.Node, i: int, opset: int) -> np.ndarray | None:
    """Input ``i``, which must be a constant; None when it is left out."""
    if i >= len(node.inputs) or node.inputs[i] is None:
        return None
    numbers = constant_of(node.inputs[i])
    if numbers is None:
        raise _refuse(node, opset, f"its input {i} is computed")
    return numbers


def _axes_to_attribute(node: ir.Node, opset: int) -> None:
    """Reductions take their axes as an input from 18 on (ReduceSum from 13)."""
    axes = _numbers(node, 1, opset)
    keep_all = node.attributes.pop("noop_with_empty_axes", None)
    if (axes is None or not axes.size) and keep_all is not None and keep_all.as_int():
        raise _refuse(node, opset, "noop_with_empty_axes")
    node.resize_inputs(1)
    if axes is not None and axes.size:
        node.attributes["axes"] = ir.AttrInt64s("axes", [int(axis) for axis in axes])


def _split_sizes(node: ir.Node, opset: int) -> None:
    """``num_outputs`` is of 18; before, the sizes are an input."""
    if node.attributes.pop("num_outputs", None) is None:
        return
    assert node.inputs[0] is not None and node.graph is not None
    axis = node.attributes["axis"].as_int() if "axis" in node.attributes else 0
    sizes = np.array([shape_of(output)[axis] for output in node.outputs], np.int64)
    node.resize_inputs(2)
    node.replace_input_with(1, constant(node.graph, sizes, f"{node.outputs[0].name}_sizes"))


def _pad_all_axes(node: ir.Node, opset: int) -> None:
    """The axes to pad are an input from 18 on; before, all are."""
    axes = _numbers(node, 3, opset)
    if axes is not None:
        assert node.inputs[0] is not None and node.graph is not None
        pads = _numbers(node, 1, opset)
        assert pads is not None
        rank = len(shape_of(node.inputs[0]))
        full = np.zeros((2, rank), np.int64)
        full[:, axes % rank] = pads.reshape(2, -1)
        node.replace_input_with(1, constant(node.graph, full.reshape(-1), f"{node.outputs[0].name}_pads"))
    node.resize_inputs(min(len(node.inputs), 3))


def _plain_reshape(node: ir.Node, opset: int) -> None:
    """``allowzero`` is of 14; the sizes, all known here, are written out."""
    node.attributes.pop("allowzero", None)
    assert node.graph is not None
    sizes = shape_of(node.outputs[0])
    if 0 in sizes:
        raise _refuse(node, opset, "a map without elements")
    node.replace_input_with(1, constant(node.graph, np.array(sizes, np.int64), f"{node.outputs[0].name}_sizes"))


def _plain_batch_norm(node: ir.Node, opset: int) -> None:
    """The operator is as it was in 9 as long as nothing trains; ``training_mode`` is of 14."""
    if len(node.outputs) > 1:
        raise _refuse(node, opset, "it is training")


_Rule = Callable[[ir.Node, int], None]

_CHANGED: dict[str, _Rule] = {
    **{operator: _axes_to_attribute for operator in TENSORRT_8_2 if operator.startswith("Reduce")},
    "BatchNormalization": _plain_batch_norm,
    "Pad": _pad_all_axes,
    "Reshape": _plain_reshape,
    "Split": _split_sizes,
}

# --- operators that an older opset does not have --------------------------------------------------------------


def _float(node: ir.Node, opset: int, number: float, name: str) -> ir.Value:
    """A scalar of the type of the node's input, which must be single or double precision."""
    value = node.inputs[0]
    assert value is not None and value.dtype is not None and node.graph is not None
    if value.dtype not in (ir.DataType.FLOAT, ir.DataType.DOUBLE):
        raise _refuse(node, opset, f"its input is {value.dtype}")
    return constant(node.graph, np.array(number, value.dtype.numpy()), name)


def _layer_norm(node: ir.Node, opset: int) -> None:
    """(x - mean) / sqrt(mean((x - mean)^2) + eps) * scale + bias."""
    x, scale, *bias = node.inputs
    if any(output.uses() or output.is_graph_output() for output in node.outputs[1:]):
        raise _refuse(node, opset, "its mean or deviation is used")
    assert x is not None
    shape = shape_of(x)
    axis = node.attributes["axis"].as_int() if "axis" in node.attributes else -1
    axes = list(range(axis % len(shape), len(shape)))
    reduced = [1 if i in axes else size for i, size in enumerate(shape)]
    over = {"axes": axes, "keepdims": 1}
    eps = _float(node, opset, node.attributes["epsilon"].as_float() if "epsilon" in node.attributes else 1e-5, "eps")

    centred = emit(node, "Sub", [x, emit(node, "ReduceMean", [x], reduced, over)], shape)
    variance = emit(node, "ReduceMean", [emit(node, "Mul", [centred, centred], shape)], reduced, over)
    deviation = emit(node, "Sqrt", [emit(node, "Add", [variance, eps], reduced)], reduced)
    value = emit(node, "Mul", [emit(node, "Div", [centred, deviation], shape), scale], shape)
    if bias and bias[0] is not None:
        value = emit(node, "Add", [value, bias[0]], shape)
    node.resize_outputs(1)
    replace(node, value)


def _gelu(node: ir.Node, opset: int) -> None:
    """x * (1 + erf(x / sqrt 2)) / 2, in the order that ONNX Runtime and TensorRT know."""
    if "approximate" in node.attributes and node.attributes["approximate"].as_string() != "none":
        raise _refuse(node, opset, "it is the approximation by tanh")
    x = node.inputs[0]
    assert x is not None
    shape = shape_of(x)
    root, one, half = (_float(node, opset, number, "gelu") for number in (math.sqrt(2), 1, 0.5))
    erf = emit(node, "Erf", [emit(node, "Div", [x, root], shape)], shape)
    gated = emit(node, "Mul", [x, emit(node, "Add", [erf, one], shape)], shape)
    replace(node, emit(node, "Mul", [gated, half], shape))


def _hard_swish(node: ir.Node, opset: int) -> None:
    """x * clip(x / 6 + 1/2, 0, 1)."""
    x = node.inputs[0]
    assert x is not None
    shape = shape_of(x)
    gate = emit(node, "HardSigmoid", [x], shape, {"alpha": 1 / 6, "beta": 0.5})
    replace(node, emit(node, "Mul", [x, gate], shape))


def _reciprocal(node: ir.Node, opset: int) -> None:
    replace(node, emit(node, "Div", [_float(node, opset, 1, "one"), node.inputs[0]], shape_of(node.outputs[0])))


_DECOMPOSED: dict[str, _Rule] = {
    "Gelu": _gelu,
    "HardSwish": _hard_swish,
    "LayerNormalization": _layer_norm,
    "Reciprocal": _reciprocal,
}

_AVOIDED = {("Reciprocal", 13)}
"""Known to the opset, but not to the TensorRT it is for."""
