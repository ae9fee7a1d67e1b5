"""Helpers of passes over an ONNX graph: shapes and constants, new nodes, one value in place of another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from onnxscript import ir


def shape_of(value: ir.Value) -> list[int]:
    """The static shape."""
    if value.shape is None or not all(isinstance(size, int) for size in value.shape):
        raise RuntimeError(f"the shape of {value.name} in the exported graph is {value.shape}, not a static one")
    return [int(size) for size in value.shape]  # type: ignore[arg-type]


def dims_of(value: ir.Value) -> list[Any]:
    """The shape, whose sizes may be symbols."""
    if value.shape is None:
        raise RuntimeError(f"the shape of {value.name} in the exported graph is not known")
    return list(value.shape)


def refuse(node: ir.Node, opset: int, reason: str) -> RuntimeError:
    """Make the error that a node cannot be written in an opset."""
    return RuntimeError(f"{node.op_type} (node {node.name}) cannot be written in opset {opset}: {reason}")


def constant_of(value: ir.Value | None) -> np.ndarray | None:
    """The numbers of an initializer, or None for what is computed."""
    if value is None or not value.is_initializer() or value.const_value is None:
        return None
    return value.const_value.numpy()


def constant(graph: ir.Graph, numbers: np.ndarray, name: str) -> ir.Value:
    """A new initializer."""
    while name in graph.initializers:
        name += "_"
    tensor = ir.tensor(numbers, name=name)
    value = ir.Value(name=name, const_value=tensor, shape=ir.Shape(numbers.shape), type=ir.TensorType(tensor.dtype))
    graph.register_initializer(value)
    return value


def emit(
    before: ir.Node,
    operator: str,
    inputs: Sequence[ir.Value | None],
    shape: Sequence[Any],
    attributes: Mapping[str, Any] | None = None,
) -> ir.Value:
    """Add a node and return its output.

    Args:
        before: the node in front of which the new one stands.
        operator: the name of the ONNX operator.
        inputs: of the new node; the output has the type of the first.
        shape: of the output; sizes may be symbols.
        attributes: of the new node.
    """
    node = ir.node(operator, inputs, attributes)
    output, first = node.outputs[0], inputs[0]
    assert first is not None and before.graph is not None
    output.shape, output.type = ir.Shape(shape), first.type
    before.graph.insert_before(before, node)
    node.name = f"{before.name}/{operator}"
    return output


def replace(node: ir.Node, value: ir.Value) -> None:
    """Let ``value`` stand for the only output of ``node``, and drop the node."""
    (old,) = node.outputs
    graph = node.graph
    assert graph is not None
    if old.is_graph_output():
        if not may_be_output(value):
            value = emit(node, "Identity", [value], dims_of(value))
        value.name, old.name = old.name, f"{old.name}_replaced"
    ir.convenience.replace_all_uses_with(old, value, replace_graph_outputs=True)
    graph.remove(node, safe=True)


def may_be_output(value: ir.Value) -> bool:
    """Say whether a graph output may be this very value: an input, or an output already, needs an Identity."""
    return value.producer() is not None and not value.is_graph_output()


def single_use(value: ir.Value) -> bool:
    return len(value.uses()) == 1 and not value.is_graph_output()
