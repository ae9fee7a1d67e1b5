"""Simplification of ONNX graphs: the same elements in the same places, never more nodes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from onnxscript import ir
from torch import Tensor, nn
from torch.nn import functional

from boostformer.deploy.onnx_simplify import simplify
from boostformer.deploy.onnx_writer import to_onnx
from boostformer.deploy.parity import parity

Node = tuple[str, list[str], str, dict[str, Any]]


def graph(
    inputs: dict[str, tuple[int, ...]], nodes: list[Node], outputs: list[str], constants: dict[str, Any]
) -> onnx.ModelProto:
    made = helper.make_graph(
        [helper.make_node(kind, taken, [made], name=f"make_{made}", **extra) for kind, taken, made, extra in nodes],
        "made",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in inputs.items()],
        [helper.make_empty_tensor_value_info(name) for name in outputs],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    return onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)


def simplified(model: onnx.ModelProto) -> tuple[onnx.ModelProto, list[str]]:
    """The simple graph, checked against the other one in ONNX Runtime, and its operators."""
    inner = ir.from_proto(model)
    simplify(inner)
    after = ir.to_proto(inner)
    onnx.checker.check_model(after, full_check=True)
    random = np.random.default_rng(0)
    feeds = {
        item.name: random.normal(size=[d.dim_value for d in item.type.tensor_type.shape.dim]).astype(np.float32)
        for item in model.graph.input
    }
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    before, then = (
        onnxruntime.InferenceSession(m.SerializeToString(), options).run(None, feeds) for m in (model, after)
    )
    for expected, found in zip(before, then, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    assert [item.name for item in after.graph.output] == [item.name for item in model.graph.output]
    return after, sorted(item.op_type for item in after.graph.node)


FACTORS = [1, 2, 2, 3, 4]


@st.composite
def chains(draw: st.DrawFn) -> tuple[tuple[int, ...], list[Node], dict[str, Any], list[str]]:
    """Transposes and reshapes after each other, with a use of the middle or not."""

    def shape() -> tuple[int, ...]:
        cuts = sorted(draw(st.sets(st.integers(1, len(FACTORS) - 1), max_size=3)))
        order = draw(st.permutations(FACTORS))
        return tuple(math.prod(order[a:b]) for a, b in zip([0, *cuts], [*cuts, len(order)], strict=True))

    start = now = shape()
    nodes: list[Node] = []
    constants: dict[str, Any] = {}
    last = "x"
    for i in range(draw(st.integers(1, 5))):
        name = f"v{i}"
        if draw(st.booleans()):
            order = draw(st.permutations(range(len(now))))
            nodes.append(("Transpose", [last], name, {"perm": list(order)}))
            now = tuple(now[j] for j in order)
        else:
            now = shape()
            constants[f"s{i}"] = np.array(now)
            nodes.append(("Reshape", [last, f"s{i}"], name, {}))
        last = name
    outputs = [last] if draw(st.booleans()) else [last, nodes[len(nodes) // 2][2]]
    if draw(st.booleans()):
        nodes.append(("Sin", [last], "sine", {}))
        outputs[0] = "sine"
    return start, nodes, constants, list(dict.fromkeys(outputs))


@settings(max_examples=40, deadline=None)
@given(chains())
def test_any_chain_of_layouts_moves_the_same_elements_in_at_most_as_many_steps(chain: Any) -> None:
    start, nodes, constants, outputs = chain
    _, operators = simplified(graph({"x": start}, nodes, outputs, constants))
    assert len(operators) <= len(nodes)


def chain(start: tuple[int, ...], *steps: list[int] | str) -> list[str]:
    """The operators left of reshapes to "2x3x4" and transposes by [1, 0, 2], between two sines."""
    nodes: list[Node] = [("Sin", ["x"], "v0", {})]
    constants = {}
    for i, step in enumerate(steps):
        if isinstance(step, str):
            constants[f"s{i}"] = np.array([int(size) for size in step.split("x")])
            nodes.append(("Reshape", [f"v{i}", f"s{i}"], f"v{i + 1}", {}))
        else:
            nodes.append(("Transpose", [f"v{i}"], f"v{i + 1}", {"perm": step}))
    nodes.append(("Sin", [f"v{len(steps)}"], "y", {}))
    _, operators = simplified(graph({"x": start}, nodes, ["y"], constants))
    return [name for name in operators if name != "Sin"]


def test_the_exporters_ways_round_become_short() -> None:
    to_map, to_tokens = [0, 3, 1, 2], [0, 2, 3, 1]
    assert chain((1, 4, 6, 8), to_map, to_tokens) == []
    # a norm's map to tokens, one way and the other
    assert chain((1, 4, 6, 8), to_map, "1x8x24", [0, 2, 1]) == ["Reshape"]
    assert chain((1, 24, 8), [0, 2, 1], "1x8x4x6", to_tokens) == ["Reshape"]
    # scaled_dot_product_attention's keys
    assert chain((1, 24, 8), "1x24x2x4", [0, 2, 1, 3], "2x24x4", [0, 2, 1], "1x2x4x24") == ["Reshape", "Transpose"]
    # heads of width 1, one head, what is attended to without a projection
    assert chain((1, 24, 8), "1x24x1x8", [0, 2, 1, 3]) == ["Reshape"]
    assert chain((1, 2, 24, 4), [0, 2, 1, 3], "1x24x8", [0, 2, 1], "1x8x4x6") == ["Reshape", "Transpose"]
    assert chain((4, 6), "6x4", "4x6") == []
    assert chain((4, 6), [1, 0], "4x6", [1, 0]) == ["Reshape", "Transpose", "Transpose"]  # no digits in common


def test_a_use_in_the_middle_is_kept() -> None:
    nodes: list[Node] = [
        ("Sin", ["x"], "a", {}),
        ("Transpose", ["a"], "b", {"perm": [1, 0]}),
        ("Transpose", ["b"], "c", {"perm": [1, 0]}),
        ("Cos", ["b"], "y", {}),
        ("Cos", ["c"], "z", {}),
    ]
    assert simplified(graph({"x": (4, 6)}, nodes, ["y", "z"], {}))[1] == ["Cos", "Cos", "Sin", "Transpose"]
    assert simplified(graph({"x": (4, 6)}, nodes[:3], ["a", "c"], {}))[1].count("Sin") == 1  # an output twice
    straight = [("Transpose", ["x"], "b", {"perm": [1, 0]}), ("Transpose", ["b"], "c", {"perm": [1, 0]})]
    simplified(graph({"x": (4, 6)}, straight, ["c"], {}))  # an input that is an output


def test_a_sum_is_transposed_once() -> None:
    nodes: list[Node] = [
        ("Sin", ["x"], "a", {}),
        ("Cos", ["x"], "b", {}),
        ("Transpose", ["a"], "c", {"perm": [1, 0]}),
        ("Transpose", ["b"], "d", {"perm": [1, 0]}),
        ("Add", ["c", "d"], "e", {}),
        ("Transpose", ["e"], "y", {"perm": [1, 0]}),
    ]
    assert simplified(graph({"x": (4, 6)}, nodes, ["y"], {}))[1] == ["Add", "Cos", "Sin"]
    twice = [*nodes[:1], nodes[2], ("Add", ["c", "c"], "e", {}), nodes[5]]
    assert "Add" in simplified(graph({"x": (4, 6)}, twice, ["y"], {}))[1]


class Attention(nn.Module):
    """Heads of queries and keys that come, or do not, from linear layers of their own."""

    def __init__(self, of: str) -> None:
        super().__init__()
        self.of = of
        self.one, self.other = nn.Linear(8, 8), nn.Linear(8, 8)
        self.map = nn.Conv2d(8, 8, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(1, 8, H, W) -> (1, 2, H*W, 4)."""
        tokens = x.flatten(2).transpose(1, 2)
        query: Tensor = tokens.tanh()
        key = query
        if self.of in ("both", "query"):
            query = self.one(tokens)
        if self.of in ("both", "key"):
            key = self.other(tokens)
        if self.of == "conv":
            query = self.map(x).flatten(2).transpose(1, 2)
        if self.of == "shared":
            query = key = self.one(tokens)
        query, key = (value.unflatten(2, (2, 4)).transpose(1, 2) for value in (query, key))
        return functional.scaled_dot_product_attention(query, key, tokens.unflatten(2, (2, 4)).transpose(1, 2))


