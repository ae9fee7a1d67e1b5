"""Whole networks that the tests of folding share, with weights as a training leaves them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from boostformer import BoostFormer, build
from boostformer.architecture import Architecture, BlockSpec
from boostformer.fold import fold
from evaluators.costs.counting import shapes_only
from search_space import read_space

STEM = BlockSpec.of("resizer", blocks=1, shrink=2)
SMALL = ("boostformer_b0", "segformer_b0", "segformer_b1")
"""Presets that are quick to run."""


def tiny_networks(number: int) -> list[Architecture]:
    """Of the tiny space at a size that is odd from the second stage on; every third with a stem, then any embed."""
    space, rng, found = read_space("tiny").replace(size=(72, 104)), np.random.default_rng(0), []
    for i in range(number):
        arch = space.sample(rng)
        if i % 3 == 0:
            first = replace(arch.stages[0], embed=BlockSpec.of("pooling", kernel=7))
            arch = replace(arch, stem=STEM, stages=(first, *arch.stages[1:]))
        found.append(arch)
    return found


@torch.no_grad()
def trained(arch: Architecture, dtype: torch.dtype = torch.float64, seed: int = 0) -> BoostFormer:
    """A network with weights and statistics as a training leaves them, made without its own costly start."""
    with shapes_only():
        model = build(arch).to(dtype)
    model = model.to_empty(device="cpu")
    generator = torch.Generator().manual_seed(seed)

    def uniform(value: Tensor, low: float, high: float) -> None:
        value.uniform_(low, high, generator=generator)

    for module in model.modules():
        own = dict(module.named_parameters(recurse=False)) | dict(module.named_buffers(recurse=False))
        for name, value in own.items():
            if name == "num_batches_tracked":
                value.fill_(7)
            elif name == "running_var":
                uniform(value, 0.5, 2)
            elif value.dim() > 1 and name == "weight":
                value.normal_(0, value[0].numel() ** -0.5, generator=generator)
            elif name in ("weight", "gamma", "weights", "temperature"):
                uniform(value, 0.5, 1.5)
            else:  # biases, means, tables
                value.normal_(0, 0.3, generator=generator)
    return model.eval()


def folded_shape(arch: Architecture) -> BoostFormer:
    with shapes_only():
        return fold(build(arch))
