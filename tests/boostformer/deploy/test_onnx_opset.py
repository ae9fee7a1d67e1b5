"""Down-conversion of ONNX graphs: the same numbers in ONNX Runtime, nothing newer, and refusals that name the node."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from onnxscript import ir
from torch import nn

from boostformer.deploy.onnx_opset import NEWEST, TENSORRT_8_2, convert
from boostformer.deploy.onnx_writer import to_onnx

RANDOM = np.random.default_rng(0)
SHAPE = (2, 6, 5, 8)
X = RANDOM.normal(size=SHAPE).astype(np.float32) * 3
Constants = dict[str, np.ndarray]


def graph(opset: int, nodes: Sequence[onnx.NodeProto], constants: Constants | None = None) -> onnx.ModelProto:
    """From ``x`` of ``SHAPE`` to every output of the nodes."""
    initializers = [numpy_helper.from_array(value, name) for name, value in (constants or {}).items()]
    outputs = [helper.make_empty_tensor_value_info(name) for node in nodes for name in node.output if name]
    made = helper.make_graph(
        nodes, "made", [helper.make_tensor_value_info("x", TensorProto.FLOAT, SHAPE)], outputs, initializers
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)
    return onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)


def node(operator: str, inputs: str = "x", outputs: str = "y", **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(operator, inputs.split(","), outputs.split(","), name=f"the_{operator}", **attributes)


def lowered(model: onnx.ModelProto, opset: int) -> onnx.ModelProto:
    inner = ir.from_proto(model)
    convert(inner, opset)
    return ir.to_proto(inner)


def run(model: onnx.ModelProto) -> list[np.ndarray]:
    return onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"x": X})


INTS = {"two": np.array([1, -1]), "none": np.array([], np.int64), "flat": np.array([-1]), "same": np.array([2, 6, 40])}
FLOATS = {name: RANDOM.normal(size=8).astype(np.float32) for name in ("a", "b")}
MAPS = {name: RANDOM.uniform(0.5, 1, size=6).astype(np.float32) for name in ("c", "d", "e", "f")}
SIZES = {"sizes": np.array([2, 6, 9, 11]), "pads": np.array([1, 2, 3, 4]), "axes": np.array([3, -2])}

REDUCTIONS = [name for name in sorted(TENSORRT_8_2) if name.startswith("Reduce")]
SAME: list[tuple[int, onnx.NodeProto, Constants]] = [
    (18, node("LayerNormalization", "x,a,b", epsilon=0.1), FLOATS),
    (18, node("LayerNormalization", "x,a", axis=3), FLOATS),
    (18, node("LayerNormalization", "x,w", axis=-2), {"w": RANDOM.normal(size=(5, 8)).astype(np.float32)}),
    (20, node("Gelu"), {}),
    (18, node("HardSwish"), {}),
    (18, node("Reciprocal"), {}),
    (18, node("Split", outputs="p,q,r", axis=2, num_outputs=3), {}),
    (18, node("Split", outputs="p,q", axis=-1, num_outputs=2), {}),
    (18, node("Pad", "x,pads,,axes"), SIZES),
    (18, node("Pad", "x,pads,,axes", mode="reflect"), SIZES | {"pads": np.array([1, 2, 3, 1])}),
    (18, node("Reshape", "x,same", allowzero=1), INTS),
    (18, node("Reshape", "x,flat"), INTS),
    (18, node("BatchNormalization", "x,c,d,e,f", training_mode=0), MAPS),
    (18, node("BatchNormalization", "x,c,d,e,f"), MAPS),
    (18, node("Resize", "x,,,sizes", mode="linear", antialias=0, keep_aspect_ratio_policy="stretch"), SIZES),
    (19, node("Cast", to=TensorProto.INT32, saturate=1), {}),
    (19, node("AveragePool", kernel_shape=[3, 3], pads=[1, 1, 1, 1], dilations=[1, 1]), {}),
    (20, node("Mul", "x,x"), {}),
    (18, node("Shape", start=1), {}),
    (18, node("Shape", start=-3, end=-1), {}),
    (20, node("Relu"), {}),
    *[(18, node(name, "x,two", keepdims=0), INTS) for name in REDUCTIONS],
    *[(20, node(name, "x,none", noop_with_empty_axes=0), INTS) for name in REDUCTIONS],
]


@pytest.mark.parametrize("opset", [13, 17])
@pytest.mark.parametrize(("written", "made", "constants"), SAME, ids=lambda v: getattr(v, "op_type", None))
def test_older_forms_compute_the_same(written: int, made: onnx.NodeProto, constants: Constants, opset: int) -> None:
    before = graph(written, [made], constants)
    after = lowered(before, opset)
    onnx.checker.check_model(after, full_check=True)
    assert [(item.domain, item.version) for item in after.opset_import] == [("", opset)]
    assert after.ir_version == {13: 7, 17: 8}[opset]
    for expected, found in zip(run(before), run(after), strict=True):
        np.testing.assert_allclose(found, expected, rtol=2e-6, atol=2e-6 * np.nan_to_num(np.abs(expected)).max())


def test_what_the_target_has_stays_as_it_is() -> None:
    after = lowered(graph(18, [node("LayerNormalization", "x,a,b"), node("HardSwish", "y", "z")], FLOATS), 17)
    assert [item.op_type for item in after.graph.node] == ["LayerNormalization", "HardSwish"]


REFUSED: list[tuple[int, int, onnx.NodeProto, Constants, str]] = [
    (18, 17, node("Mish"), {}, "newer (opset 18)"),
    (18, 13, node("Trilu"), {}, "newer (opset 14)"),
    (18, 13, node("GridSample", "x,grid"), {"grid": np.zeros((2, 3, 3, 2), np.float32)}, "newer (opset 16)"),
    (20, 18, node("GridSample", "x,grid"), {"grid": np.zeros((2, 3, 3, 2), np.float32)}, "as of opset 20"),
    (20, 17, node("DFT", "x,,axis"), {"axis": np.array(1)}, "as of opset 20"),
    (20, 17, node("Gelu", approximate="tanh"), {}, "approximation by tanh"),
    (18, 13, node("LayerNormalization", "x,a,b", "y,mean"), FLOATS, "mean or deviation"),
    (18, 17, node("Resize", "x,,,sizes", mode="linear", antialias=1), SIZES, "it has antialias"),
    (18, 17, node("Resize", "x,,,two", axes=[2, 3]), {"two": np.array([9, 11])}, "it has axes"),
    (18, 17, node("ReduceMax", "x,none", noop_with_empty_axes=1), INTS, "noop_with_empty_axes"),
    (19, 18, node("Pad", "x,pads,,axes", mode="wrap"), SIZES, "mode wrap"),
    (18, 13, node("BatchNormalization", "x,c,d,e,f", "y,g,h", training_mode=1), MAPS, "training"),
    (20, 18, node("AveragePool", kernel_shape=[2, 2], dilations=[2, 2]), {}, "it has dilations"),
    (18, 13, node("Mod", "x,x", fmod=1), {}, "which does not read Mod: the_Mod"),
    (18, 13, node("Hardmax"), {}, "which does not read Hardmax: the_Hardmax"),
]


@pytest.mark.parametrize(
    ("written", "opset", "made", "constants", "why"), REFUSED, ids=lambda v: getattr(v, "op_type", None)
)
def test_what_cannot_be_older_is_named(
    written: int, opset: int, made: onnx.NodeProto, constants: Constants, why: str
) -> None:
    model = graph(written, [made], constants)
    with pytest.raises(RuntimeError) as refused:
        lowered(model, opset)
    assert why in str(refused.value)
    assert f"{made.name}" in str(refused.value)


def test_axes_that_are_computed_are_refused() -> None:
    nodes = [node("Shape", outputs="shape"), node("Sub", "shape,shape", "axes"), node("ReduceMean", "x,axes")]
    model = ir.from_proto(graph(18, nodes[:2]))
    made = ir.node("ReduceMean", [model.graph.inputs[0], model.graph.outputs[1]], name="the_ReduceMean")
    made.outputs[0].shape = ir.Shape([1, 1, 1, 1])
    model.graph.append(made)
    with pytest.raises(RuntimeError, match=r"ReduceMean \(node the_ReduceMean\).*opset 17: its input 1 is computed"):
        convert(model, 17)


def test_other_domains_graphs_inside_and_unknown_versions_are_refused() -> None:
    model = ir.from_proto(graph(18, [node("Relu")]))
    model.graph[0].domain = "com.microsoft"
    with pytest.raises(RuntimeError, match="node the_Relu.*it is of domain com.microsoft"):
        convert(model, 17)
    branch = helper.make_graph([node("Relu")], "inner", [], [helper.make_empty_tensor_value_info("y")])
    held = [node("If", "yes", "z", then_branch=branch, else_branch=branch)]
    with pytest.raises(RuntimeError, match="node the_If.*it holds a graph"):
        lowered(graph(18, held, {"yes": np.array(True)}), 17)
    for written, opset in ((21, 17), (17, 18), (18, 12)):
        with pytest.raises(RuntimeError, match=f"opset {written} cannot be converted to opset {opset}"):
            lowered(graph(written, [node("Relu")]), opset)


def test_every_change_of_an_operator_up_to_the_newest_is_known() -> None:
    """Those that convert by themselves were looked at: they differ in element types alone."""
    silent = set()
    for name in {schema.name for schema in onnx.defs.get_all_schemas() if schema.domain == ""}:
        for old in (13, 17, 18, 19):
            try:
                then = onnx.defs.get_schema(name, max_inclusive_version=old)
                now = onnx.defs.get_schema(name, max_inclusive_version=NEWEST)
            except onnx.defs.SchemaError:
                continue
            if then.since_version != now.since_version and _accepts(name, old):
                silent.add(name)
    assert silent == {
        "Add", "AveragePool", "Cast", "Constant", "ConstantOfShape", "CumSum", "DequantizeLinear", "Div", "Equal",
        "GreaterOrEqual", "Identity", "IsInf", "IsNaN", "LeakyRelu", "LessOrEqual", "Mul", "PRelu", "Pow", "Relu",
        "ScatterElements", "ScatterND", "Size", "Sub", "Where", "Resize", "Shape", "OptionalGetElement",
        "BatchNormalization", "Pad", "Reshape", "Split", "If", "Loop", "Scan",
        *REDUCTIONS,
    } - {"ReduceSum"}  # fmt: skip


def _accepts(operator: str, opset: int) -> bool:
    """Whether a bare node of the newest form is taken for ``opset``."""
    schema = onnx.defs.get_schema(operator, max_inclusive_version=NEWEST)
    inputs = [ir.Value(name=f"i{i}", shape=ir.Shape([2, 2])) for i in range(schema.min_input)]
    made = ir.node(operator, inputs, num_outputs=1)
    made.outputs[0].shape = ir.Shape([2, 2])
    model = ir.Model(ir.Graph(inputs, made.outputs, nodes=[made], opset_imports={"": NEWEST}), ir_version=9)
    try:
        convert(model, opset)
    except RuntimeError as error:
        return "TensorRT" in str(error)
    return True


def test_a_module_in_training_is_not_exported() -> None:
    with pytest.raises(ValueError, match="eval mode"):
        to_onnx(nn.Conv2d(3, 3, 1), (torch.zeros(1, 3, 4, 4),))


def norms(dtype: type, width: int = 32) -> tuple[onnx.ModelProto, np.ndarray]:
    """A LayerNorm in opset 13, and rows from the smallest to the largest numbers that half precision has for it."""
    rows = RANDOM.normal(size=(9, width)) * 10.0 ** np.arange(-4, 5)[:, None]
    x = np.clip(rows, -6e4, 6e4).astype(dtype)
    kind = helper.np_dtype_to_tensor_dtype(x.dtype)
    ends = [helper.make_tensor_value_info(name, kind, x.shape) for name in ("x", "y")]
    scales = [numpy_helper.from_array(np.full(width, value, dtype), name) for name, value in (("a", 1.5), ("b", 0.25))]
    made = helper.make_graph([node("LayerNormalization", "x,a,b")], "made", ends[:1], ends[1:], scales)
    return lowered(helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)], ir_version=8), 13), x


def test_norms_hold_in_half_precision_whatever_they_are_of() -> None:
    """Each operator rounds to half precision here, as on a device; the squares of the last rows would be infinite."""
    graph, x = norms(np.float16)
    (found,) = ReferenceEvaluator(graph).run(None, {"x": x})
    exact = x.astype(np.float64)
    centred = exact - exact.mean(1, keepdims=True)
    expected = centred / np.sqrt((centred**2).mean(1, keepdims=True) + 1e-5) * 1.5 + 0.25
    assert found.dtype == np.float16 and np.abs(centred).max() > 256
    np.testing.assert_allclose(found, expected, atol=0.02)
