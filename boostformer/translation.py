"""Translation: a trained network whose blocks become those of another network, where they compute (nearly) the same.

Widths and depths stay; :mod:`boostformer.inheritance` goes on from there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from torch import Tensor

from boostformer.architecture import Architecture, BlockSpec
from boostformer.blocks import registry
from boostformer.blocks.block import Block, Size
from boostformer.parts import decoder_parts, stage_parts


@dataclass(frozen=True)
class Translated:
    """The trained network after its blocks were translated: structure and weights."""

    architecture: Architecture
    weights: dict[str, Tensor]


def translate(parent: Architecture, weights: Mapping[str, Tensor], child: Architecture) -> Translated:
    """Turn each block of ``parent`` that ``child`` has another kind of into that kind, where :meth:`Block.take` can.

    A block keeps its options where both kinds have them. ``weights`` may lack parts, which stay as they are.
    """
    found, stages = dict(weights), []
    for number, (own, theirs) in enumerate(zip(child.stages, parent.stages, strict=True)):
        parts, size = stage_parts(parent, number), parent.map_sizes()[number]
        for kind, shape in (("embed", parts.embed.shape), ("mixer", (theirs.width,)), ("ffn", (theirs.width,))):
            before: BlockSpec = getattr(theirs, kind)
            after = _like(kind, getattr(own, kind), before, theirs.width, size)
            if after is None:
                continue
            layers = [f"layers.{index}.{kind}.block" for index in range(theirs.depth)] if kind != "embed" else [kind]
            prefixes = [f"encoder.stages.{number}.{layer}." for layer in layers]
            if all(_translate(kind, before, after, shape, found, prefix) for prefix in prefixes):
                theirs = replace(theirs, **{kind: after})  # type: ignore[arg-type]
        stages.append(theirs)
    fusion = _fusion(parent, child.decoder.fusion, found)
    decoder = replace(parent.decoder, fusion=fusion)
    return Translated(replace(parent, stages=tuple(stages), decoder=decoder), found)


def _like(kind: str, own: BlockSpec, theirs: BlockSpec, width: int, size: Size) -> BlockSpec | None:
    """Give the child's block with the parent's options; None where the kinds are equal or it cannot be built."""
    if own.name == theirs.name:
        return None
    declaration = registry.get(kind, own.name)
    options = dict(own.options) | {
        name: value
        for name, value in theirs.options
        if name in declaration.options and declaration.options[name].accepts(value)
    }
    return None if declaration.refusal(width, size, options) else BlockSpec.of(own.name, **options)


def _translate(
    kind: str, before: BlockSpec, after: BlockSpec, shape: tuple[int, ...], weights: dict[str, Tensor], prefix: str
) -> bool:
    """Replace the weights of one block by those of the block that took from it; False where none could.

    Args:
        kind: of both.
        before: the trained block.
        after: the one that is to compute the same.
        shape: that both are built for.
        weights: of the whole network; changed.
        prefix: of the block's names among them.
    """
    new = _built(kind, after, shape)
    if type(new).take is Block.take:
        return False
    old, own = _built(kind, before, shape), {}
    for name in [name for name in weights if name.startswith(prefix)]:
        own[name.removeprefix(prefix)] = weights[name]
    if not own.keys() >= old.state_dict().keys():
        return False
    old.load_state_dict(own)
    if not new.take(old):
        return False
    for name in own:
        del weights[prefix + name]
    weights.update({prefix + name: value for name, value in new.state_dict().items()})
    return True


def _built(kind: str, spec: BlockSpec, shape: tuple[int, ...]) -> Block:
    block = registry.construct(kind, spec, *shape)
    assert isinstance(block, Block)
    return block.eval()


def _fusion(parent: Architecture, own: BlockSpec, weights: dict[str, Tensor]) -> BlockSpec:
    """Translate the fusion, and give what it is then; of a linear one the projections can take over the weights."""
    prefix, theirs, parts = "decoder.fusion.", parent.decoder.fusion, decoder_parts(parent)
    projections = [f"decoder.projections.{number}." for number in range(len(parts.projections))]
    old = _built("fusion", theirs, parts.fusion.shape)
    needed = [prefix + name for name in old.state_dict()] + [one + "bias" for one in projections]
    if own == theirs or not weights.keys() >= set(needed):
        return theirs
    shape = parts.fusion.shape
    if _translate("fusion", theirs, own, shape, weights, prefix):
        return own
    new = _built("fusion", own, shape)
    if not (new.is_linear() and old.is_linear()) or any(part.dim() for part in new.linear_parts()):
        return theirs  # a matrix need not have an inverse
    old.load_state_dict({name: weights.pop(prefix + name) for name in old.state_dict()})
    for projection, part, already in zip(projections, old.linear_parts(), new.linear_parts(), strict=True):
        for name in (f"{projection}weight", f"{projection}bias"):
            weights[name] = _times(part / already, weights[name])
    weights.update({prefix + name: value for name, value in new.state_dict().items()})
    return own


def _times(part: Tensor, value: Tensor) -> Tensor:
    """Multiply the outputs of a projection's weight or bias by a number or a matrix."""
    flat = value.double().flatten(1) if value.dim() > 1 else value.double()
    return ((part @ flat) if part.dim() else part * flat).view_as(value).to(value.dtype)
