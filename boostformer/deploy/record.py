"""The record of an exported file: within an ONNX file as metadata, and in the manifest beside any."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import onnx

import boostformer
from boostformer.deploy.manifest import Form, described_classes, described_input, described_output
from boostformer.model import BoostFormer


def described(model: BoostFormer, form: Form) -> dict[str, Any]:
    """Say all that the file's user needs; it stands in the file and in the manifest."""
    return {
        "input": described_input(model, form),
        "output": described_output(model, form),
        "classes": described_classes(model),
    }


def describe(graph: onnx.ModelProto, model: BoostFormer, said: Mapping[str, Any]) -> None:
    """Let the file carry its architecture, so that it says by itself what it is, and how it is used."""
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


def manifest_of(file: Path) -> Path:
    """Name the manifest beside an exported file."""
    return file.with_name(f"{file.stem}.manifest.json")


def manifest(
    model: BoostFormer, said: Mapping[str, Any], file: Path, digest: str, about: Mapping[str, Any], parity: Any
) -> str:
    """Write the text of a manifest.

    Args:
        model: what was exported.
        said: of input, output and classes.
        file: the exported one.
        digest: its SHA-256.
        about: the format's own facts.
        parity: how far it agrees with the network.
    """
    content = {
        "file": file.name,
        "sha256": digest,
        "boostformer": boostformer.__version__,
        **about,
        **said,
        "parity": parity,
        "labels": model.labels,
        "architecture_id": model.architecture.id,
        "architecture": model.architecture.to_dict(),
        "provenance": model.provenance,
    }
    return json.dumps(content, indent=2) + "\n"
