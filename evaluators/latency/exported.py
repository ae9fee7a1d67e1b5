"""Latency of an ONNX file as it is, measured by a meter."""

from __future__ import annotations

from pathlib import Path

import onnx

from boostformer.errors import UserError
from boostformer.figures import Latency
from boostformer.files import is_file
from evaluators.latency.backend import Meter, Say, silent
from evaluators.latency.graphs import graph_hash

NETWORK = "file"


def read_graph(file: Path) -> onnx.ModelProto:
    """Read a file whose network takes one image of one size in single precision; :class:`UserError` for another."""
    if not is_file(file):
        raise UserError(f"{file}: no such file")
    try:
        graph = onnx.load(file)
        onnx.checker.check_model(graph)
    except Exception as error:  # those of protobuf, a package that is not ours to name, among them
        raise UserError(f"{file}: not an ONNX file that can be read: {str(error).strip().splitlines()[0]}") from None
    known = {constant.name for constant in graph.graph.initializer}
    inputs = [value for value in graph.graph.input if value.name not in known]
    if len(inputs) != 1 or _sides(inputs[0])[:1] != [1]:
        taken = "; ".join(_shown(value) for value in inputs) or "nothing"
        raise UserError(
            f"{file}: takes {taken}; allowed: one input, float of a fixed shape 1x…: export without --dynamic"
        )
    return graph


def _sides(value: onnx.ValueInfoProto) -> list[int]:
    """Give the fixed shape of an input in single precision, else none."""
    kind = value.type.tensor_type
    sides = [dim.dim_value for dim in kind.shape.dim]
    return sides if kind.elem_type == onnx.TensorProto.FLOAT and all(side > 0 for side in sides) else []


def _shown(value: onnx.ValueInfoProto) -> str:
    kind = value.type.tensor_type
    sides = "x".join(str(dim.dim_value or dim.dim_param or "?") for dim in kind.shape.dim)
    return f"{value.name}: {onnx.TensorProto.DataType.Name(kind.elem_type).lower()} {sides}"


def file_latency(graph: onnx.ModelProto, meter: Meter, *, builds: int = 1, say: Say = silent) -> Latency:
    """Measure a graph as it is, to whatever it gives.

    Args:
        graph: of :func:`read_graph`.
        meter: runs it.
        builds: how many times it is built.
        say: called with a line about what is being done.

    Raises:
        Unavailable, MeasureFailure, UserError: as :meth:`Meter.measure`.
    """
    found = meter.measure({NETWORK: graph}, builds=builds, say=say)[NETWORK]
    return Latency(
        found.figure, meter.provenance(), None, {"runs": found.runs, "graph": graph_hash(graph), **found.state}
    )
