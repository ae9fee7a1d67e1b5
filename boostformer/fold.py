"""`fold`: the same function without what only training needs.

BatchNorm goes into the layer beside it, LayerScale into the projection before it, the branches of a
re-parameterised convolution into one, a decoder of linear layers into one linear layer for each map. Where this does
not hold exactly, nothing is changed. Each block has its own rules (:class:`boostformer.blocks.block.Foldable`).
"""

from __future__ import annotations

import copy
from typing import TypeVar

from torch import nn

from boostformer.blocks.block import Foldable
from boostformer.blocks.folding import merge

Module = TypeVar("Module", bound=nn.Module)


def fold(module: Module, *, in_place: bool = False) -> Module:
    """A copy of ``module`` in eval mode that computes the same with less; for inference only.

    ``in_place`` takes the module itself apart instead, which nobody else may hold then.
    """
    return _fold((module if in_place else copy.deepcopy(module)).eval()).eval()  # type: ignore[return-value]


def _fold(module: nn.Module) -> nn.Module:
    for name, child in module.named_children():
        module._modules[name] = _fold(child)
    if isinstance(module, nn.Sequential):
        return _fold_sequence(module)
    return module.fold() if isinstance(module, Foldable) else module


def _fold_sequence(sequence: nn.Sequential) -> nn.Module:
    kept: list[nn.Module] = []
    for module in sequence:
        if kept:
            module = merge(kept[-1], module)
        if not isinstance(module, nn.Identity | nn.Dropout | nn.Dropout2d):
            kept.append(module)
    return kept[0] if len(kept) == 1 else nn.Sequential(*kept)
