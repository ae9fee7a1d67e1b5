"""Modules as checked ONNX graphs of a given opset."""

from __future__ import annotations

import contextlib
import functools
import io
import logging
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import onnx
import torch
from onnxscript import ir
from torch import nn

from boostformer.deploy.onnx_mobile import rewrite, split_transposes
from boostformer.deploy.onnx_opset import convert
from boostformer.deploy.onnx_simplify import simplify

OPSETS = {
    13: "TensorRT 8.2 (Jetson Nano, TX2) and 8.5 (Xavier): only operators that 8.2 reads",
    17: "TensorRT 8.6 and later; LayerNormalization is one operator",
    18: "what torch's exporter writes",
    19: "TensorRT 10",
    20: "TensorRT 10; the newest",
}
"""The opsets that can be written, and who needs them."""
OPSET = 17
"""The oldest with LayerNormalization as one operator: everything reads it but the boards that need 13."""
EXPORTED = 18
"""The opset that torch's exporter writes when an older one is asked for, with only a warning."""

# For every graph torch's exporter would parse the sources of its 500 translations into ONNX anew, which takes 1 s of 3.
with contextlib.suppress(ImportError, AttributeError):  # a torch that has them elsewhere is only slower
    from torch.onnx._internal._lazy_import import onnxscript_apis

    onnxscript_apis.get_torchlib_ops = functools.cache(onnxscript_apis.get_torchlib_ops)


def to_onnx(
    module: nn.Module,
    inputs: tuple[Any, ...],
    opset: int = OPSET,
    input_names: Sequence[str] = (),
    output_names: Sequence[str] = (),
    axes: tuple[Any, ...] | None = None,
    *,
    mobile: bool = False,
) -> onnx.ModelProto:
    """Export a module as a checked graph, with static shapes unless axes are free.

    Args:
        module: in eval mode; ValueError otherwise.
        inputs: positional arguments, tensors or lists of tensors, whose shapes the graph has.
        opset: of exactly which the graph is; RuntimeError names what cannot be written in it.
        input_names: the graph's, by default ``input0``, ``input1``, …
        output_names: the graph's, by default ``output0``, …
        axes: of each input those that are free, as torch's exporter takes them.
        mobile: whether it is written for phones (see `onnx_mobile`), with static shapes and in single precision.
    """
    if module.training:
        raise ValueError("only a module in eval mode can be exported")
    model = _program(module, inputs, max(opset, EXPORTED), axes).model
    for ours, values, prefix in (
        (input_names, model.graph.inputs, "input"),
        (output_names, model.graph.outputs, "output"),
    ):
        for i, value in enumerate(values):
            value.name = ours[i] if ours else f"{prefix}{i}"
    if mobile:
        rewrite(model.graph)
    simplify(model)
    if mobile:
        split_transposes(model.graph)
    convert(model, opset)
    graph = ir.to_proto(model)
    del graph.graph.value_info[:]
    if axes:
        _name_axes(graph, axes)
    graph = onnx.shape_inference.infer_shapes(graph, check_type=True, strict_mode=True, data_prop=True)
    onnx.checker.check_model(graph, full_check=True)
    if opset_of(graph) != opset:
        raise RuntimeError(f"opset {opset} was asked for, {opset_of(graph)} was written")
    return graph


def _name_axes(graph: onnx.ModelProto, axes: tuple[Any, ...]) -> None:
    """Give free axes their own names, without the factors and numbers of torch's symbols; those of outputs follow."""
    for value, free in zip(graph.graph.input, axes, strict=True):
        for axis, dim in (free or {}).items():
            value.type.tensor_type.shape.dim[axis].dim_param = dim.__name__.rpartition("*")[2]
    for value in graph.graph.output:
        for dim in value.type.tensor_type.shape.dim:
            if dim.HasField("dim_param"):
                dim.Clear()


def opset_of(graph: onnx.ModelProto) -> int:
    """The version of ONNX's own operators that the graph says it is of; RuntimeError when it uses others."""
    versions = {item.domain: item.version for item in graph.opset_import}
    if set(versions) != {""}:
        raise RuntimeError(f"the graph uses operators of {sorted(versions)}, only ONNX's own ('') are allowed")
    return versions[""]


def _program(
    module: nn.Module, inputs: tuple[Any, ...], opset: int, axes: tuple[Any, ...] | None
) -> torch.onnx.ONNXProgram:
    with quiet():
        # Asked to export itself, torch.onnx would rather fix an axis than refuse.
        source = torch.export.export(module, inputs, dynamic_shapes=axes) if axes else module
        program = torch.onnx.export(
            source,
            () if axes else inputs,
            dynamo=True,
            opset_version=opset,
            external_data=False,
            verbose=False,
        )
    assert program is not None
    return program


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Leave out what torch's exporters say of packages they could also use, and of what the caller will say itself."""
    loggers = [logging.getLogger(name) for name in ("torch", "torch.onnx", "torch.export", "torch._dynamo")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
