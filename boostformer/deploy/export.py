"""Export to ONNX with a static shape: checked, compared with the network itself, described by a manifest."""

from __future__ import annotations

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
from boostformer.deploy.onnx_opset import convert
from boostformer.deploy.onnx_simplify import simplify
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
TOLERANCE = 1e-4
"""Largest difference from the network, relative to its largest logit."""


@dataclass(frozen=True)
class Exported:
    """A finished export.

    Attributes:
        file: the ONNX file.
        manifest: the JSON file beside it.
        opset: of the file.
        nodes: of its graph.
        max_difference: the largest absolute difference of a logit over the probes, divided by the largest logit.
    """

    file: Path
    manifest: Path
    opset: int
    nodes: int
    max_difference: float


def export_onnx(
    model: BoostFormer, file: str | Path, *, opset: int = OPSET, probes: int = 3, seed: int = 0
) -> Exported:
    """Write the folded network and ``FILE.manifest.json`` beside it.

    The logits of the file in ONNX Runtime are compared with those of ``model`` as it is, not folded.

    Args:
        model: is folded on a copy; the input is (1, bands, H, W) of its architecture's size.
        file: ends in ``.onnx``.
        opset: one of :data:`OPSETS`.
        probes: how many random inputs to compare on.
        seed: of these inputs.

    Raises:
        UserError: the opset is unknown, the network does not know the mean of its bands, or the file cannot be written.
        RuntimeError: the file does not hold what was asked; nothing is left behind then.
    """
    file = Path(file)
    if opset not in OPSETS:
        raise UserError(f"opset {opset} cannot be exported, allowed: {', '.join(map(str, OPSETS))}")
    if file.suffix != ".onnx":
        raise UserError(f"{file}: the name of an exported file must end in .onnx")
    model = model.eval()
    if model.normalisation is None:
        raise UserError(
            "the network knows no mean and deviation of its bands: it was not trained, so nothing is exported"
        )
    shape = (1, model.architecture.bands, *model.architecture.size)
    graph = to_onnx(fold(model), (torch.zeros(shape),), opset, ["image"], ["logits"])
    _describe(graph, model)
    generator = torch.Generator().manual_seed(seed)
    difference = parity(model, graph, [(torch.randn(shape, generator=generator),) for _ in range(probes)])
    if not difference <= TOLERANCE:
        raise RuntimeError(
            f"{file.name}: ONNX Runtime differs from the network by {difference:.2e}, more than {TOLERANCE:.0e}"
        )
    manifest = file.with_name(f"{file.stem}.manifest.json")
    operators = Counter(node.op_type for node in graph.graph.node)
    result = Exported(file, manifest, opset_of(graph), operators.total(), difference)
    with replacing_together(file, manifest, parents=True) as (part, text):
        part.write_bytes(graph.SerializeToString())
        text.write_text(json.dumps(_manifest(model, result, operators, sha256(part), probes, seed), indent=2) + "\n")
    return result


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
    session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
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


def _describe(graph: onnx.ModelProto, model: BoostFormer) -> None:
    """The file carries its architecture, so that it says by itself what it is."""
    graph.producer_name, graph.producer_version = "boostformer", boostformer.__version__
    entries = {
        "architecture": model.architecture.to_json(),
        "architecture_id": model.architecture.id,
        "labels": json.dumps(model.labels),
        **{key: json.dumps(value) for key, value in _preparation(model).items()},
    }
    del graph.metadata_props[:]
    for key, value in entries.items():
        graph.metadata_props.add(key=key, value=value)


def _preparation(model: BoostFormer) -> dict[str, Any]:
    """Say how pixels become the input: which bands, which numbers are 0 and 1 (null: the whole range), mean, std."""
    reading, by = model.reading, model.normalisation
    assert by is not None, "checked before"
    levels = list(reading.levels) if reading.levels else None
    return {"bands": reading.bands, "levels": levels, "mean": list(by.mean), "std": list(by.std)}


def _manifest(
    model: BoostFormer, result: Exported, operators: Counter[str], digest: str, probes: int, seed: int
) -> dict[str, Any]:
    height, width = model.architecture.size
    bands = "RGB" if model.reading.bands == "rgb" else "bands in the order of the images"
    return {
        "file": result.file.name,
        "sha256": digest,
        "boostformer": boostformer.__version__,
        "opset": result.opset,
        "nodes": result.nodes,
        "operators": dict(operators),
        "input": {
            "name": "image",
            "shape": [1, model.architecture.bands, height, width],
            "dtype": "float32",
            "layout": f"NCHW, {bands} in 0…1, minus mean, divided by std",
            **_preparation(model),
        },
        "output": {
            "name": "logits",
            "shape": [1, model.architecture.classes, *model.architecture.map_sizes()[0]],
            "meaning": "resize bilinearly to the image, then argmax over the classes",
        },
        "parity": {
            "runtime": f"onnxruntime {onnxruntime.__version__} CPU",
            "max_relative_difference": result.max_difference,
            "allowed": TOLERANCE,
            "probes": probes,
            "seed": seed,
        },
        "labels": model.labels,
        "architecture_id": model.architecture.id,
        "architecture": model.architecture.to_dict(),
        "provenance": model.provenance,
    }
