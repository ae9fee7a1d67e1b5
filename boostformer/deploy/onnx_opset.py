"""Conversion of ONNX graphs to an older opset, exact or refused; and the operators that TensorRT 8.2 can read.

torch's exporter writes opset 18 whatever older one it is asked for. ONNX's own schemas tell what is newer than the
target: an operator whose schema differs by more than the types of its elements needs a rule here, and without one it
is an error that names it. So nothing newer is written silently.
"""

from __future__ import annotations

import numpy as np
import onnx.defs
from onnxscript import ir

from boostformer.deploy.onnx_decompose import DECOMPOSED, Rule
from boostformer.deploy.onnx_graph import constant, constant_of, dims_of, emit, refuse, replace, shape_of

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


def _schema(operator: str, opset: int) -> onnx.defs.OpSchema | None:
    try:
        return onnx.defs.get_schema(operator, max_inclusive_version=opset)
    except onnx.defs.SchemaError:
        return None


def _lower(node: ir.Node, written: int, opset: int) -> None:
    if node.domain:
        raise refuse(node, opset, f"it is of domain {node.domain}")
    if any(value.type in (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS) for value in node.attributes.values()):
        raise refuse(node, opset, "it holds a graph")
    for name, value in node.attributes.items():
        if opset < _NEW_VALUES.get((node.op_type, name, str(_plain(value))), 0):
            raise refuse(node, opset, f"{name} {_plain(value)}")
    now, then = _schema(node.op_type, written), _schema(node.op_type, opset)
    if now is None:
        raise refuse(node, opset, "it is no operator of ONNX")
    if then is None or (node.op_type, opset) in _AVOIDED:
        rule = DECOMPOSED.get(node.op_type)
        if rule is None:
            raise refuse(node, opset, f"it is newer (opset {now.since_version}), without another form here")
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
        raise refuse(node, opset, f"it is as of opset {now.since_version}")
    newer = sorted(set(node.attributes) - set(then.attributes))
    if newer or len(node.inputs) > then.max_input:
        raise refuse(node, opset, f"it has {', '.join(newer) or 'more inputs'}")


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
        raise refuse(node, opset, f"its input {i} is computed")
    return numbers


def _axes_to_attribute(node: ir.Node, opset: int) -> None:
    """Reductions take their axes as an input from 18 on (ReduceSum from 13)."""
    axes = _numbers(node, 1, opset)
    keep_all = node.attributes.pop("noop_with_empty_axes", None)
    if (axes is None or not axes.size) and keep_all is not None and keep_all.as_int():
        raise refuse(node, opset, "noop_with_empty_axes")
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
    """``allowzero`` is of 14; the sizes are written out where all are known, and none is 0 where some are computed."""
    node.attributes.pop("allowzero", None)
    assert node.graph is not None
    sizes = dims_of(node.outputs[0])
    if not all(isinstance(size, int) for size in sizes):
        return
    if 0 in sizes:
        raise refuse(node, opset, "a map without elements")
    node.replace_input_with(1, constant(node.graph, np.array(sizes, np.int64), f"{node.outputs[0].name}_sizes"))


def _plain_batch_norm(node: ir.Node, opset: int) -> None:
    """The operator is as it was in 9 as long as nothing trains; ``training_mode`` is of 14."""
    if len(node.outputs) > 1:
        raise refuse(node, opset, "it is training")


def _whole_shape(node: ir.Node, opset: int) -> None:
    """A part of a shape can be asked for from 15 on; before, it is sliced."""
    x, output, graph = node.inputs[0], node.outputs[0], node.graph
    assert x is not None and graph is not None
    start = node.attributes.pop("start", None)
    end = node.attributes.pop("end", None)
    if start is None and end is None:
        return
    rank = len(dims_of(x))
    whole = ir.node("Shape", [x])
    whole.outputs[0].shape, whole.outputs[0].type = ir.Shape([rank]), output.type
    graph.insert_before(node, whole)
    whole.name = f"{node.name}/Shape"
    ends = (start.as_int() if start else 0, end.as_int() if end else rank)
    limits = [constant(graph, np.array([number], np.int64), f"{output.name}_limit") for number in ends]
    replace(node, emit(node, "Slice", [whole.outputs[0], *limits], dims_of(output)))


_CHANGED: dict[str, Rule] = {
    **{operator: _axes_to_attribute for operator in TENSORRT_8_2 if operator.startswith("Reduce")},
    "BatchNormalization": _plain_batch_norm,
    "Pad": _pad_all_axes,
    "Reshape": _plain_reshape,
    "Shape": _whole_shape,
    "Split": _split_sizes,
}

_AVOIDED = {("Reciprocal", 13)}
"""Known to the opset, but not to the TensorRT it is for."""
