"""Zero-cost proxies: scores of an untrained network from its gradients and activations on one small batch of noise.

Sources: Abdelfattah et al., "Zero-cost proxies for lightweight NAS", 2021 (gradient norm, SNIP); Tanaka et al.,
"Pruning neural networks without any data", 2020 (SynFlow).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from boostformer.architecture import Architecture
from boostformer.model import build


def zero_cost_proxies(archs: Sequence[Architecture]) -> dict[str, NDArray[np.float64]]:
    """Of each network the logarithms of: the gradient's norm, SNIP, SynFlow. (P,) each."""
    rows = [_of(arch) for arch in archs]
    names = ("gradient norm", "SNIP", "SynFlow")
    return {name: np.log(np.array(column) + 1e-12) for name, column in zip(names, zip(*rows, strict=True), strict=True)}


def _of(arch: Architecture) -> tuple[float, float, float]:
    torch.manual_seed(0)
    model = build(arch, 0.0).train()
    height, width = arch.size
    images = torch.randn(4, 3, height, width)
    labels = torch.randint(arch.classes, (4, height // 4, width // 4))
    functional.cross_entropy(model(images), labels).backward()  # type: ignore[no-untyped-call]
    pairs = [(p.detach(), p.grad) for p in model.parameters() if p.grad is not None]
    norm = float(torch.sqrt(sum((g**2).sum() for _, g in pairs)))  # type: ignore[arg-type]
    snip = float(sum((p * g).abs().sum() for p, g in pairs))
    model.zero_grad()
    model.eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.abs_()
    model.double()(torch.ones(1, 3, height, width, dtype=torch.float64)).sum().backward()
    synflow = float(sum((p.detach() * p.grad).abs().sum() for p in model.parameters() if p.grad is not None))
    return norm, snip, synflow
