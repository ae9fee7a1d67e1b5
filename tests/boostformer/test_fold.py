"""Whole networks folded for deployment: the same function, at a cost that the tables know, with no work left over."""

from __future__ import annotations

import copy
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from boostformer import BoostFormer, Classifier, build, presets
from boostformer.architecture import Architecture, BlockSpec, Stage
from boostformer.blocks.norms import LayerScale
from boostformer.fold import fold
from boostformer.layers import UpsampledSum
from boostformer.parts import Part
from evaluators.cost_table import CostTable
from evaluators.counting import count, shapes_only
from search_space import read_space

SPACES = ["tiny", "boostformer_b0", "boostformer_b2"]
STEM = BlockSpec.of("resizer", blocks=1, shrink=2)


@torch.no_grad()
def trained(arch: Architecture, dtype: torch.dtype = torch.float64, seed: int = 0) -> BoostFormer:
    """A network with weights and statistics as a training leaves them, made without its own costly start."""
    with shapes_only():
        model = build(arch).to(dtype)
    model = model.to_empty(device="cpu")
    generator = torch.Generator().manual_seed(seed)

    def uniform(value: Tensor, low: float, high: float) -> None:
        value.uniform_(low, high, generator=generator)

    for module in model.modules():
        own = dict(module.named_parameters(recurse=False)) | dict(module.named_buffers(recurse=False))
        for name, value in own.items():
            if name == "num_batches_tracked":
                value.fill_(7)
            elif name == "running_var":
                uniform(value, 0.5, 2)
            elif value.dim() > 1 and name == "weight":
                value.normal_(0, value[0].numel() ** -0.5, generator=generator)
            elif name in ("weight", "gamma", "weights", "temperature"):
                uniform(value, 0.5, 1.5)
            else:  # biases, means, tables
                value.normal_(0, 0.3, generator=generator)
    return model.eval()


def image(arch: Architecture, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(1, 3, *arch.size, generator=torch.Generator().manual_seed(1)).to(dtype)


def difference(found: Tensor, expected: Tensor) -> float:
    """The largest, relative to the largest value."""
    assert expected.isfinite().all()
    return ((found - expected).abs().max() / expected.abs().max()).item()


@torch.no_grad()
def assert_folds(arch: Architecture, seed: int = 0) -> None:
    model, x = trained(arch, seed=seed), image(arch)
    before = copy.deepcopy(model.state_dict())
    expected, folded = model(x), fold(model)
    assert difference(folded(x), expected) <= 1e-10, arch.to_yaml()
    assert difference(fold(folded)(x), folded(x)) <= 1e-13, arch.to_yaml()
    for found, given_ in zip(folded.forward_features(x), model.forward_features(x), strict=True):
        assert difference(found, given_) <= 1e-10, arch.to_yaml()
    # The original is as it was.
    assert not model.folded and folded.folded and fold(folded).folded
    assert model.state_dict().keys() == before.keys()
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert torch.equal(model(x), expected)
    single, x = model.float(), x.float()
    assert difference(fold(single)(x), single(x)) <= 1e-5, arch.to_yaml()


SMALL = ("boostformer_b0", "segformer_b0", "segformer_b1")


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in SMALL else [pytest.mark.slow]) for name in presets.names()]
)
def test_every_preset_computes_the_same_folded(name: str) -> None:
    assert_folds(presets.load(name, classes=7, size=(64, 96)))


def tiny_networks(number: int) -> list[Architecture]:
    """Of the tiny space at a size that is odd from the second stage on; every third with a stem, then any embed."""
    space, rng, found = read_space("tiny").replace(size=(72, 104)), np.random.default_rng(0), []
    for i in range(number):
        arch = space.sample(rng)
        if i % 3 == 0:
            first = replace(arch.stages[0], embed=BlockSpec.of("pooling", kernel=7))
            arch = replace(arch, stem=STEM, stages=(first, *arch.stages[1:]))
        found.append(arch)
    return found


@pytest.mark.slow
def test_sampled_networks_compute_the_same_folded() -> None:
    for seed, arch in enumerate(tiny_networks(12)):
        assert_folds(arch, seed)


@torch.no_grad()
def test_a_classifier_computes_the_same_folded() -> None:
    arch = presets.load("boostformer_b0", classes=7, size=(64, 64))
    model, x = Classifier(arch).double(), torch.randn(2, 3, 64, 64, dtype=torch.float64)
    model.encoder.load_state_dict(trained(arch).encoder.state_dict())
    folded = fold(model.eval())
    assert isinstance(folded, Classifier) and folded.folded
    assert difference(folded(x), model(x)) <= 1e-10


def test_a_folded_network_is_not_saved(tmp_path: Path) -> None:
    folded = fold(trained(presets.load("boostformer_b0", size=(64, 64))))
    with pytest.raises(ValueError, match="a folded network cannot be saved: keep the one it was made from"):
        folded.save_pretrained(tmp_path / "net")
    assert not (tmp_path / "net" / "config.json").exists()


def test_a_network_that_trains_is_folded_as_it_evaluates() -> None:
    model = trained(presets.load("boostformer_b0", size=(64, 64))).train()
    folded = fold(model)
    assert model.training and not any(module.training for module in folded.modules())
    x = image(model.architecture)
    with torch.no_grad():
        assert difference(folded(x), model.eval()(x)) <= 1e-10


