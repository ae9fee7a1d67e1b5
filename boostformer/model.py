"""The network: an encoder of four stages and a decoder, both assembled from :class:`Part` s.

``parts`` lists what an architecture is made of; the model builds exactly these and the cost
table counts exactly these, so that neither can drift from the other.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import torch
from huggingface_hub import PyTorchModelHubMixin
from torch import Tensor, nn

import boostformer.blocks  # noqa: F401  (registers the blocks)
from boostformer import checkpoint
from boostformer.architecture import STRIDES, Architecture, BlockSpec, Decoder, Stage
from boostformer.blocks import registry
from boostformer.blocks.norms import LayerScale
from boostformer.errors import UserError

MAPS = len(STRIDES)


@dataclass(frozen=True, slots=True)
class Part:
    """One module of a network and the maps it takes: all that its cost depends on.

    ``inputs`` are the (C, H, W) of the maps; ``shape`` the positional arguments it is built with.
    """

    kind: str
    spec: BlockSpec
    shape: tuple[int, ...]
    inputs: tuple[tuple[int, int, int], ...]

    def build(self) -> nn.Module:
        if self.kind == "linear":
            in_width, width = self.shape
            return nn.Conv2d(in_width, width, kernel_size=1)
        if self.kind == "scale":
            return LayerScale(*self.shape)
        return registry.construct(self.kind, self.spec, *self.shape)


LINEAR, SCALE, LAYER, BATCH = BlockSpec("linear"), BlockSpec("scale"), BlockSpec("layer"), BlockSpec("batch")


def stage_parts(stage: Stage, in_width: int, stride: int, size: tuple[int, int]) -> Iterator[tuple[str, Part, int]]:
    """``(role, part, how often)`` of one stage whose input map has ``in_width`` and ``size``."""
    width, (height, length) = stage.width, size
    here = ((width, -(-height // stride), -(-length // stride)),)
    norm = Part("norm", BlockSpec(stage.norm), (width,), here)
    yield "embed", Part("embed", stage.embed, (in_width, width, stride), ((in_width, height, length),)), 1
    yield "mixer", Part("mixer", stage.mixer, (width,), here), stage.depth
    yield "ffn", Part("ffn", stage.ffn, (width,), here), stage.depth
    yield "norm", norm, 2 * stage.depth
    if stage.layer_scale:
        yield "scale", Part("scale", SCALE, (width,), here), 2 * stage.depth
    if stage.arrangement == "pre":
        yield "stage_norm", Part("norm", LAYER, (width,), here), 1


def decoder_parts(
    decoder: Decoder, widths: tuple[int, ...], sizes: list[tuple[int, int]], classes: int
) -> Iterator[tuple[str, Part, int]]:
    """``(role, part, how often)`` of the decoder for maps of ``widths`` and ``sizes``."""
    width = decoder.width
    for i, (in_width, size) in enumerate(zip(widths, sizes, strict=True)):
        yield f"project{i}", Part("linear", LINEAR, (in_width, width), ((in_width, *size),)), 1
    maps = tuple((width, *size) for size in sizes)
    yield "fusion", Part("fusion", decoder.fusion, (width, len(sizes)), maps), 1
    yield "norm", Part("norm", BATCH, (width,), maps[:1]), 1
    yield "classify", Part("linear", LINEAR, (width, classes), maps[:1]), 1


def parts(arch: Architecture) -> Iterator[tuple[str, Part, int]]:
    """Everything a network is made of: ``("stages.0.mixer", part, how often)`` and so on."""
    sizes, in_width, in_size = arch.map_sizes(), 3, arch.size
    for i, (stage, stride) in enumerate(zip(arch.stages, STRIDES, strict=True)):
        for role, part, count in stage_parts(stage, in_width, stride, in_size):
            yield f"stages.{i}.{role}", part, count
        in_width, in_size = stage.width, sizes[i]
    widths = tuple(stage.width for stage in arch.stages)
    for role, part, count in decoder_parts(arch.decoder, widths, sizes, arch.classes):
        yield f"decoder.{role}", part, count


class DropPath(nn.Module):
    """Drops a residual branch of whole images at random while training (Huang et al. 2016)."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.rate == 0.0:
            return x
        keep = torch.empty((len(x), 1, 1, 1), device=x.device, dtype=x.dtype).bernoulli_(1 - self.rate)
        return x * keep / (1 - self.rate)


