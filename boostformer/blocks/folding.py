"""Arithmetic of folding: factors and terms per channel go into the weights of the layer beside them.

:class:`boostformer.blocks.block.Foldable` has the rules that every block's own folding keeps.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from boostformer.blocks.block import Channels, Foldable


def affine_of(norm: nn.BatchNorm2d) -> tuple[Channels, Channels]:
    """The factor and the term, (C,) each, by which a BatchNorm in eval mode multiplies and shifts each channel."""
    assert norm.running_mean is not None and norm.running_var is not None
    scale = norm.weight.double() / (norm.running_var.double() + norm.eps).sqrt()
    return scale, norm.bias.double() - scale * norm.running_mean.double()


@torch.no_grad()
def absorb_output(module: nn.Module, scale: Channels, shift: Channels | None = None) -> bool:
    """Let ``module`` compute ``scale * module(x) + shift``, if it can."""
    if isinstance(module, nn.Sequential):
        return len(module) > 0 and absorb_output(module[-1], scale, shift)
    if isinstance(module, nn.Conv2d | nn.Linear):
        weight = module.weight.double() * scale.view(-1, *[1] * (module.weight.dim() - 1))
        bias = None if module.bias is None else module.bias.double() * scale
        if shift is not None:
            bias = shift if bias is None else bias + shift
        set_weights(module, weight, bias)
        return True
    if isinstance(module, nn.BatchNorm2d):
        bias = module.bias.double() * scale
        module.weight = _frozen(module.weight.double() * scale, module.weight)
        module.bias = _frozen(bias if shift is None else bias + shift, module.bias)
        return True
    return isinstance(module, Foldable) and module.absorb_output(scale, shift)


@torch.no_grad()
def absorb_input(module: nn.Module, scale: Channels, shift: Channels | None = None) -> bool:
    """Let ``module`` compute ``module(scale * x + shift)``, if it can.

    A convolution that pads can take over a factor but no term: the padding is zero after the term was added.
    """
    if isinstance(module, nn.Sequential):
        return len(module) > 0 and absorb_input(module[0], scale, shift)
    if isinstance(module, nn.Conv2d | nn.Linear):
        groups = module.groups if isinstance(module, nn.Conv2d) else 1
        if shift is not None and isinstance(module, nn.Conv2d) and module.padding != (0, 0):
            return False
        weight = module.weight.double()
        by_group = weight.view(groups, weight.shape[0] // groups, *weight.shape[1:])  # (groups, out, in, ...)
        one_each = [1] * (weight.dim() - 2)
        bias = None if module.bias is None else module.bias.double()
        if shift is not None:
            added = (by_group * shift.view(groups, 1, -1, *one_each)).flatten(2).sum(2).flatten()
            bias = added if bias is None else bias + added
        set_weights(module, (by_group * scale.view(groups, 1, -1, *one_each)).view_as(weight), bias)
        return True
    return isinstance(module, Foldable) and module.absorb_input(scale, shift)


@torch.no_grad()
def set_weights(layer: nn.Conv2d | nn.Linear, weight: Tensor, bias: Tensor | None) -> None:
    """Give a layer these weights, in its own precision, and a bias or none."""
    layer.weight, before = _frozen(weight, layer.weight), layer.weight
    layer.bias = None if bias is None else _frozen(bias, before)


def _frozen(value: Tensor, like: Tensor) -> nn.Parameter:
    """Make a parameter of the precision of ``like`` that is not trained."""
    return nn.Parameter(value.to(like.dtype), requires_grad=False)


def merge(layer: nn.Module, norm: nn.Module) -> nn.Module:
    """Fold ``norm`` into the ``layer`` before it, and return what is left: nothing where the layer can take it over."""
    if isinstance(norm, nn.BatchNorm2d) and absorb_output(layer, *affine_of(norm)):
        return nn.Identity()
    return norm
