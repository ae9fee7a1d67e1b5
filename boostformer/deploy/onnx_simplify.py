"""Simplification of ONNX graphs with static shapes: the same function in fewer nodes than torch's exporter writes.

- Chains of transposes and reshapes become the shortest that moves the same elements.
- A sum of two maps that were transposed alike is formed first and transposed once.
- GELU is x * (1 + erf) * 0.5, the order of factors that ONNX Runtime knows and computes in one go.
- A constant factor (attention's scale, which the exporter applies to queries and keys) goes into the weights before.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from onnxscript import ir

from boostformer.deploy.onnx_graph import (
    constant,
    constant_of,
    dims_of,
    emit,
    may_be_output,
    replace,
    shape_of,
    single_use,
)

LAYOUT = {"Reshape", "Transpose", "Squeeze", "Unsqueeze", "Flatten", "Identity"}
"""Operators that only rearrange elements."""

Atom = tuple[int, int]
"""(stride, extent): a digit of an element's flat index in the source."""


def simplify(model: ir.Model) -> None:
    """Change ``model`` in place; the nodes never become more. Elements are only rearranged anew in static shapes."""
    graph = model.graph
    changed = is_static(graph)
    while changed:
        changed = sum(_shorten(graph, node) for node in list(graph) if node.graph is graph) > 0
        changed |= sum(_add_first(graph, node) for node in list(graph) if node.graph is graph) > 0
    for node in list(graph):
        if node.op_type == "Erf":
            _order_gelu(node)
    for node in list(graph):
        _absorb_factor(node)
    for clean in (
        ir.passes.common.IdentityEliminationPass(),
        ir.passes.common.RemoveUnusedNodesPass(),
        ir.passes.common.CommonSubexpressionEliminationPass(),
        ir.passes.common.DeduplicateInitializersPass(),
        ir.passes.common.NameFixPass(),
        ir.passes.common.ClearMetadataAndDocStringPass(),
    ):
        clean(model)


def is_static(graph: ir.Graph) -> bool:
    """Tell whether no axis of the inputs is free."""
    return all(isinstance(size, int) for value in graph.inputs for size in value.shape or ())


def _order_gelu(erf: ir.Node) -> None:
    """x * ((1 + erf) * c) -> (x * (1 + erf)) * c for a constant c."""
    chain = [erf]
    for operator in ("Add", "Mul", "Mul"):
        uses = chain[-1].outputs[0].uses()
        if len(uses) != 1 or next(iter(uses))[0].op_type != operator or chain[-1].outputs[0].is_graph_output():
            return
        chain.append(next(iter(uses))[0])
    _, gate, halved, end = chain
    factors = [value for value in halved.inputs if constant_of(value) is not None]
    values = [value for value in end.inputs if value is not halved.outputs[0]]
    if len(factors) != 1 or len(values) != 1 or constant_of(values[0]) is not None:
        return
    shape = dims_of(end.outputs[0])
    product = emit(end, "Mul", [values[0], gate.outputs[0]], shape)
    replace(end, emit(end, "Mul", [product, factors[0]], shape))


# --- transposes and reshapes ----------------------------------------------------------------------------------


