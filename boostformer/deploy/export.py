"""Export to ONNX with a static shape: checked, compared with the network itself, described by a manifest."""

from __future__ import annotations

import copy
import json
import logging
import warnings
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from onnxscript import ir
from torch import nn
from torch.utils._pytree import tree_leaves

import boostformer
from boostformer.blocks.registry import complete
from boostformer.deploy.manifest import (
    Form,
    described_classes,
    described_input,
    described_output,
    scored_shape,
)
from boostformer.deploy.onnx_opset import convert
from boostformer.deploy.onnx_simplify import simplify
from boostformer.deploy.packaged import Packaged, check_form, label_parity, session_of
from boostformer.errors import UserError
from boostformer.files import replacing_together
from boostformer.fold import fold
from boostformer.model import BoostFormer
from boostformer.weights.checkpoint import sha256

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
LOGITS = Form()
TOLERANCE = 1e-4
"""Largest difference from the network, relative to its largest logit."""


@dataclass(frozen=True)
class Exported:
    """A finished export.

    Attributes:
        shape: of the input.
        file: the ONNX file.
        manifest: the JSON file beside it.
        opset: of the file.
        nodes: of its graph.
        max_difference: the largest absolute difference of a logit over the probes, divided by the largest logit; of
            labels the most by which the logit of a class that was chosen is below the highest.
    """

    shape: tuple[int, ...]
    file: Path
    manifest: Path
    opset: int
    nodes: int
    max_difference: float


def export_onnx(
    model: BoostFormer,
    file: str | Path,
    *,
    opset: int = OPSET,
    size: tuple[int, int] | None = None,
    form: Form = LOGITS,
    probes: int = 3,
    seed: int = 0,
) -> Exported:
    """Write the folded network and ``FILE.manifest.json`` beside it.

    What the file gives in ONNX Runtime is compared with ``model`` as it is, not folded.

    Args:
        model: is folded on a copy.
        file: ends in ``.onnx``.
        opset: one of :data:`OPSETS`.
        size: (H, W) of the input; by default that at which the network was scored, else its architecture's.
        form: what lies in the file beside the network.
        probes: how many random inputs to compare on.
        seed: of these inputs.

    Raises:
        UserError: the opset is unknown, the form is not possible for this network, or the file cannot be written.
        RuntimeError: the file does not hold what was asked; nothing is left behind then.
    """
    file = Path(file)
    if opset not in OPSETS:
        raise UserError(f"opset {opset} cannot be exported, allowed: {', '.join(map(str, OPSETS))}")
    if file.suffix != ".onnx":
        raise UserError(f"{file}: the name of an exported file must end in .onnx")
    model = _at(model.eval(), size)
    said = _described(model, form)
    check_form(form, said, opset, normalises=model.normalisation is not None)
    shape = (1, model.architecture.bands, *model.architecture.size)
    packaged = Packaged(fold(model), model, form)
    graph = to_onnx(packaged, (torch.zeros(shape),), opset, [said["input"]["name"]], [said["output"]["name"]])
    _describe(graph, model, said)
    generator = torch.Generator().manual_seed(seed)
    images = [_probe(shape, form, generator) for _ in range(probes)]
    logits = Packaged(model, model, Form(normalised=form.normalised))
    if form.labels is None:
        difference = parity(logits, graph, [(image,) for image in images])
    else:
        difference = label_parity(logits, graph, images)
    if not difference <= TOLERANCE:
        raise RuntimeError(
            f"{file.name}: ONNX Runtime differs from the network by {difference:.2e}, more than {TOLERANCE:.0e}"
        )
    manifest = file.with_name(f"{file.stem}.manifest.json")
    operators = Counter(node.op_type for node in graph.graph.node)
    result = Exported(shape, file, manifest, opset_of(graph), operators.total(), difference)
    with replacing_together(file, manifest, parents=True) as (part, text):
        part.write_bytes(graph.SerializeToString())
        text.write_text(
            json.dumps(_manifest(model, said, result, operators, sha256(part), [probes, seed]), indent=2) + "\n"
        )
    return result


def _at(model: BoostFormer, size: tuple[int, int] | None) -> BoostFormer:
    """Give the network at ``size`` or at the shape that was scored; UserError when a block does not allow that."""
    scored = scored_shape(model.provenance)
    wanted = size or scored or model.architecture.size
    if wanted == model.architecture.size:
        return model
    where = "--size" if size else f"{wanted[0]}x{wanted[1]}, at which it was scored (--size asks for another)"
    model = copy.copy(model)
    model.architecture = complete(model.architecture.replace(size=wanted), where)
    return model


def _probe(shape: tuple[int, ...], form: Form, generator: torch.Generator) -> torch.Tensor:
    if form.normalised:
        return torch.randint(0, 256, shape, generator=generator).float()
    return torch.randn(shape, generator=generator)


