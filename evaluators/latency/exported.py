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


def read_graph(file: Path, size: tuple[int, int] | None = None) -> onnx.ModelProto:
    """Read a file whose network takes one image of one size in single precision; :class:`UserError` for another.

    Free axes become a batch of 1 and ``size``, which is needed where height or width are free.
    """
    if not is_file(file):
        raise UserError(f"{file}: no such file")
    try:
        graph = onnx.load(file)
        onnx.checker.check_model(graph)
    except Exception as error:  # those of protobuf, a package that is not ours to name, among them
        raise UserError(f"{file}: not an ONNX file that can be read: {str(error).strip().splitlines()[0]}") from None
    known = {constant.name for constant in graph.graph.initializer}
    inputs = [value for value in graph.graph.input if value.name not in known]
    taken = "; ".join(_shown(value) for value in inputs) or "nothing"
    if len(inputs) != 1 or inputs[0].type.tensor_type.elem_type != onnx.TensorProto.FLOAT:
        raise UserError(f"{file}: takes {taken}; allowed: one input, float")
    return _fixed(graph, inputs[0], file, size) if _free(inputs[0]) or size else _of_one(graph, inputs[0], file)


def input_shape(graph: onnx.ModelProto) -> list[int]:
    """Give the shape of the only input of a graph of :func:`read_graph`."""
    known = {constant.name for constant in graph.graph.initializer}
    (image,) = (value for value in graph.graph.input if value.name not in known)
    return [dim.dim_value for dim in image.type.tensor_type.shape.dim]


def _free(value: onnx.ValueInfoProto) -> list[int]:
    """List the free axes of an input."""
    return [axis for axis, dim in enumerate(value.type.tensor_type.shape.dim) if not dim.dim_value]


def _of_one(graph: onnx.ModelProto, image: onnx.ValueInfoProto, file: Path) -> onnx.ModelProto:
    shape = image.type.tensor_type.shape
    if not shape.dim or shape.dim[0].dim_value != 1:
        raise UserError(f"{file}: takes {_shown(image)}; allowed: one image at a time, 1x…: export with such a shape")
    return graph


def _fixed(
    graph: onnx.ModelProto, image: onnx.ValueInfoProto, file: Path, size: tuple[int, int] | None
) -> onnx.ModelProto:
    """Fix a batch of 1 and a size in a graph with free axes.

    Args:
        graph: as it was read.
        image: its input.
        file: for messages.
        size: (H, W), if it was given.
    """
    dims, free, shown = image.type.tensor_type.shape.dim, set(_free(image)), _shown(image)
    if len(dims) != 4 or not free <= {0, 2, 3}:
        raise UserError(f"{file}: takes {shown}; allowed: images, 1 x bands x height x width, with known bands")
    if size is None and free & {2, 3}:
        raise UserError(f"{file}: takes {shown}: its size is free; say at which to measure, such as --size 512x512")
    height, width = size or (dims[2].dim_value, dims[3].dim_value)
    if not free & {2, 3} and (height, width) != (dims[2].dim_value, dims[3].dim_value):
        raise UserError(f"--size: {file} takes {shown} alone; leave it out, or export a file of another size")
    fixed = onnx.ModelProto()
    fixed.CopyFrom(graph)
    (value,) = (one for one in fixed.graph.input if one.name == image.name)
    for axis, side in ((0, 1), (2, height), (3, width)):
        if axis in free:
            value.type.tensor_type.shape.dim[axis].Clear()
            value.type.tensor_type.shape.dim[axis].dim_value = side
    del fixed.graph.value_info[:]
    for output in fixed.graph.output:
        output.type.tensor_type.ClearField("shape")
    try:
        fixed = onnx.shape_inference.infer_shapes(fixed, strict_mode=True, data_prop=True)
    except onnx.shape_inference.InferenceError:
        raise UserError(
            f"{file}: does not take images of {height}x{width}; of a file that `boostformer export` wrote, sides are "
            "multiples of `input.dynamic.steps` in its manifest"
        ) from None
    return _of_one(fixed, value, file)


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
