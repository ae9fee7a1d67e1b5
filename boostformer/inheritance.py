"""Inheritance: weights of a trained network for one of another structure, part by part.

Nothing is pruned: the child's structure is given, and this is only where it starts from. What both have is taken whole
or, where widths differ, the overlapping slices of every tensor (:mod:`boostformer.slices`); a block of another kind
takes what computes nearly the same (:mod:`boostformer.translation`); what only the child has starts so that it changes
the network's function little or not at all.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from boostformer.architecture import Architecture, Stage
from boostformer.blocks.block import Block
from boostformer.blocks.folding import absorb_output
from boostformer.blocks.norms import LayerScale
from boostformer.layers import Branch, Layer
from boostformer.model import EncoderStage, Network
from boostformer.slices import PLAIN, Axes, overlaid
from boostformer.translation import translate

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
    deeper one those that come last are new, and their residual branches add nothing at first. A block of another kind
    takes what it can; where it can nothing, its branch adds nothing at first either, where it can be set so. LayerScale
    that only the child has is 1; one that only the parent has goes into the block, where that can take it over. A
    larger depthwise or patch kernel has zeros around the parent's, a smaller one its centre. A norm of another kind
    takes factor and term. New input channels have weight 0.

    Args:
        child: is changed.
        parent: the trained network's structure.
        weights: the trained network's, by name; parts may be missing.
    """
    found = translate(parent, weights, child.architecture)
    with torch.device("meta"):
        runs, their_runs = _runs(child), _runs(type(child)(found.architecture))
    patches = set(_of_patches(child))
    kept = _quieten(child, found.architecture)
    own = child.state_dict()
    state, taken = dict(own), {}
    for name, value in own.items():
        theirs = _source(name, child.architecture, found.architecture)
        source = found.weights.get(theirs) if theirs is not None else None
        if source is None or name.startswith(kept) or _sees_other_bands(name, value, child.architecture, parent):
            continue
        assert theirs is not None
        axes = runs.get(name, PLAIN), their_runs.get(theirs, PLAIN)
        laid = overlaid(value, source, *axes, of_patches=name in patches)
        if laid is not None:
            state[name], taken[name] = laid
    _scale(child, found.architecture, found.weights, state)
    return Inherited(state, taken)


def _runs(network: Network) -> dict[str, Axes]:
    """Collect the runs of all weights that have several."""
    blocks = [(prefix, module) for prefix, module in network.named_modules() if isinstance(module, Block)]
    return {f"{prefix}.{name}": axes for prefix, block in blocks for name, axes in block.runs().items()}


def _of_patches(network: Network) -> Iterator[str]:
    """Name the filters whose windows lie side by side."""
    for prefix, module in network.named_modules():
        if isinstance(module, nn.Conv2d) and module.kernel_size == module.stride and max(module.stride) > 1:
            yield f"{prefix}.weight"


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
    ends = rest.startswith("norm.")  # of a stage: in "post" the last layer's
    if (layer := _LAYER.fullmatch(rest)) is None:
        return f"encoder.stages.{number}.layers.{theirs.depth - 1}.{rest}" if ends and _is_post(theirs) else name
    index = _layer_of(int(layer[1]), own, theirs)
    if layer[2].startswith("norm."):
        return _trunk_norm(f"encoder.stages.{number}.", int(layer[1]), layer[2], own, theirs)
    if index is None or (rest := layer[2]).startswith(_changed(own, theirs)):
        return None
    return f"encoder.stages.{number}.layers.{index}.{rest}"


def _trunk_norm(start: str, index: int, rest: str, own: Stage, theirs: Stage) -> str | None:
    """Find the parent's name of a weight of the norm behind a layer; None where it starts anew.

    The last one is that behind the parent's stage. New layers add nothing, so each norm up to it finds a map that is
    normalised already, and changes nothing if factor and term are with the last one.

    Args:
        start: of the names of the stage.
        index: of the child's layer.
        rest: of the name, within the layer.
        own: the child's stage.
        theirs: the parent's.
    """
    is_last, end = index == own.depth - 1, theirs.depth - 1
    if not _is_post(theirs):
        return start + rest if is_last else None
    if own.depth <= theirs.depth or index < end:
        return f"{start}layers.{_layer_of(index, own, theirs)}.{rest}"
    is_affine = rest.endswith(("weight", "bias"))
    return f"{start}layers.{end}.{rest}" if (is_last if is_affine else index == end) else None