@pytest.mark.slow
@pytest.mark.parametrize(("of", "left"), [("both", 0), ("query", 0), ("key", 0), ("conv", 0), ("shared", 1)])
def test_attentions_scale_goes_into_the_weights(of: str, left: int) -> None:
    torch.manual_seed(0)
    module, x = Attention(of).eval(), torch.randn(1, 8, 5, 6)
    made = to_onnx(module, (x,))
    assert parity(module, made, [(x,)]) < 1e-6
    assert [node.op_type for node in made.graph.node].count("Mul") == left


def test_a_factor_stays_where_something_else_uses_what_it_multiplies() -> None:
    weight = np.random.default_rng(1).normal(size=(6, 5)).astype(np.float32)
    nodes: list[Node] = [
        ("MatMul", ["x", "w"], "a", {}),
        ("Mul", ["a", "half"], "b", {}),
        ("Sin", ["b"], "y", {}),
    ]
    constants = {"w": weight, "half": np.float32(0.5), "wide": np.full((1, 1, 1), 0.5, np.float32)}
    assert simplified(graph({"x": (4, 6)}, nodes, ["y"], constants))[1] == ["MatMul", "Sin"]
    assert "Mul" in simplified(graph({"x": (4, 6)}, nodes, ["y", "a"], constants))[1]
    wide = [nodes[0], ("Mul", ["a", "wide"], "b", {}), nodes[2]]  # it also adds an axis
    assert "Mul" in simplified(graph({"x": (4, 6)}, wide, ["y"], constants))[1]
    shared: list[Node] = [*nodes, ("MatMul", ["x", "w"], "z", {}), ("Div", ["z", "half"], "u", {})]
    after, operators = simplified(graph({"x": (4, 6)}, shared, ["y", "u"], constants))
    assert operators == ["MatMul", "MatMul", "Sin"]  # each with weights of its own
