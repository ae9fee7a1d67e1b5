"""What folding leaves: no norm and no scale that something beside it could take over."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from fold_cases import SMALL, folded_shape, tiny_networks
from torch import Tensor, nn

from boostformer import build, presets
from boostformer.architecture import Architecture, Stage
from boostformer.blocks.norms import LayerScale
from search_space import read_space, shipped_spaces

KEEPS_ITS_NORM = {
    # why BatchNorm before this mixer cannot go into it
    "identity": "there is nothing to take it over",
    "pooling": "there is nothing to take it over",
    "reparam_depthwise": "its convolution pads",
    "universal_inverted_bottleneck": "its first convolution pads, where there is one",
    "pooled_attention": "the norm of the pooled map sees the input itself",
    "single_head_attention": "its own norm, and the channels that pass, see the input itself",
    "deformable_attention": "points beyond the edge see zeros",
    "cross_covariance": "the interaction sees the input itself",
}


KEEPS_ITS_SCALE = {
    # why LayerScale behind this mixer cannot go into it
    "identity": "there is nothing to take it over",
    "pooling": "there is nothing to take it over",
    "cross_covariance": "it ends in a sum, or without a projection",
}


def behind_a_layer(model: nn.Module, x: Tensor) -> list[str]:
    """The BatchNorms whose input is the output of a convolution or a linear layer, found by running it."""
    outputs: list[Tensor] = []
    found: list[str] = []
    for name, module in model.named_modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.register_forward_hook(lambda _module, _inputs, output: outputs.append(output))
        if isinstance(module, nn.BatchNorm2d):

            def look(_module: nn.Module, inputs: tuple[Tensor], name: str = name) -> None:
                if any(inputs[0] is output for output in outputs):
                    found.append(name)

            module.register_forward_pre_hook(look)
    with torch.no_grad():
        model(x)
    return found


def test_what_looks_for_a_norm_behind_a_layer_finds_one() -> None:
    with torch.device("meta"):
        arch = tiny_networks(1)[0]
        assert behind_a_layer(build(arch).eval(), torch.empty(1, 3, *arch.size))


def networks() -> list[Architecture]:
    published = [presets.load(name) for name in SMALL]
    spaces = [read_space(name) for name in shipped_spaces() if name != "tiny"]
    sampled = [space.sample(np.random.default_rng(seed)) for space in spaces for seed in range(2)]
    return published + sampled + tiny_networks(10)


@pytest.mark.slow
def test_no_norm_is_left_that_something_could_take_over() -> None:
    for arch in networks():
        folded = folded_shape(arch)
        with torch.device("meta"):
            assert behind_a_layer(folded, torch.empty(1, 3, *arch.size)) == [], arch.to_yaml()
        for name, module in folded.named_modules():
            if isinstance(module, nn.BatchNorm2d):
                assert reason_for(name, arch), f"{name} of {arch.to_yaml()}"
            if isinstance(module, LayerScale):
                stage = stage_of(name, arch)
                assert name.endswith("mixer.scale")
                assert stage.local_connection or stage.mixer.name in KEEPS_ITS_SCALE, f"{name} of {arch.to_yaml()}"


LAYER = re.compile(r"encoder\.stages\.(\d)\.layers\.(?:\d+\.)?(.+)")
"""A stage of one layer is that layer once it is folded."""


def stage_of(name: str, arch: Architecture) -> Stage:
    match = LAYER.fullmatch(name)
    assert match is not None
    return arch.stages[int(match[1])]


def reason_for(name: str, arch: Architecture) -> str | None:
    """Why this BatchNorm is there after folding."""
    if name == "encoder.stem.norm":
        return "the resizer's: the convolutions behind it pad, and a skip goes around them"
    match = LAYER.fullmatch(name)
    if match is None:
        return None
    stage = stage_of(name, arch)
    if match[2] == "norm":
        return "on the trunk, behind a sum" if stage.arrangement == "post" else None
    if match[2] == "mixer.norm":
        if stage.local_connection:
            return "the mixer's input is also added to its output"
        spec = stage.mixer
        if spec.name == "universal_inverted_bottleneck" and spec.get("start") == 0:
            return None
        if spec.name == "cross_covariance" and not spec.get("interaction"):
            return None
        return KEEPS_ITS_NORM.get(spec.name)
    if re.fullmatch(r"mixer\.(block\.)?interaction\.\d", match[2]):
        return "behind an activation and before a convolution that pads"
    return None
