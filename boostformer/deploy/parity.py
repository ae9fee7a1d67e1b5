"""Difference of what a file computes from the network itself, on random inputs."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from boostformer.deploy.manifest import Form
from boostformer.deploy.packaged import Packaged
from boostformer.model import BoostFormer

TOLERANCE = 1e-4
"""Largest difference from the network, relative to its largest logit."""
Run = Callable[[Tensor], Tensor]
"""Runs a file: images (B, bands, H, W) to what it gives."""


def probe(shape: tuple[int, ...], form: Form, generator: torch.Generator) -> Tensor:
    """Draw an input of a file: pixels where it normalises itself, else what is normalised."""
    if form.normalised:
        return torch.randint(0, 256, shape, generator=generator).float()
    return torch.randn(shape, generator=generator)


def difference_of(model: BoostFormer, form: Form, run: Run, images: Iterable[Tensor]) -> float:
    """Give the largest difference from the network, relative to its largest logit, and NaN for what is no number.

    Args:
        model: the network as it is, not folded.
        form: of the file; of labels it is the most by which the logit of a chosen class is below the highest.
        run: runs the file.
        images: inputs.
    """
    network, worst = Packaged(model, model, Form(normalised=form.normalised)), 0.0
    for image in images:
        found = run(image)
        with torch.no_grad():
            logits = network(image)
        if form.labels is None:
            short = (found - logits).abs().max() / logits.abs().max().clamp(min=1e-12)
        else:
            whole = nn.functional.interpolate(logits, image.shape[2:], mode="bilinear", align_corners=False)
            chosen = whole.gather(1, found.long()[:, None])
            short = (whole.amax(1, keepdim=True) - chosen).max() / whole.abs().max().clamp(min=1e-12)
        worst = float(np.maximum(worst, float(short)))  # keeps what is no number
    return worst


def session_of(graph: onnx.ModelProto) -> onnxruntime.InferenceSession:
    """Open a graph in ONNX Runtime on the CPU."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # what it says besides raising
    return onnxruntime.InferenceSession(graph.SerializeToString(), options, providers=["CPUExecutionProvider"])


def runner(graph: onnx.ModelProto) -> Run:
    """Give what runs a graph of one input and one output in ONNX Runtime."""
    session = session_of(graph)
    (name,) = (item.name for item in session.get_inputs())
    return lambda image: torch.from_numpy(session.run(None, {name: image.numpy()})[0])


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