def _is_post(stage: Stage) -> bool:
    return stage.arrangement == "post"


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


@dataclass(frozen=True)
class _Residual:
    """A residual branch of the child, how its names begin, and the parent's, None where that has none; its stage."""

    branch: Branch
    prefix: str
    source: str | None
    stage: int


def _residuals(child: Network, parent: Architecture) -> Iterator[_Residual]:
    for number, (stage, theirs) in enumerate(zip(child.encoder.stages, parent.stages, strict=True)):
        assert isinstance(stage, EncoderStage)
        own, start = child.architecture.stages[number], f"encoder.stages.{number}.layers"
        for index, layer in enumerate(cast("list[Layer]", list(stage.layers))):
            layer_of = _layer_of(index, own, theirs)
            for kind, branch in (("mixer", layer.mixer), ("ffn", layer.ffn)):
                assert isinstance(branch, Branch)
                is_known = layer_of is not None and f"{kind}.block." not in _changed(own, theirs)
                source = f"{start}.{layer_of}.{kind}." if is_known else None
                yield _Residual(branch, f"{start}.{index}.{kind}.", source, number)


def _quieten(child: Network, parent: Architecture) -> tuple[str, ...]:
    """Let residual branches that the parent has not add nothing; returns how names begin that must then stay."""
    kept: list[str] = []
    for one in _residuals(child, parent):
        if one.source is None and silence(one.branch, child.architecture.stages[one.stage].width):
            kept.append(f"{one.prefix}scale.")
            if _is_blind(one.branch):
                kept.append(f"{one.prefix}norm.")
    return tuple(kept)


@torch.no_grad()
def silence(branch: nn.Module, width: int) -> bool:
    """Make a residual branch of ``width`` channels add nothing, still able to learn; False where it cannot be."""
    if not isinstance(branch, Branch):
        return False
    if isinstance(branch.scale, LayerScale):
        branch.scale.gamma.zero_()  # alone: behind weights of 0 it would never learn
        return True
    block, norm = branch.block, branch.norm
    is_silent = absorb_output(block, torch.zeros(width, dtype=torch.float64))
    block.requires_grad_()  # folding, which this is a case of, leaves weights that are not trained
    if is_silent and not branch.local_connection:
        return True
    if isinstance(norm, nn.Identity):
        return False
    for value in norm.parameters():  # a fresh block makes zeros of zeros
        value.zero_()
    return True


def _is_blind(branch: Branch) -> bool:
    """Tell whether a branch has a norm that gives zeros."""
    values = list(branch.norm.parameters())
    return bool(values) and not any(bool(value.any()) for value in values)


@torch.no_grad()
def _scale(child: Network, parent: Architecture, weights: Mapping[str, Tensor], state: dict[str, Tensor]) -> None:
    """Keep the size of branches of which not both sides have LayerScale.

    Args:
        child: takes the state over, if anything has to be changed in it.
        parent: the trained network's structure.
        weights: the trained network's.
        state: of the child; changed.
    """
    factors: list[tuple[nn.Module, Tensor]] = []
    for one in _residuals(child, parent):
        if one.source is None:
            continue
        gamma, is_scaled = weights.get(f"{one.source}scale.gamma"), isinstance(one.branch.scale, LayerScale)
        if is_scaled and not parent.stages[one.stage].layer_scale:
            state[f"{one.prefix}scale.gamma"] = torch.ones(child.architecture.stages[one.stage].width)
        if not is_scaled and gamma is not None and not one.branch.local_connection:
            laid = overlaid(torch.ones(child.architecture.stages[one.stage].width), gamma)
            assert laid is not None
            factors.append((one.branch.block, laid[0].double()))
    if factors:
        child.load_state_dict(state)
        for block, factor in factors:
            absorb_output(block, factor)
            block.requires_grad_()
        state.update({name: value.clone() for name, value in child.state_dict().items()})