def _shorten(graph: ir.Graph, end: ir.Node) -> bool:
    """Replace the chain of layout operators that ends in ``end`` by fewer, if it can be."""
    output = end.outputs[0]
    inside = [user.op_type in LAYOUT for user, _ in output.uses()]
    if end.op_type not in LAYOUT or (inside and all(inside) and not output.is_graph_output()):
        return False
    chain = [end]
    while (above := chain[0].inputs[0].producer()) is not None and above.op_type in LAYOUT:  # type: ignore[union-attr]
        chain.insert(0, above)
    gone = 1  # nodes at the end of the chain that nothing else needs
    while gone < len(chain) and single_use(chain[-1 - gone].outputs[0]):
        gone += 1
    for first in range(len(chain)):
        source = chain[first].inputs[0]
        assert source is not None
        shapes = shape_of(source), shape_of(output)
        atoms = _follow(chain[first:], shapes[0])
        steps = None if atoms is None else _steps(*shapes, atoms)
        if steps is None:
            continue
        saved = min(gone, len(chain) - first) - len(steps)
        transposed_last = end.op_type != "Transpose" and bool(steps) and steps[-1][0] == "Transpose"  # see _add_first
        if saved < 0 or (saved == 0 and not transposed_last):
            continue
        if not steps and output.is_graph_output() and not may_be_output(source):
            continue
        value = source
        for operator, argument in steps:
            if operator == "Reshape":
                sizes = constant(graph, np.array(argument, np.int64), f"{output.name}_sizes")
                value = emit(end, "Reshape", [value, sizes], argument)
            else:
                value = emit(end, "Transpose", [value], [shape_of(value)[i] for i in argument], {"perm": argument})
        replace(end, value)
        for node in reversed(chain[:-1]):
            if not node.outputs[0].uses() and not node.outputs[0].is_graph_output():
                graph.remove(node, safe=True)
        return True
    return False


def _follow(chain: Sequence[ir.Node], shape: list[int]) -> list[list[Atom]] | None:
    """The digits of each axis of the chain's result, outermost first; None when a reshape splits no digit evenly."""
    strides = [math.prod(shape[i + 1 :]) for i in range(len(shape))]
    axes = [[(stride, size)] if size > 1 else [] for stride, size in zip(strides, shape, strict=True)]
    for node in chain:
        if node.op_type == "Transpose":
            axes = [axes[i] for i in _permutation(node)]
        else:
            regrouped = _regroup([atom for axis in axes for atom in axis], shape_of(node.outputs[0]))
            if regrouped is None:
                return None
            axes = regrouped
    return axes


def _permutation(node: ir.Node) -> list[int]:
    if "perm" in node.attributes:
        return list(node.attributes["perm"].as_ints())
    return list(range(len(shape_of(node.outputs[0]))))[::-1]


def _merge(atoms: Sequence[Atom]) -> list[Atom]:
    """Digits that follow each other also in the source are one."""
    merged: list[Atom] = []
    for stride, extent in atoms:
        if merged and merged[-1][0] == stride * extent:
            merged[-1] = (stride, merged[-1][1] * extent)
        else:
            merged.append((stride, extent))
    return merged