class Layer(nn.Module):
    """One residual layer: a token mixer, then an FFN, arranged "pre" or "post" (see :class:`Stage`)."""

    def __init__(self, stage: Stage, roles: dict[str, Part], drop_path: float) -> None:
        super().__init__()
        self.post = stage.arrangement == "post"
        self.mixer = roles["mixer"].build()
        self.ffn = roles["ffn"].build()
        self.norm1 = roles["norm"].build()
        self.norm2 = roles["norm"].build()
        scaled = stage.layer_scale
        self.scale1 = roles["scale"].build() if scaled else nn.Identity()
        self.scale2 = roles["scale"].build() if scaled else nn.Identity()
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        if self.post:
            x = x + self.drop_path(self.scale1(self.mixer(x)))
            return self.norm2(x + self.drop_path(self.scale2(self.ffn(self.norm1(x)))))
        x = x + self.drop_path(self.scale1(self.mixer(self.norm1(x))))
        return x + self.drop_path(self.scale2(self.ffn(self.norm2(x))))


class EncoderStage(nn.Module):
    """Embed, layers and, after pre-norm layers, a LayerNorm."""

    def __init__(self, stage: Stage, roles: dict[str, Part], drop_paths: list[float]) -> None:
        super().__init__()
        self.embed = roles["embed"].build()
        self.layers = nn.Sequential(*(Layer(stage, roles, rate) for rate in drop_paths))
        self.norm = roles["stage_norm"].build() if "stage_norm" in roles else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.layers(self.embed(x)))


class Encoder(nn.Module):
    """Four stages; ``forward`` gives the map of each, finest first."""

    def __init__(self, arch: Architecture, drop_path: float = 0.0) -> None:
        super().__init__()
        roles: dict[str, Part] = {name: part for name, part, _ in parts(arch)}
        depth = sum(stage.depth for stage in arch.stages)
        rates = iter([drop_path * i / max(depth - 1, 1) for i in range(depth)])
        self.stages = nn.ModuleList()
        for i, stage in enumerate(arch.stages):
            prefix = f"stages.{i}."
            own = {name.removeprefix(prefix): part for name, part in roles.items() if name.startswith(prefix)}
            self.stages.append(EncoderStage(stage, own, [next(rates) for _ in range(stage.depth)]))

    def forward(self, x: Tensor) -> list[Tensor]:
        maps = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return maps


class SegmentationDecoder(nn.Module):
    """Project each map to one width, fuse at 1/4, BN, ReLU, dropout .1, classify."""

    def __init__(self, arch: Architecture) -> None:
        super().__init__()
        own = {name.removeprefix("decoder."): part for name, part, _ in parts(arch) if name.startswith("decoder.")}
        self.projections = nn.ModuleList(own[f"project{i}"].build() for i in range(MAPS))
        self.fusion = own["fusion"].build()
        self.norm = own["norm"].build()
        self.dropout = nn.Dropout2d(0.1)
        self.classifier = own["classify"].build()

    def forward(self, maps: list[Tensor]) -> Tensor:
        projected = [project(x) for project, x in zip(self.projections, maps, strict=True)]
        return self.classifier(self.dropout(self.norm(self.fusion(projected)).relu()))


