"""Every registered block with every allowed value of each option: what the conformance tests run over."""

from __future__ import annotations

from typing import TypeVar

import pytest
import torch
from torch import Tensor, nn

import boostformer.blocks  # noqa: F401  (registers them)
from boostformer.architecture import BlockSpec
from boostformer.blocks import registry
from boostformer.blocks.norms import LayerScale

WIDTH = 480
"""What every option of every block divides."""
WIDTHS = (32, 48, 40, 80, 96, WIDTH)
BANDS, IN_WIDTH, STRIDE, MAPS = 3, 5, 2, 4
Module = TypeVar("Module", bound=nn.Module)


def specs(declaration: registry.Declaration) -> list[BlockSpec]:
    """The defaults, then each option at each other value."""
    found = [BlockSpec.of(declaration.name, **declaration.defaults)]
    for name, option in declaration.options.items():
        for value in option.allowed:
            spec = BlockSpec.of(declaration.name, **(declaration.defaults | {name: value}))
            if spec not in found:
                found.append(spec)
    return found


CASES = [
    pytest.param(item.kind, spec, id=f"{item.kind}-{spec.name}-{'-'.join(f'{k}{v}' for k, v in spec.options)}")
    for item in registry.declarations()
    for spec in specs(item)
]


def width_of(kind: str, spec: BlockSpec) -> int:
    """The smallest width of these that the block's options divide."""
    declaration = registry.get(kind, spec.name)
    return next(width for width in WIDTHS if not declaration.refusal(width, (8, 8), dict(spec.options)))


def make(kind: str, spec: BlockSpec, width: int | None = None) -> nn.Module:
    """The block with random weights, also where they start at a constant."""
    width = width or width_of(kind, spec)
    torch.manual_seed(0)
    shape = {"stem": (BANDS,), "embed": (IN_WIDTH, width, STRIDE), "fusion": (width, MAPS)}.get(kind, (width,))
    module = registry.construct(kind, spec, *shape)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return module


def trained(module: Module) -> Module:
    """In eval mode, with statistics, factors and terms as a training leaves them, not as they start."""
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for child in module.modules():
            if isinstance(child, nn.BatchNorm2d):
                child.running_mean.normal_(generator=generator)
                child.running_var.uniform_(0.5, 2, generator=generator)
                child.weight.uniform_(0.5, 2, generator=generator)
                child.bias.normal_(generator=generator)
            if isinstance(child, LayerScale):
                child.gamma.uniform_(0.5, 2, generator=generator)
    return module.eval()


def inputs(kind: str, height: int, length: int, width: int = WIDTH, batch: int = 2) -> Tensor | list[Tensor]:
    """What the block takes, for a map of ``height`` by ``length``."""
    torch.manual_seed(1)
    if kind == "fusion":
        return [torch.randn(batch, width, -(-height // 2**i), -(-length // 2**i)) for i in range(MAPS)]
    return torch.randn(batch, {"stem": BANDS, "embed": IN_WIDTH}.get(kind, width), height, length)


def as_type(value: Tensor | list[Tensor], dtype: torch.dtype) -> Tensor | list[Tensor]:
    return [x.to(dtype) for x in value] if isinstance(value, list) else value.to(dtype)