def _regroup(atoms: Sequence[Atom], shape: Sequence[int]) -> list[list[Atom]] | None:
    left, axes = _merge(atoms)[::-1], []
    for size in shape:
        axis: list[Atom] = []
        while size > 1:
            stride, extent = left.pop()
            taken = math.gcd(size, extent)
            if taken < min(size, extent):
                return None
            axis.append((stride * (extent // taken), taken))
            if taken < extent:
                left.append((stride, extent // taken))
            size //= taken
        axes.append(axis)
    return axes


def _steps(source: list[int], target: list[int], axes: list[list[Atom]]) -> list[tuple[str, list[int]]] | None:
    """The fewest reshapes and transposes from ``source`` to ``target`` that put the digits there."""
    atoms = _merge([atom for axis in axes for atom in axis])
    if len(atoms) <= 1:
        return [] if source == target else [("Reshape", target)]
    axes = [_merge(axis) for axis in axes]
    if all(len(axis) <= 1 for axis in axes):
        ones = [i for i, axis in enumerate(axes) if not axis]
        others = sorted((i for i, axis in enumerate(axes) if axis), key=lambda i: -axes[i][0][0])
        queues = {True: ones[::-1], False: others[::-1]}
        if len(source) == len(target):
            order = [queues[size == 1].pop() for size in source if queues[size == 1]]
            if [target[i] for i in order] == source:
                return [("Transpose", [order.index(i) for i in range(len(target))])]
        order = ones + others
        return [
            ("Reshape", [target[i] for i in order]),
            ("Transpose", [order.index(i) for i in range(len(target))]),
        ]
    order = sorted(range(len(atoms)), key=lambda i: -atoms[i][0])
    between = [atoms[i][1] for i in order]
    permutation = [order.index(i) for i in range(len(atoms))]
    if between == [size for size in source if size > 1]:
        real = [i for i, size in enumerate(source) if size > 1]
        permutation = [i for i, size in enumerate(source) if size == 1] + [real[i] for i in permutation]
        return [("Transpose", permutation), ("Reshape", target)]
    return [("Reshape", between), ("Transpose", permutation), ("Reshape", target)]


def _add_first(graph: ir.Graph, node: ir.Node) -> bool:
    """Transposed(a) + Transposed(b) = Transposed(a + b)."""
    if node.op_type != "Add":
        return False
    above = [value.producer() for value in node.inputs if value is not None]
    if any(up is None or up.op_type != "Transpose" for up in above):
        return False
    one, other = (up for up in above if up is not None)
    shapes = [shape_of(up.inputs[0]) for up in (one, other)]  # type: ignore[arg-type]
    if _permutation(one) != _permutation(other) or shapes[0] != shapes[1]:
        return False
    if not any(single_use(up.outputs[0]) for up in (one, other)):
        return False
    total = emit(node, "Add", [one.inputs[0], other.inputs[0]], shapes[0])
    value = emit(node, "Transpose", [total], shape_of(node.outputs[0]), {"perm": _permutation(one)})
    replace(node, value)
    for up in {one, other}:
        if not up.outputs[0].uses() and not up.outputs[0].is_graph_output():
            graph.remove(up, safe=True)
    return True


# --- constant factors -----------------------------------------------------------------------------------------


def _scalar(node: ir.Node | None) -> tuple[ir.Value, float] | None:
    """The value that a node multiplies by a constant, and the constant."""
    if node is None or node.op_type not in ("Mul", "Div"):
        return None
    for i in (1, 0) if node.op_type == "Mul" else (1,):
        numbers, other = constant_of(node.inputs[i]), node.inputs[1 - i]
        if numbers is not None and numbers.size == 1 and numbers.dtype.kind == "f" and other is not None:
            if numbers.ndim > len(dims_of(other)) or constant_of(other) is not None:
                return None
            factor = float(numbers.reshape(()))
            return other, factor if node.op_type == "Mul" else 1 / factor
    return None


def _absorb_factor(node: ir.Node) -> None:
    """Remove a multiplication by a number whose factor can go into weights before it or beside it."""
    found = _scalar(node)
    if found is None:
        return
    value, factor = found
    if _absorb(value, factor):
        replace(node, value)
        return
    users = [user for user, _ in node.outputs[0].uses()]
    if single_use(node.outputs[0]) and users[0].op_type == "MatMul":
        for other in users[0].inputs:
            if other is not node.outputs[0] and other is not None and _absorb(other, factor):
                replace(node, value)
                return


def _absorb(value: ir.Value, factor: float) -> bool:
    """Multiply ``value`` by ``factor`` through the weights that it comes from, if nothing else uses it."""
    node = value.producer()
    if node is None or not single_use(value):
        return False
    graph, first = node.graph, node.inputs[0]
    assert graph is not None and first is not None

    def scale(i: int) -> bool:
        numbers = constant_of(node.inputs[i])
        if numbers is None or numbers.dtype.kind != "f":
            return False
        scaled = (numbers.astype(np.float64) * factor).astype(numbers.dtype)
        node.replace_input_with(i, constant(graph, scaled, f"{node.inputs[i].name}_scaled"))  # type: ignore[union-attr]
        return True

    if node.op_type in ("Reshape", "Transpose"):
        return _absorb(first, factor)
    if node.op_type == "Conv":
        if any(constant_of(weights) is None for weights in node.inputs[1:]):
            return False
        return [scale(i) for i in range(1, len(node.inputs))] != []
    if node.op_type == "Add":
        for i in (0, 1):
            other = node.inputs[1 - i]
            if constant_of(node.inputs[i]) is not None and other is not None and _absorb(other, factor):
                return scale(i)
        return False
    if node.op_type == "MatMul" or _scalar(node) and node.op_type == "Mul":
        if scale(0) or scale(1):
            return True
        return any(operand is not None and _absorb(operand, factor) for operand in node.inputs)
    return False