class Network(nn.Module, PyTorchModelHubMixin, library_name="boostformer", license="apache-2.0"):
    """What segmenter and classifier share: an encoder, how they are saved, and what they know of themselves.

    ``labels`` are the class names in order; ``provenance`` tells how the weights came about (data,
    recipe, seed, metrics). ``save_pretrained``, ``from_pretrained`` and ``push_to_hub`` are the mixin's.
    """

    kind = ""

    def __init__(self, architecture: Architecture | dict[str, Any], drop_path: float = 0.0) -> None:
        super().__init__()
        if not isinstance(architecture, Architecture):
            architecture = Architecture.from_dict(architecture)
        self.architecture = registry.complete(architecture)
        self.labels: list[str] = []
        self.provenance: dict[str, Any] = {}
        self.encoder = Encoder(self.architecture, drop_path)

    def forward_features(self, x: Tensor) -> list[Tensor]:
        """(B, 3, H, W) -> the four stage maps at 1/4, 1/8, 1/16 and 1/32."""
        return self.encoder(x.contiguous(memory_format=torch.channels_last))

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """The network saved in a local folder, in eval mode; :class:`UserError` says what is wrong with it."""
        config, weights = checkpoint.read(folder, cls.kind)
        model = cls(checkpoint.architecture_in(config, folder))
        try:
            model.load_state_dict(weights)
        except RuntimeError as error:
            raise UserError(
                f"{folder}: weights and architecture differ: {' '.join(str(error).split())[:200]}"
            ) from None
        model.labels, model.provenance = config["labels"], config["provenance"]
        return model.to(memory_format=torch.channels_last).eval()  # type: ignore[call-overload]

    def load_encoder(self, folder: str | Path) -> None:
        """Start from the encoder in ``folder``, a checkpoint of either kind with the same four stages."""
        self.encoder.load_state_dict(checkpoint.read_encoder(folder, self.architecture))

    def _save_pretrained(self, save_directory: Path) -> None:
        checkpoint.save(self, save_directory)

    @classmethod
    def _from_pretrained(cls, *, model_id: str, **settings: Any) -> Self:
        return cls.load(checkpoint.find(model_id, **settings))


class BoostFormer(Network):
    """A segmentation network."""

    kind = "segmenter"

    def __init__(self, architecture: Architecture | dict[str, Any], drop_path: float = 0.0) -> None:
        super().__init__(architecture, drop_path)
        self.decoder = SegmentationDecoder(self.architecture)
        self.apply(initialise)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) -> logits (B, classes, H/4, W/4)."""
        return self.decoder(self.forward_features(x))


class Classifier(Network):
    """The encoder with a pooled linear head, for pre-training; the architecture's ``classes`` are the pictures'."""

    kind = "classifier"

    def __init__(self, architecture: Architecture | dict[str, Any], drop_path: float = 0.0) -> None:
        super().__init__(architecture, drop_path)
        self.decoder = nn.Linear(self.architecture.stages[-1].width, self.architecture.classes)
        self.apply(initialise)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) -> logits (B, classes)."""
        return self.decoder(self.forward_features(x)[-1].mean(dim=(2, 3)))


def initialise(module: nn.Module) -> None:
    """NVlabs' start: linear layers (1x1 convolutions too) truncated normal .02, others by fan-out, biases 0."""
    if isinstance(module, nn.Linear | nn.Conv2d):
        if isinstance(module, nn.Linear) or (module.kernel_size == (1, 1) and module.groups == 1):
            nn.init.trunc_normal_(module.weight, std=0.02)
        else:
            fan_out = module.kernel_size[0] * module.kernel_size[1] * module.out_channels // module.groups
            nn.init.normal_(module.weight, 0.0, math.sqrt(2.0 / fan_out))
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def build(architecture: Architecture, drop_path: float = 0.0) -> BoostFormer:
    """A fresh network; options left out take their defaults, illegal ones raise :class:`UserError`."""
    return BoostFormer(architecture, drop_path).to(memory_format=torch.channels_last)  # type: ignore[call-overload]


__all__ = ["BoostFormer", "Classifier", "DropPath", "Part", "build", "initialise", "parts"]
