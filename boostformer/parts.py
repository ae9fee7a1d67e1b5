"""Parts of a network: the only traversal of an architecture, so that all who need its modules mean the same ones.

The model builds exactly these parts, costs and latencies are sums over exactly these.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from torch import nn

from boostformer.architecture import STRIDES, Architecture, BlockSpec
from boostformer.blocks import registry
from boostformer.blocks.norms import LayerScale
from boostformer.fold import fold
from boostformer.layers import Branch, LabelMap, UpsampledSum


@dataclass(frozen=True, slots=True)
class Part:
    """One module of a network and the maps it takes: all that its cost depends on.

    Mixers and FFNs are whole residual branches, of which ``norm``, ``scale`` and ``local_connection`` tell the rest.

    Attributes:
        kind: a kind of block, ``linear`` for a 1x1 convolution or ``labels`` for what follows the logits.
        spec: the block.
        shape: the positional arguments that it is built with, see :data:`boostformer.blocks.registry.KINDS`.
        inputs: (C, H, W) of each map that it takes.
        norm: the name of the norm in front of a branch's block, or "".
        scale: whether a branch ends in LayerScale.
        local_connection: whether a branch adds its block's input to the output.
        deployed: whether the folded module is meant.
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
        """Make the module; a deployed one is in eval mode."""
        if not self.deployed:
            return self._build()
        if self.kind == "fusion" and _is_linear(self.spec):
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


@dataclass(frozen=True, slots=True)
class StageParts:
    """Parts of one stage.

    Attributes:
        depth: how many layers there are, each with mixer, FFN and layer norm.
        embed: strides the map and sets the width.
        mixer: the first residual branch of a layer.
        ffn: the second.
        layer_norm: on the trunk behind each layer, in the arrangement "post".
        stage_norm: behind the last layer, in the arrangement "pre".
    """

    depth: int
    embed: Part
    mixer: Part
    ffn: Part
    layer_norm: Part | None
    stage_norm: Part | None


@dataclass(frozen=True, slots=True)
class DecoderParts:
    """Parts of the decoder: a projection of each stage's map, finest first, their fusion, and the classifier."""

    projections: tuple[Part, ...]
    fusion: Part
    classify: Part


def stem_part(arch: Architecture, deployed: bool = False) -> Part:
    """The stem."""
    return Part("stem", arch.stem, (arch.bands,), ((arch.bands, *arch.size),), deployed=deployed)


def stage_parts(arch: Architecture, i: int, deployed: bool = False) -> StageParts:
    """The parts of stage ``i``, counted from 0."""
    stage, sizes = arch.stages[i], [arch.stem_size, *arch.map_sizes()]
    in_width, width = arch.stages[i - 1].width if i else arch.bands, stage.width
    here, pre = ((width, *sizes[i + 1]),), stage.arrangement == "pre"

    def norm(spec: BlockSpec) -> Part:
        return Part("norm", spec, (width,), here, deployed=deployed)

    ffn = Part("ffn", stage.ffn, (width,), here, stage.norm, stage.layer_scale, deployed=deployed)
    return StageParts(
        depth=stage.depth,
        embed=Part("embed", stage.embed, (in_width, width, STRIDES[i]), ((in_width, *sizes[i]),), deployed=deployed),
        mixer=replace(
            ffn,
            kind="mixer",
            spec=stage.mixer,
            norm=stage.norm if pre else "",
            local_connection=stage.local_connection,
        ),
        ffn=ffn,
        layer_norm=None if pre else norm(BlockSpec(stage.norm)),
        stage_norm=norm(LAYER) if pre else None,
    )


def decoder_parts(arch: Architecture, deployed: bool = False) -> DecoderParts:
    """The parts of the decoder.

    Deployed, a linear fusion and the BatchNorm behind it are in the projections, all biases in the first.
    """
    decoder, sizes = arch.decoder, arch.map_sizes()
    width, merged = decoder.width, deployed and _is_linear(decoder.fusion)
    maps = tuple((width, *size) for size in sizes)
    return DecoderParts(
        projections=tuple(
            Part("linear", LINEAR, (stage.width, width, not (merged and i)), ((stage.width, *size),), deployed=deployed)
            for i, (stage, size) in enumerate(zip(arch.stages, sizes, strict=True))
        ),
        fusion=Part("fusion", decoder.fusion, (width, len(maps)), maps, deployed=deployed),
        classify=Part("linear", LINEAR, (width, arch.classes), maps[:1], deployed=deployed),
    )


def parts(arch: Architecture, deployed: bool = False) -> Iterator[tuple[str, Part, int]]:
    """Every part by name and how often it is there: ``("stages.0.mixer", part, 2)``, and so on."""
    yield "stem.stem", stem_part(arch, deployed), 1
    for i in range(len(arch.stages)):
        stage, name = stage_parts(arch, i, deployed), f"stages.{i}"
        yield f"{name}.embed", stage.embed, 1
        yield f"{name}.mixer", stage.mixer, stage.depth
        yield f"{name}.ffn", stage.ffn, stage.depth
        if stage.layer_norm:
            yield f"{name}.norm", stage.layer_norm, stage.depth
        if stage.stage_norm:
            yield f"{name}.stage_norm", stage.stage_norm, 1
    decoder = decoder_parts(arch, deployed)
    for i, projection in enumerate(decoder.projections):
        yield f"decoder.project{i}", projection, 1
    yield "decoder.fusion", decoder.fusion, 1
    yield "decoder.classify", decoder.classify, 1


def _is_linear(fusion: BlockSpec) -> bool:
    """Say whether this fusion only adds linear functions of its maps."""
    return registry.get("fusion", fusion.name).cls.is_linear()


def labels_part(arch: Architecture) -> Part:
    """The way from the logits to the label map at the image's size, which a device runs behind the network."""
    return Part("labels", LABELS, arch.size, ((arch.classes, *arch.map_sizes()[0]),), deployed=True)
