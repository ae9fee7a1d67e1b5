"""`parts` lists what an architecture is made of: the model builds exactly these, the cost table counts exactly these.

So neither can drift from the other.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from torch import nn

import boostformer.blocks  # noqa: F401  (registers the blocks)
from boostformer.architecture import STRIDES, Architecture, BlockSpec, Decoder, Stage
from boostformer.blocks import registry
from boostformer.blocks.norms import LayerScale
from boostformer.fold import fold
from boostformer.layers import Branch, LabelMap, UpsampledSum


@dataclass(frozen=True, slots=True)
class Part:
    """One module of a network and the maps it takes: all that its cost depends on.

    ``inputs`` are the (C, H, W) of the maps, ``shape`` the positional arguments that the block is built with.
    ``mixer`` and ``ffn`` are whole residual branches: ``norm``, the name of theirs if they have one, ``scale``
    (LayerScale) and ``local_connection`` belong to these. ``deployed`` stands for the folded module.
    """

    kind: str
    spec: BlockSpec
    shape: tuple[int, ...]
    inputs: tuple[tuple[int, int, int], ...]
    norm: str = ""
    scale: bool = False
    local_connection: bool = False
    deployed: bool = False

    def build(self) -> nn.Module:
        if not self.deployed:
            return self._build()
        if self.kind == "fusion" and _linear(self.spec):
            return UpsampledSum().eval()  # the projections took over the rest
        return fold(self._build(), in_place=True)

    def _build(self) -> nn.Module:
        if self.kind == "labels":
            return LabelMap((self.shape[0], self.shape[1]))
        if self.kind == "linear":
            in_width, width, *bias = self.shape
            return nn.Conv2d(in_width, width, kernel_size=1, bias=all(bias))
        block = registry.construct(self.kind, self.spec, *self.shape)
        if self.kind in ("mixer", "ffn"):
            (width,) = self.shape
            norm = registry.construct("norm", BlockSpec(self.norm), width) if self.norm else None
            return Branch(block, norm, LayerScale(width) if self.scale else None, self.local_connection)
        if self.kind == "fusion":
            return nn.Sequential(block, registry.construct("norm", BATCH, self.shape[0]))
        return block


LINEAR, LAYER, BATCH, LABELS = (BlockSpec(name) for name in ("linear", "layer", "batch", "labels"))
Listed = Iterator[tuple[str, Part, int]]
"""``(role, part, how often)``."""


def _linear(fusion: BlockSpec) -> bool:
    """Whether this fusion only adds linear functions of its maps."""
    return registry.get("fusion", fusion.name).cls.is_linear()


def stem_part(stem: BlockSpec, size: tuple[int, int], deployed: bool = False) -> Part:
    """The stem for images of ``size`` (H, W)."""
    return Part("stem", stem, (), ((3, *size),), deployed=deployed)


def stage_parts(stage: Stage, in_width: int, stride: int, size: tuple[int, int], deployed: bool = False) -> Listed:
    """The parts of one stage whose input map has ``in_width`` and ``size`` (H, W)."""
    width, (height, length), pre = stage.width, size, stage.arrangement == "pre"
    here = ((width, -(-height // stride), -(-length // stride)),)
    embed = Part("embed", stage.embed, (in_width, width, stride), ((in_width, height, length),))
    branch = Part("ffn", stage.ffn, (width,), here, stage.norm, stage.layer_scale)
    mixer = replace(branch, kind="mixer", spec=stage.mixer, local_connection=stage.local_connection)
    if not pre:
        mixer = replace(mixer, norm="")
    yield "embed", replace(embed, deployed=deployed), 1
    yield "mixer", replace(mixer, deployed=deployed), stage.depth
    yield "ffn", replace(branch, deployed=deployed), stage.depth
    if pre:
        yield "stage_norm", Part("norm", LAYER, (width,), here, deployed=deployed), 1
    else:
        yield "norm", Part("norm", BlockSpec(stage.norm), (width,), here, deployed=deployed), stage.depth


def decoder_parts(
    decoder: Decoder, widths: tuple[int, ...], sizes: list[tuple[int, int]], classes: int, deployed: bool = False
) -> Listed:
    """The parts of the decoder for maps of ``widths`` and ``sizes``.

    Deployed, a linear fusion and the BatchNorm behind it are in the projections, all biases in the first.
    """
    width = decoder.width
    merged = deployed and _linear(decoder.fusion)
    for i, (in_width, size) in enumerate(zip(widths, sizes, strict=True)):
        shape = (in_width, width, not (merged and i))
        yield f"project{i}", Part("linear", LINEAR, shape, ((in_width, *size),), deployed=deployed), 1
    maps = tuple((width, *size) for size in sizes)
    yield "fusion", Part("fusion", decoder.fusion, (width, len(sizes)), maps, deployed=deployed), 1
    yield "classify", Part("linear", LINEAR, (width, classes), maps[:1], deployed=deployed), 1


def parts(arch: Architecture, deployed: bool = False) -> Listed:
    """Everything a network is made of: ``("stages.0.mixer", part, how often)`` and so on."""
    sizes, in_width, in_size = arch.map_sizes(), 3, arch.stem_size
    yield "stem.stem", stem_part(arch.stem, arch.size, deployed), 1
    for i, (stage, stride) in enumerate(zip(arch.stages, STRIDES, strict=True)):
        for role, part, count in stage_parts(stage, in_width, stride, in_size, deployed):
            yield f"stages.{i}.{role}", part, count
        in_width, in_size = stage.width, sizes[i]
    widths = tuple(stage.width for stage in arch.stages)
    for role, part, count in decoder_parts(arch.decoder, widths, sizes, arch.classes, deployed):
        yield f"decoder.{role}", part, count


def labels_part(arch: Architecture) -> Part:
    """From the logits to the label map at the image's size: not in the network, but what a device ends with."""
    return Part("labels", LABELS, arch.size, ((arch.classes, *arch.map_sizes()[0]),), deployed=True)
