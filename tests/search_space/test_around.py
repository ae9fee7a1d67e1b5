"""The space around a network holds it, and beside it what is lighter and legal."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from space_factories import seeds, spaces

from boostformer import presets
from boostformer.architecture import Architecture, BlockSpec
from boostformer.blocks import registry
from boostformer.errors import UserError
from search_space import SearchSpace, read_space, shipped_spaces, space_around, space_from_yaml, space_to_yaml

OWN = ["segformer_b0", "segformer_b2", "boostformer", "boostformer_b0"]


def holds(space: SearchSpace, arch: Architecture) -> bool:
    """Whether the network is a point of the space, also once it was written and read."""
    again = space_from_yaml(space_to_yaml(space, ("about", "it")))
    return again == space and arch in space and space.decode(space.encode([arch])[0]) == arch


@pytest.mark.parametrize("name", OWN)
def test_a_preset_is_a_point_of_the_space_around_it(name: str) -> None:
    arch = presets.load(name)
    assert holds(space_around(arch), arch)


@pytest.mark.parametrize("name", OWN)
def test_it_is_a_point_at_another_size_and_for_other_classes_and_bands(name: str) -> None:
    arch = registry.complete(presets.load(name, classes=7, size=(96, 160), bands=4))
    assert holds(space_around(arch), arch)


@pytest.mark.parametrize("name", shipped_spaces())
@given(seeds)
@settings(max_examples=8)
def test_any_network_of_a_shipped_space_is_a_point_of_the_space_around_it(name: str, seed: int) -> None:
    arch = read_space(name).sample(np.random.default_rng(seed))
    assert holds(space_around(arch), arch)


@given(spaces, seeds)
@settings(max_examples=25)
def test_whatever_is_drawn_can_be_built_and_has_no_more_of_anything(around: SearchSpace, seed: int) -> None:
    rng = np.random.default_rng(seed)
    own = around.sample(rng)
    space = space_around(own)
    assert holds(space, own) and not space.within_reach
    for _ in range(10):
        drawn = space.sample(rng)
        assert registry.complete(drawn) == drawn
        for stage, before in zip(drawn.stages, own.stages, strict=True):
            assert stage.width <= before.width and stage.depth <= before.depth
            assert ratio(stage.ffn) <= ratio(before.ffn)
            assert (stage.norm, stage.arrangement) == (before.norm, before.arrangement)
        assert drawn.decoder.width <= own.decoder.width


def ratio(spec: BlockSpec) -> Any:
    return spec.get("ratio")


def test_what_stands_beside_segformer_b0() -> None:
    slots = space_around(presets.load("segformer_b0")).slots
    assert slots["stages.2.width"] == (40, 80, 120, 160)  # its five heads divide them
    assert slots["stages.3.width"] == (64, 96, 128, 192, 256)
    assert slots["stages.0.depth"] == (1, 2)
    assert {spec.get("ratio") for spec in slots["stages.1.ffn"]} == {1, 2, 3, 4}
    assert {spec.get("kernel") for spec in slots["stages.0.embed"]} == {3, 5, 7}
    assert slots["decoder.width"] == (64, 96, 128, 192, 256)
    assert [spec.name for spec in slots["decoder.fusion"]] == ["concat", "weighted_sum"]
    mixers = slots["stages.3.mixer"]
    assert {spec.name for spec in mixers} == {
        *("identity", "pooling", "reparam_depthwise", "pooled_attention", "efficient_attention")
    }
    assert {spec.get("heads") for spec in mixers if spec.name == "efficient_attention"} == {2, 4, 8}


def test_only_lighter_mixers_are_offered() -> None:
    own = with_mixer("reparam_depthwise", kernel=5)
    found = space_around(own).slots["stages.0.mixer"]
    assert found == (
        BlockSpec.of("identity"),
        BlockSpec.of("pooling", kernel=3),
        *(BlockSpec.of("reparam_depthwise", kernel=kernel) for kernel in (3, 5)),
    )


def test_a_mixer_without_heads_is_offered_attention_with_legal_ones() -> None:
    stage = space_around(with_mixer("msca", width=80)).slots["stages.0.mixer"]
    (attention,) = [spec for spec in stage if spec.name == "pooled_attention"]
    widths = space_around(with_mixer("msca", width=80)).slots["stages.0.width"]
    assert not any(width % attention.get("heads") for width in widths)  # type: ignore[operator]


def test_a_grid_of_keys_is_no_larger_than_the_map() -> None:
    space = space_around(registry.complete(presets.load("segformer_b0", size=(96, 128))))
    grids = {i: {dict(spec.options).get("pool") for spec in space.slots[f"stages.{i}.mixer"]} for i in (0, 3)}
    assert grids == {0: {None, 7}, 3: {None, 3}}


def test_a_network_of_widths_of_no_other_shares_keeps_its_own() -> None:
    assert space_around(with_mixer("pooling", width=8)).slots["stages.0.width"] == (8,)
    odd = registry.complete(with_mixer("mhsa", width=27, heads=3))
    assert space_around(odd).slots["stages.0.width"] == (24, 27)


def test_what_no_search_would_try_is_allowed_to_it_alone_and_written_down() -> None:
    own = with_mixer("mhsa", heads=2)
    space = space_around(own)
    assert space.within_reach == ("stages.0.mixer.mhsa",) and holds(space, own)
    text = space_to_yaml(space)
    with pytest.raises(UserError, match="out of reach in stage 1"):
        space_from_yaml(text.replace("within_reach: stages.0.mixer.mhsa\n", ""))
    assert space.replace(size=(256, 256)).within_reach == space.within_reach
    with pytest.raises(UserError, match=r"s.yaml:4: within_reach: unknown 'stages.0.mixer.mhs'; did you mean"):
        space_from_yaml(text.replace("reach: stages.0.mixer.mhsa", "reach: stages.0.mixer.mhs"), "s.yaml")


def test_what_cannot_be_run_is_not_within_reach() -> None:
    text = space_to_yaml(space_around(with_mixer("mhsa", heads=2)))
    with pytest.raises(UserError, match="heads 2 does not divide width 33"):
        space_from_yaml(text.replace("width: [8, 16, 24, 32]", "width: [33]", 1))


def test_a_network_that_cannot_be_built_has_no_space_around_it() -> None:
    arch = with_mixer("mhsa", heads=2)
    broken = replace(arch.stages[0], width=33)
    with pytest.raises(UserError, match="heads 2 does not divide width 33"):
        space_around(replace(arch, stages=(broken, *arch.stages[1:])))


def with_mixer(name: str, width: int = 32, **options: Any) -> Architecture:
    """SegFormer-B0 with another mixer and width in its first stage."""
    arch = presets.load("segformer_b0")
    first = replace(arch.stages[0], mixer=BlockSpec.of(name, **options), width=width)
    return registry.complete(replace(arch, stages=(first, *arch.stages[1:])))