def to_onnx(
    module: nn.Module,
    inputs: tuple[Any, ...],
    opset: int = OPSET,
    input_names: Sequence[str] = (),
    output_names: Sequence[str] = (),
) -> onnx.ModelProto:
    """Export a module as a checked graph with static shapes.

    Args:
        module: in eval mode; ValueError otherwise.
        inputs: positional arguments, tensors or lists of tensors, whose shapes the graph has.
        opset: of exactly which the graph is; RuntimeError names what cannot be written in it.
        input_names: the graph's, by default ``input0``, ``input1``, …
        output_names: the graph's, by default ``output0``, …
    """
    if module.training:
        raise ValueError("only a module in eval mode can be exported")
    model = _program(module, inputs, max(opset, EXPORTED)).model
    for ours, values, prefix in (
        (input_names, model.graph.inputs, "input"),
        (output_names, model.graph.outputs, "output"),
    ):
        for i, value in enumerate(values):
            value.name = ours[i] if ours else f"{prefix}{i}"
    simplify(model)
    convert(model, opset)
    graph = ir.to_proto(model)
    del graph.graph.value_info[:]
    graph = onnx.shape_inference.infer_shapes(graph, check_type=True, strict_mode=True, data_prop=True)
    onnx.checker.check_model(graph, full_check=True)
    if opset_of(graph) != opset:
        raise RuntimeError(f"opset {opset} was asked for, {opset_of(graph)} was written")
    return graph


def opset_of(graph: onnx.ModelProto) -> int:
    """The version of ONNX's own operators that the graph says it is of; RuntimeError when it uses others."""
    versions = {item.domain: item.version for item in graph.opset_import}
    if set(versions) != {""}:
        raise RuntimeError(f"the graph uses operators of {sorted(versions)}, only ONNX's own ('') are allowed")
    return versions[""]


def parity(module: nn.Module, graph: onnx.ModelProto, probes: Iterable[tuple[Any, ...]]) -> float:
    """Largest difference of an output in ONNX Runtime from the module's, relative to the largest value of that output.

    ``probes`` are inputs as :func:`to_onnx` takes them.
    """
    session = session_of(graph)
    names = [item.name for item in session.get_inputs()]
    worst = 0.0
    for inputs in probes:
        with torch.no_grad():
            expected = tree_leaves(module(*inputs))
        found = session.run(None, dict(zip(names, (x.numpy() for x in tree_leaves(inputs)), strict=True)))
        for ours, theirs in zip((x.numpy() for x in expected), found, strict=True):
            difference, largest = float(np.abs(theirs - ours).max()), float(np.abs(ours).max())
            worst = float(np.maximum(worst, difference / largest if largest else difference))  # keeps what is no number
    return worst


def _program(module: nn.Module, inputs: tuple[Any, ...], opset: int) -> torch.onnx.ONNXProgram:
    # The exporter's own remarks, on packages it could also use and on its deprecated calls, concern nobody.
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", category=FutureWarning)
            program = torch.onnx.export(
                module, inputs, dynamo=True, opset_version=opset, external_data=False, verbose=False
            )
    finally:
        logger.setLevel(level)
    assert program is not None
    return program


def _described(model: BoostFormer, form: Form) -> dict[str, Any]:
    """Say all that the file's user needs; it stands in the file and in the manifest."""
    return {
        "input": described_input(model, form),
        "output": described_output(model, form),
        "classes": described_classes(model),
    }


def _describe(graph: onnx.ModelProto, model: BoostFormer, said: dict[str, Any]) -> None:
    """The file carries its architecture, so that it says by itself what it is, and how it is used."""
    graph.producer_name, graph.producer_version = "boostformer", boostformer.__version__
    entries = {
        "architecture": model.architecture.to_json(),
        "architecture_id": model.architecture.id,
        "labels": json.dumps(model.labels),
        **{key: json.dumps(value) for key, value in said.items()},
    }
    del graph.metadata_props[:]
    for key, value in entries.items():
        graph.metadata_props.add(key=key, value=value)


def _manifest(
    model: BoostFormer, said: dict[str, Any], result: Exported, operators: Counter[str], digest: str, probes: list[int]
) -> dict[str, Any]:
    return {
        "file": result.file.name,
        "sha256": digest,
        "boostformer": boostformer.__version__,
        "opset": result.opset,
        "nodes": result.nodes,
        "operators": dict(operators),
        **said,
        "parity": {
            "runtime": f"onnxruntime {onnxruntime.__version__} CPU",
            "max_relative_difference": result.max_difference,
            "allowed": TOLERANCE,
            "probes": probes[0],
            "seed": probes[1],
        },
        "labels": model.labels,
        "architecture_id": model.architecture.id,
        "architecture": model.architecture.to_dict(),
        "provenance": model.provenance,
    }
