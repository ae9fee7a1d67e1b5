"""Export to ONNX with a static shape: checked, compared with the network itself, and described by a manifest."""

from __future__ import annotations

import json
import logging
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from torch import Tensor, nn

import boostformer
from boostformer.checkpoint import sha256
from boostformer.data.normalise import MEAN, STD
from boostformer.errors import UserError
from boostformer.files import replacing
from boostformer.model import BoostFormer

OPSETS = (18, 19, 20)
TOLERANCE = 1e-4
"""Largest difference from the network, relative to its largest logit."""


@dataclass(frozen=True)
class Exported:
    """What was written and how near it is to the network."""

    file: Path
    manifest: Path
    opset: int
    nodes: int
    max_difference: float
    """Largest absolute difference of a logit over the probe inputs, divided by the largest logit."""


def export_onnx(model: BoostFormer, file: str | Path, *, opset: int = 18, probes: int = 3, seed: int = 0) -> Exported:
    """Write ``model`` for inputs (1, 3, H, W) of its architecture's size, and ``FILE.manifest.json`` beside it.

    The file is read back: its opset, ``onnx.checker``, and its logits in ONNX Runtime against the network's
    on ``probes`` random inputs. Raises :class:`UserError` for an unknown opset or an unwritable file,
    RuntimeError when the file does not hold what was asked; nothing is left behind then.
    """
    file = Path(file)
    if opset not in OPSETS:
        raise UserError(f"opset {opset} cannot be exported, allowed: {', '.join(map(str, OPSETS))}")
    if file.suffix != ".onnx":
        raise UserError(f"{file}: the name of an exported file must end in .onnx")
    model = model.eval()
    shape = (1, 3, *model.architecture.size)
    graph = _graph(model, shape, opset)
    _describe(graph, model)
    written = {item.domain: item.version for item in graph.opset_import}[""]
    if written != opset:
        raise RuntimeError(f"opset {opset} was asked for, the exporter wrote {written}")
    onnx.checker.check_model(graph, full_check=True)
    content = graph.SerializeToString()
    difference = _difference(model, content, shape, probes, seed)
    if not difference <= TOLERANCE:
        raise RuntimeError(
            f"{file.name}: ONNX Runtime differs from the network by {difference:.2e}, more than {TOLERANCE:.0e}"
        )
    manifest = file.with_name(f"{file.stem}.manifest.json")
    result = Exported(file, manifest, written, len(graph.graph.node), difference)
    with replacing(manifest) as text, replacing(file) as part:
        file.parent.mkdir(parents=True, exist_ok=True)
        part.write_bytes(content)
        text.write_text(json.dumps(_manifest(model, result, sha256(part), probes, seed), indent=2) + "\n")
    return result


def _graph(model: nn.Module, shape: tuple[int, ...], opset: int) -> onnx.ModelProto:
    # The exporter's own remarks, on packages it could also use and on its deprecated calls, concern nobody.
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", category=FutureWarning)
            program = torch.onnx.export(
                model,
                (torch.zeros(shape),),
                dynamo=True,
                opset_version=opset,
                input_names=["image"],
                output_names=["logits"],
                external_data=False,
                verbose=False,
            )
    finally:
        logger.setLevel(level)
    assert program is not None
    return program.model_proto


def _describe(graph: onnx.ModelProto, model: BoostFormer) -> None:
    """The file carries its architecture, so that it says by itself what it is."""
    graph.producer_name, graph.producer_version = "boostformer", boostformer.__version__
    entries = {
        "architecture": model.architecture.to_json(),
        "architecture_id": model.architecture.id,
        "labels": json.dumps(model.labels),
        "mean": json.dumps(list(MEAN)),
        "std": json.dumps(list(STD)),
    }
    del graph.metadata_props[:]
    for key, value in entries.items():
        graph.metadata_props.add(key=key, value=value)


def _difference(model: nn.Module, content: bytes, shape: tuple[int, ...], probes: int, seed: int) -> float:
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    generator = torch.Generator().manual_seed(seed)
    worst = 0.0
    for _ in range(probes):
        image: Tensor = torch.randn(shape, generator=generator)
        with torch.no_grad():
            expected = model(image).numpy()
        (found,) = session.run(["logits"], {"image": image.numpy()})
        worst = max(worst, float(np.abs(found - expected).max() / np.abs(expected).max()))
    return worst


def _manifest(model: BoostFormer, result: Exported, digest: str, probes: int, seed: int) -> dict[str, Any]:
    height, width = model.architecture.size
    classes = model.architecture.classes
    return {
        "file": result.file.name,
        "sha256": digest,
        "boostformer": boostformer.__version__,
        "opset": result.opset,
        "nodes": result.nodes,
        "input": {
            "name": "image",
            "shape": [1, 3, height, width],
            "dtype": "float32",
            "layout": "NCHW, RGB in 0…1, minus mean, divided by std",
            "mean": list(MEAN),
            "std": list(STD),
        },
        "output": {
            "name": "logits",
            "shape": [1, classes, -(-height // 4), -(-width // 4)],
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
