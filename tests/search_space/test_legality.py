"""What no search may draw is refused with its line and reason; by name an architecture may still have it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from hypothesis import given, settings
from space_factories import seeds, spaces

from boostformer import build, presets
from boostformer.architecture import Architecture, BlockSpec
from boostformer.blocks import registry
from boostformer.errors import UserError
from search_space import SearchSpace, read_space, space_from_dict, space_from_yaml

STAGE = "{width: 64, depth: 1, embed: {overlap_conv: {}}, mixer: {pooling: {}}, ffn: {conv_mlp: {}}}"
LINES = {"stem": 4, "first": 7, "second": 8, "third": 9, "fourth": 10, "decoder": 11}


def text(size: str = "512x512", stem: str = "{none: {}}", **changed: str) -> str:
    """A space file with the stem on line 4, the stages on 7 to 10 and the decoder on 11."""
    stages = [changed.get(name, STAGE) for name in ("first", "second", "third", "fourth")]
    fusion = changed.get("fusion", "{concat: {}}")
    lines = ["version: 1", f"size: {size}", "classes: 5", f"stem: {stem}", "", "stages:"]
    lines += [f"  - {stage}" for stage in stages]
    return "\n".join([*lines, f"decoder: {{width: [64, 96], fusion: {fusion}}}"]) + "\n"


def stage(**blocks: str) -> str:
    """The plain stage with other blocks in it."""
    kept = {"width": "64", "depth": "1", "embed": "{overlap_conv: {}}", "mixer": "{pooling: {}}"}
    return "{" + ", ".join(f"{k}: {v}" for k, v in (kept | {"ffn": "{conv_mlp: {}}"} | blocks).items()) + "}"


def refused(source: str) -> str:
    with pytest.raises(UserError) as caught:
        space_from_yaml(source, "my.yaml")
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_the_plain_space_is_legal() -> None:
    assert space_from_yaml(text()).count == 2


BLURRED = "as the only stem it sees nothing but blurred RGB: give the space a stem, or another first embed"
TOO_MANY = "128x128 keys for each position are more than 2,048"
REFUSALS: list[tuple[dict[str, str], str, str]] = [
    # (what stands in the file, where it is found, what is said of it)
    ({"first": stage(embed="{pooling: {}}")}, "first", f"stages.0.embed.pooling: {BLURRED}"),
    ({"first": stage(embed="{overlap_conv: {}, pooling: {}}")}, "first", f"stages.0.embed.pooling: {BLURRED}"),
    (
        {"first": stage(embed="{pooling: {}}"), "stem": "{none: {}, resizer: {}}"},
        "first",
        f"stages.0.embed.pooling: {BLURRED}",
    ),
    (
        {"first": stage(mixer="{mhsa: {heads: 2}}")},
        "first",
        f"stages.0.mixer.mhsa: heads 2, project true is out of reach in stage 1: {TOO_MANY}",
    ),
    (
        {"second": stage(mixer="{pooling: {}, mhsa: {heads: [1, 2], project: false}}")},
        "second",
        "stages.1.mixer.mhsa: heads 1, project false is out of reach in stage 2: "
        "64x64 keys for each position are more than 2,048",
    ),
    (
        {"first": stage(mixer="{efficient_attention: {reduction: [8, 2]}}")},
        "first",
        "stages.0.mixer.efficient_attention: heads 1, project true, reduction 2 is out of reach in stage 1: "
        "64x64 keys for each position are more than 2,048",
    ),
    (
        {"first": stage(mixer="{deformable_attention: {stride: [8, 2]}}")},
        "first",
        "stages.0.mixer.deformable_attention: bias true, groups 1, heads 4, project true, stride 2 is out of reach "
        "in stage 1: 64x64 keys for each position are more than 2,048",
    ),
    (
        {"second": stage(mixer="{single_head_attention: {part: 2}}")},
        "second",
        "stages.1.mixer.single_head_attention: dim 16, part 2 is out of reach in stage 2: "
        "single-head attention is for the third stage and the fourth",
    ),
    (
        {"size": "96x128", "fourth": stage(mixer="{efficient_attention: {reduction: [2, 4]}}")},
        "fourth",
        "stages.3.mixer.efficient_attention: width 64 with heads 1, project true, reduction 4 is not allowed: "
        "reduction 4 is larger than the map of 3x4",
    ),
    (
        {"third": stage(width="[64, 60]", mixer="{mhsa: {heads: [1, 8]}}")},
        "third",
        "stages.2.mixer.mhsa: width 60 with heads 8, project true is not allowed: heads 8 does not divide width 60",
    ),
    (
        {"third": stage(width="[64, 60]", mixer="{lite_mla: {dim: 8}}")},
        "third",
        "stages.2.mixer.lite_mla: width 60 with dim 8, scale 5 is not allowed: heads of width 8 do not divide width 60",
    ),
    (
        {"fourth": stage(width="[64, 63]", ffn="{conv_mlp: {}, mix_cfn: {ratio: [2, 3]}}")},
        "fourth",
        "stages.3.ffn.mix_cfn: width 63 with activation gelu, ratio 3 is not allowed: "
        "ratio 3 times width 63 is odd: its two halves would differ",
    ),
]


@pytest.mark.parametrize(("changed", "place", "message"), REFUSALS, ids=lambda value: str(value)[:40])
def test_every_rule_has_its_line_and_its_reason(changed: dict[str, str], place: str, message: str) -> None:
    assert refused(text(**changed)) == f"my.yaml:{LINES[place]}: {message}"


def test_the_line_is_that_of_the_block_itself() -> None:
    spread = text().replace(
        f"  - {STAGE}\n",
        "  - width: 64\n    depth: 1\n    embed: {overlap_conv: {}}\n    mixer:\n      pooling:\n      mhsa:\n"
        "        heads: [2, 4]\n    ffn: {conv_mlp: {}}\n",
        1,
    )
    assert refused(spread).startswith("my.yaml:12: stages.0.mixer.mhsa: heads 2, project true is out of reach")


@pytest.mark.parametrize(
    "changed",
    [
        {"first": stage(embed="{pooling: {}, overlap_conv: {}}"), "stem": "{resizer: {shrink: [1, 2]}}"},
        {"second": stage(embed="{pooling: {}}")},
        {"third": stage(mixer="{mhsa: {heads: 2}, single_head_attention: {}}")},
        {"first": stage(mixer="{efficient_attention: {reduction: 8}}")},
        # 2,048 positions to each other are just as many scores as may be.
        {"first": stage(mixer="{mhsa: {}}"), "size": "128x256"},
    ],
)
def test_what_a_rule_lets_pass(changed: dict[str, str]) -> None:
    assert space_from_yaml(text(**changed)).count >= 2


def test_the_limit_of_keys_is_the_last_that_passes() -> None:
    first = stage(mixer="{mhsa: {}}")
    assert space_from_yaml(text("128x256", first=first)).count == 2
    assert "32x65 keys" in refused(text("128x260", first=first))


def test_every_size_that_a_stem_leaves_is_asked_about() -> None:
    mhsa = stage(mixer="{mhsa: {}}")
    # 64x64 positions without a stem, 32x32 behind one that halves the image.
    assert space_from_yaml(text("256x256", "{resizer: {shrink: 2}}", first=mhsa)).count == 2
    for stem in ("{none: {}}", "{resizer: {shrink: 1}}", "{resizer: {shrink: [2, 1]}}", "{resizer: {}, none: {}}"):
        assert "64x64 keys" in refused(text("256x256", stem, first=mhsa))
    # The stem that halves is the one under which a reduction does not fit any more.
    reducing = stage(mixer="{efficient_attention: {reduction: 8}}")
    assert space_from_yaml(text("256x256", fourth=reducing)).count == 2
    message = refused(text("256x256", "{none: {}, resizer: {shrink: 2}}", fourth=reducing))
    assert message.endswith("reduction 8 is larger than the map of 4x4")


def test_a_space_at_another_size_is_asked_again() -> None:
    space = space_from_yaml(text("256x256", third=stage(mixer="{mhsa: {}, efficient_attention: {reduction: 8}}")))
    assert space.replace(size=(1024, 512), classes=3).size == (1024, 512)
    with pytest.raises(UserError) as caught:
        space.replace(size=(1024, 1024))
    assert str(caught.value) == (
        "at 1024x1024: stages.2.mixer.mhsa: heads 1, project true is out of reach in stage 3: "
        "64x64 keys for each position are more than 2,048"
    )
    with pytest.raises(UserError, match=r"^at 96x128: stages\.2\.mixer\.efficient_attention: width 64 with heads 1"):
        space.replace(size=(96, 128))


def test_other_classes_alone_are_asked_at_the_same_size() -> None:
    space = space_from_yaml(text())
    assert space.replace(classes=3).size == space.size


def test_plain_values_are_refused_without_a_line() -> None:
    data: dict[str, Any] = yaml.safe_load(text())
    data["stages"][0]["embed"] = {"pooling": {}}
    with pytest.raises(UserError, match=r"^study: stages\.0\.embed\.pooling: as the only stem"):
        space_from_dict(data, "study")


# A space is not what an architecture may be.


def test_the_publications_first_embed_may_be_asked_for_by_name() -> None:
    arch = presets.load("boostformer", classes=3, size=(64, 64))
    assert arch.stages[0].embed.name == "pooling"
    with torch.device("meta"):
        assert build(arch).eval()(torch.empty(1, 3, 64, 64)).shape == (1, 3, 16, 16)


@pytest.mark.parametrize(
    "mixer",
    [
        BlockSpec.of("mhsa", heads=2),
        BlockSpec.of("efficient_attention", reduction=1),
        BlockSpec.of("deformable_attention", stride=1),
        BlockSpec.of("single_head_attention"),
    ],
)
def test_an_architecture_may_have_what_is_out_of_reach(mixer: BlockSpec) -> None:
    arch = with_first_mixer(presets.load("segformer_b0"), mixer)
    completed = registry.complete(arch).stages[0].mixer
    assert completed.name == mixer.name and dict(completed.options).items() >= dict(mixer.options).items()
    declaration = registry.get("mixer", mixer.name)
    assert declaration.out_of_reach(0, arch.map_sizes()[0], dict(completed.options))
    with torch.device("meta"):
        assert build(arch).eval()(torch.empty(1, 3, 512, 512)).shape == (1, 150, 128, 128)


def test_what_cannot_be_run_is_refused_by_name_too() -> None:
    arch = presets.load("segformer_b0", size=(64, 64))
    fourth = replace(arch.stages[3], mixer=BlockSpec.of("efficient_attention", reduction=4))
    with pytest.raises(UserError) as caught:
        registry.complete(replace(arch, stages=(*arch.stages[:3], fourth)), "net.yaml")
    assert str(caught.value) == "net.yaml: stages.3.mixer: reduction 4 is larger than the map of 2x2"


def with_first_mixer(arch: Architecture, mixer: BlockSpec) -> Architecture:
    return replace(arch, stages=(replace(arch.stages[0], mixer=mixer), *arch.stages[1:]))


# Whatever is read is legal, for every network of it.


@given(spaces, seeds)
@settings(max_examples=40)
def test_nothing_that_is_drawn_is_refused_or_out_of_reach(space: SearchSpace, seed: int) -> None:
    arch = space.sample(np.random.default_rng(seed))
    assert_legal(arch)


@pytest.mark.parametrize("name", ["tiny", "boostformer_b0", "boostformer_b2"])
def test_nothing_that_a_shipped_space_draws_is_refused_or_out_of_reach(name: str) -> None:
    space, rng = read_space(name), np.random.default_rng(0)
    for _ in range(300):
        assert_legal(space.sample(rng))


def assert_legal(arch: Architecture) -> None:
    assert registry.complete(arch) == arch
    if arch.stages[0].embed.name == "pooling":
        assert arch.stem.name != "none"
    for i, (stage, size) in enumerate(zip(arch.stages, arch.map_sizes(), strict=True)):
        for kind in ("embed", "mixer", "ffn"):
            spec = getattr(stage, kind)
            assert registry.get(kind, spec.name).out_of_reach(i, size, dict(spec.options)) is None
