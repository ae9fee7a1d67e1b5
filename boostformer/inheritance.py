"""Inheritance: weights of a trained network for one of another structure, part by part.

Nothing is pruned: the child's structure is given, and this is only where it starts from. What both have is taken whole
or, where widths differ, the overlapping slices of every tensor; what only the child has starts so that it changes the
network's function little or not at all.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from boostformer.architecture import Architecture, Stage
from boostformer.blocks.block import Foldable
from boostformer.blocks.norms import LayerScale
from boostformer.layers import Branch, Layer
from boostformer.model import EncoderStage, Network

_STAGE = re.compile(r"encoder\.stages\.(\d)\.(.+)")
_LAYER = re.compile(r"layers\.(\d+)\.(.+)")


@dataclass(frozen=True)
class Inherited:
    """The child's state to start from, and of each tensor how many of its numbers are the parent's."""

    state: dict[str, Tensor]
    taken: dict[str, int]

    @property
    def share(self) -> float:
        """Share of the child's numbers that are the parent's."""
        return sum(self.taken.values()) / sum(value.numel() for value in self.state.values())


def inherit(child: Network, parent: Architecture, weights: Mapping[str, Tensor]) -> Inherited:
    """Give the weights that ``child``, freshly built, starts from, and set what only it has to start small.

    Layers of a stage: equal ones keep their order. A shallower child has those that lie evenly over the parent's; in a
    deeper one those that come last are new, and their residual branches add nothing at first. A branch with another
    kind of block adds nothing at first either, where its block or its LayerScale can be set so. A larger depthwise or
    patch kernel has zeros around the parent's, a smaller one its centre. New input channels have weight 0.

    Args:
        child: is changed where branches are new.
        parent: the trained network's structure.
        weights: the trained network's, by name; parts may be missing.
    """
    _quieten(child, parent)
    own = child.state_dict()
    state, taken = dict(own), {}
    for name, value in own.items():
        theirs = _source(name, child.architecture, parent)
        source = weights.get(theirs) if theirs is not None else None
        if source is None or _sees_other_bands(name, value, child.architecture, parent):
            continue
        found = overlaid(value, source)
        if found is not None:
            state[name], taken[name] = found
    return Inherited(state, taken)


def overlaid(value: Tensor, source: Tensor) -> tuple[Tensor, int] | None:
    """Lay the overlapping slice of ``source`` over ``value``; None where they have other numbers of dimensions.

    The first dimension is of outputs: rows that only ``value`` has stay. The second is of inputs: what only ``value``
    has becomes 0 in the rows that are taken. Two more are of a kernel, which keeps its centre.

    Returns:
        The tensor, and how many of its numbers are the source's.
    """
    if value.dim() != source.dim():
        return None
    if value.shape == source.shape:
        return source.to(value.dtype).clone(), value.numel()
    result = value.clone()
    here, there = [], []
    for axis, (length, other) in enumerate(zip(value.shape, source.shape, strict=True)):
        kept = min(length, other)
        centred = axis >= 2  # of a kernel
        start, begin = ((length - kept) // 2, (other - kept) // 2) if centred else (0, 0)
        here.append(slice(start, start + kept))
        there.append(slice(begin, begin + kept))
    if value.dim() > 1:
        result[here[0]] = 0
    result[tuple(here)] = source[tuple(there)].to(value.dtype)
    return result, source[tuple(there)].numel()


def _source(name: str, child: Architecture, parent: Architecture) -> str | None:
    """Find the parent's name of a child's weight; None where the parent has no such part."""
    if name.startswith("encoder.stem."):
        return name if child.stem.name == parent.stem.name else None
    if name.startswith("decoder.fusion."):
        return name if child.decoder.fusion.name == parent.decoder.fusion.name else None
    if (match := _STAGE.fullmatch(name)) is None:
        return name
    number, rest = int(match[1]), match[2]
    own, theirs = child.stages[number], parent.stages[number]
    if rest.startswith("embed."):
        return name if own.embed.name == theirs.embed.name else None
    if (layer := _LAYER.fullmatch(rest)) is None:
        return name
    index = _layer_of(int(layer[1]), own, theirs)
    if index is None or (rest := layer[2]).startswith(_changed(own, theirs)):
        return None
    return f"encoder.stages.{number}.layers.{index}.{rest}"


def _layer_of(index: int, own: Stage, theirs: Stage) -> int | None:
    """Find the parent's layer that a child's layer takes after; None for a new one."""
    if own.depth >= theirs.depth:
        return index if index < theirs.depth else None
    if own.depth == 1:
        return 0
    return round(index * (theirs.depth - 1) / (own.depth - 1))


def _changed(own: Stage, theirs: Stage) -> tuple[str, ...]:
    """List the beginnings of names, within a layer, of blocks that are of another kind than the parent's."""
    kinds = {"mixer.block.": own.mixer.name != theirs.mixer.name, "ffn.block.": own.ffn.name != theirs.ffn.name}
    return tuple(start for start, is_other in kinds.items() if is_other)


def _sees_other_bands(name: str, value: Tensor, child: Architecture, parent: Architecture) -> bool:
    sees = name.startswith(("encoder.stem.", "encoder.stages.0.embed."))
    return child.bands != parent.bands and sees and value.dim() == 4 and value.shape[1] == child.bands


def _quieten(child: Network, parent: Architecture) -> None:
    """Let residual branches that the parent has not add nothing."""
    for stage, own, theirs in zip(child.encoder.stages, child.architecture.stages, parent.stages, strict=True):
        assert isinstance(stage, EncoderStage)
        for index, layer in enumerate(cast("list[Layer]", list(stage.layers))):
            is_new = _layer_of(index, own, theirs) is None
            for branch, start in ((layer.mixer, "mixer.block."), (layer.ffn, "ffn.block.")):
                if is_new or start in _changed(own, theirs):
                    silence(branch, own.width)


@torch.no_grad()
def silence(branch: nn.Module, width: int) -> bool:
    """Make a residual branch of ``width`` channels add nothing, still able to learn; False where it cannot be."""
    if not isinstance(branch, Branch) or branch.local_connection:
        return False
    if isinstance(branch.scale, LayerScale):
        branch.scale.gamma.zero_()  # alone: behind weights of 0 it would never learn
        return True
    block = branch.block
    is_silent = isinstance(block, Foldable) and block.absorb_output(torch.zeros(width, dtype=torch.float64), None)
    block.requires_grad_()  # folding, which this is a case of, leaves weights that are not trained
    return is_silent