BLOCKS = [
    (kind, spec)
    for kind in ("mixer", "ffn")
    for stage in (0, 2)
    for spec in read_space("tiny").slots[f"stages.{stage}.{kind}"]
]


@given(
    st.sampled_from(BLOCKS),
    st.sampled_from(["", "layer", "batch", "group"]),
    st.booleans(),
    st.booleans(),
    st.integers(9, 12),
    st.integers(9, 12),
)
@settings(max_examples=150)
@torch.no_grad()
def test_any_branch_computes_the_same_folded_at_the_cost_in_the_table(
    block: tuple[str, BlockSpec], norm: str, scale: bool, local: bool, height: int, length: int
) -> None:
    kind, spec = block
    part = Part(kind, spec, (16,), ((16, height, length),), norm, scale, local and kind == "mixer")
    module = part.build().double().eval()
    generator = torch.Generator().manual_seed(0)
    for name, value in module.state_dict().items():
        if value.is_floating_point():
            positive = name.endswith(("running_var", "gamma", "weights", "temperature"))
            value.copy_(
                torch.rand(value.shape, generator=generator, dtype=value.dtype) * 1.5 - (0 if positive else 0.7)
            )
    x = torch.randn(2, 16, height, length, generator=generator, dtype=torch.float64)
    assert difference(fold(module)(x), module(x)) <= 1e-10
    meta = torch.empty(1, 16, height, length, device="meta", dtype=torch.float64)
    for deployed, form in ((False, module), (True, fold(module))):
        assert TABLE[deployed].part(replace(part, deployed=deployed)) == count(form.to("meta"), meta)


# Costs

TABLE = {deployed: CostTable(file=None, deployed=deployed) for deployed in (False, True)}


def assert_costs(arch: Architecture) -> None:
    """The tables' sums are the counts of the whole networks."""
    with shapes_only():
        model, x = build(arch).eval(), torch.empty(1, 3, *arch.size)
        folded = fold(model)
    assert TABLE[False].cost(arch) == count(model, x), arch.to_yaml()
    assert TABLE[True].cost(arch) == count(folded, x), arch.to_yaml()


@pytest.mark.parametrize("name", presets.names())
def test_the_costs_of_every_preset_are_those_of_the_whole(name: str) -> None:
    assert_costs(presets.load(name))


@pytest.mark.slow
@pytest.mark.parametrize("name", SPACES)
def test_the_costs_of_sampled_networks_are_those_of_the_whole(name: str) -> None:
    space, rng = read_space(name).replace(size=(131, 197)), np.random.default_rng(0)  # odd maps at every stage
    for _ in range(6):
        assert_costs(space.sample(rng))


def test_the_published_network_and_what_it_costs_deployed() -> None:
    arch = presets.load("segformer_b2", classes=150, size=(512, 512))
    trained_, deployed = (TABLE[form].cost(arch) for form in (False, True))
    assert (trained_.params, trained_.macs) == (27_461_974, 62_337_843_200)
    assert (deployed.params, deployed.macs) == (25_090_518, 23_683_137_536)
    assert deployed.attention_macs == trained_.attention_macs == 3_892_314_112


def test_by_hand_what_folding_the_decoder_of_segformer_saves() -> None:
    """Four 1x1 convolutions to C and one from 4C to C at 1/4 become the four, at their own resolutions.

    Away go the fusion's 4C*C weights and its C*4C MACs at each position, three biases, and BN's two vectors;
    and what keys and values of attention need no bias for: two vectors of the width in each layer.
    """
    arch = presets.load("segformer_b2")
    width, (height, length) = arch.decoder.width, arch.map_sizes()[0]
    trained_, deployed = (TABLE[form].cost(arch) for form in (False, True))
    assert trained_.macs - deployed.macs == 4 * width * width * height * length
    biases = sum(2 * stage.width * stage.depth for stage in arch.stages)
    assert trained_.params - deployed.params == 4 * width * width + 3 * width + 2 * width + biases


def test_a_table_of_either_form_does_not_take_the_others_figures(tmp_path: Path) -> None:
    file, arch = tmp_path / "costs.jsonl", presets.load("segformer_b0", size=(64, 64))
    first = {deployed: CostTable(file, deployed=deployed).cost(arch) for deployed in (False, True)}
    assert first[True].macs < first[False].macs
    assert first == {deployed: CostTable(file, deployed=deployed).cost(arch) for deployed in (False, True)}


@pytest.mark.parametrize("fusion", ["concat", "weighted_sum"])
def test_folding_never_costs_more(fusion: str) -> None:
    arch = presets.load("boostformer_b0")
    arch = replace(arch, decoder=replace(arch.decoder, fusion=BlockSpec.of(fusion)))
    before, after = (TABLE[form].cost(arch) for form in (False, True))
    assert after.macs <= before.macs and after.params < before.params
    assert isinstance(folded_shape(arch).decoder.fusion, UpsampledSum)


# What is left

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


def folded_shape(arch: Architecture) -> BoostFormer:
    with shapes_only():
        return fold(build(arch))


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
    sampled = [read_space(name).sample(np.random.default_rng(seed)) for name in SPACES[1:] for seed in range(2)]
    return [presets.load(name) for name in SMALL] + tiny_networks(10) + sampled


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
