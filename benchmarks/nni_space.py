"""The space of ``cost.py`` written as an NNI model space: the same networks, for NNI's profiler.

NNI counts by hand-written formulas per module, kept as symbolic expressions over the choices. So the
modules here are NNI's mutable ones, with a choice as width or ratio. It needs nni and
pytorch-lightning.
"""

from __future__ import annotations

import logging
from typing import Any

import nni
import torch
from nni.nas.nn.pytorch import (
    LayerChoice,
    ModelSpace,
    MutableBatchNorm2d,
    MutableConv2d,
    MutableLayerNorm,
    MutableMultiheadAttention,
    Repeat,
)
from nni.nas.profiler.pytorch.flops import FlopsParamsProfiler, FlopsProfiler
from nni.nas.profiler.pytorch.utils import MutableShape
from torch import Tensor, nn
from torch.nn import functional

from boostformer.architecture import Architecture
from search_space import SearchSpace

# Which modules it leaves uncounted is shown by the comparison of the counts.
logging.getLogger("nni").setLevel(logging.ERROR)


class Norm(nn.Module):
    """LayerNorm over the channels of a map."""

    def __init__(self, width: Any) -> None:
        super().__init__()
        self.norm = MutableLayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class Attention(nn.Module):
    """SegFormer's efficient self-attention."""

    def __init__(self, width: Any, heads: int, reduction: int) -> None:
        super().__init__()
        self.reduce = nn.Sequential()
        if reduction > 1:
            self.reduce = nn.Sequential(MutableConv2d(width, width, reduction, reduction), Norm(width))
        self.attention = MutableMultiheadAttention(width, heads, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        context = self.reduce(x) if len(self.reduce) else x
        (b, c, h, w), (_, _, hk, wk) = x.shape, context.shape
        # Calls to .reshape, not .flatten: NNI follows choices of width only through these.
        queries = x.permute(0, 2, 3, 1).reshape(b, h * w, c)
        keys = context.permute(0, 2, 3, 1).reshape(b, hk * wk, c)
        mixed = self.attention(queries, keys, keys, need_weights=False)[0]
        return mixed.reshape(b, h, w, c).permute(0, 3, 1, 2)


class Pooling(nn.Module):
    """The pooling mixer."""

    def __init__(self) -> None:
        super().__init__()
        self.pool = nn.AvgPool2d(3, 1, 1, count_include_pad=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.pool(x) + -1 * x


class MixFFN(nn.Module):
    """Expand, depthwise 3x3, GELU, project."""

    def __init__(self, width: Any, ratio: Any) -> None:
        super().__init__()
        hidden = width * ratio
        self.expand = MutableConv2d(width, hidden, 1)
        self.depthwise = MutableConv2d(hidden, hidden, 3, padding=1, groups=hidden)
        self.project = MutableConv2d(hidden, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.project(functional.gelu(self.depthwise(self.expand(x))))


class Layer(nn.Module):
    """A pre-norm residual layer whose mixer is a choice."""

    def __init__(self, name: str, width: Any, ratio: Any, heads: int, reduction: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = Norm(width), Norm(width)
        mixers = {"efficient_attention": Attention(width, heads, reduction), "pooling": Pooling()}
        self.mixer = LayerChoice(mixers, label=f"{name}.mixer")
        self.ffn = MixFFN(width, ratio)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.mixer(self.norm1(x))
        return x + self.ffn(self.norm2(x))


class Upsample(nn.Module):
    """Bilinear upsampling, with the shape formula that NNI lacks."""

    def __init__(self, factor: int) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        return functional.interpolate(x, scale_factor=float(self.factor), mode="bilinear")

    def _shape_forward(self, x: Any) -> MutableShape:
        batch, channels, height, width = x.real_shape
        return MutableShape(batch, channels, height * self.factor, width * self.factor)


class NniSpace(ModelSpace):
    """The networks of a :class:`SearchSpace` of SegFormer's blocks and the pooling mixer."""

    def __init__(self, space: SearchSpace) -> None:
        super().__init__()
        self.embeds, self.layers, self.projections, self.upsamples = (nn.ModuleList() for _ in range(4))
        slots, in_width = space.slots, 3
        decoder_width = nni.choice("decoder.width", list(slots["decoder.width"]))
        for i in range(4):
            name = f"stages.{i}"
            kernel, stride = slots[f"{name}.embed"][0].get("kernel"), 4 if i == 0 else 2
            width = nni.choice(f"{name}.width", list(slots[f"{name}.width"]))
            ratio = nni.choice(f"{name}.ratio", [spec.get("ratio") for spec in slots[f"{name}.ffn"]])
            mixer = next(spec for spec in slots[f"{name}.mixer"] if spec.name == "efficient_attention")
            arguments = (name, width, ratio, mixer.get("heads"), mixer.get("reduction"))
            embed = MutableConv2d(in_width, width, kernel, stride, kernel // 2)
            self.embeds.append(nn.Sequential(embed, Norm(width)))
            depth = nni.choice(f"{name}.depth", list(slots[f"{name}.depth"]))
            layers = Repeat(lambda _, arguments=arguments: Layer(*arguments), depth)
            self.layers.append(nn.Sequential(layers, Norm(width)))
            self.projections.append(MutableConv2d(width, decoder_width, 1))
            self.upsamples.append(Upsample(2**i))
            in_width = width
        self.fuse = MutableConv2d(4 * decoder_width, decoder_width, 1, bias=False)
        self.norm = MutableBatchNorm2d(decoder_width)
        self.classifier = MutableConv2d(decoder_width, space.classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        maps = []
        stages = zip(self.embeds, self.layers, self.projections, self.upsamples, strict=True)
        for embed, layers, project, upsample in stages:
            x = layers(embed(x))
            maps.append(upsample(project(x)))
        return self.classifier(self.norm(self.fuse(torch.cat(maps, 1))).relu())


def sample_of(arch: Architecture) -> dict[str, Any]:
    """The network as NNI's choices."""
    sample: dict[str, Any] = {"decoder.width": arch.decoder.width}
    for i, stage in enumerate(arch.stages):
        sample[f"stages.{i}.width"], sample[f"stages.{i}.depth"] = stage.width, stage.depth
        sample[f"stages.{i}.ratio"], sample[f"stages.{i}.mixer"] = stage.ffn.get("ratio"), stage.mixer.name
    return sample


def profilers(space: SearchSpace) -> tuple[FlopsParamsProfiler, FlopsProfiler]:
    """NNI's profilers, told to leave out biases, activations and what norms they know."""
    options = {"count_bias": False, "count_normalization": False, "count_activation": False}
    model_space, image = NniSpace(space), torch.zeros(1, 3, *space.size)
    return FlopsParamsProfiler(model_space, image, **options), FlopsProfiler(model_space, image, **options)


def added_to_attention(arch: Architecture) -> int:
    """What NNI adds to the multiply-adds of attention: scaling the queries, and the softmax."""
    total = 0
    for stage, (height, width) in zip(arch.stages, arch.map_sizes(), strict=True):
        if stage.mixer.name == "efficient_attention":
            reduction = int(stage.mixer.get("reduction"))
            tokens, keys = height * width, (height // reduction) * (width // reduction)
            total += stage.depth * (tokens * stage.width + int(stage.mixer.get("heads")) * tokens * keys)
    return total
