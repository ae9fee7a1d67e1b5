"""Inheritance over the registry: every block and option goes through, and what can keep the function keeps it."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
import torch
from block_cases import specs
from test_inheritance import child_of, trained

from boostformer.architecture import STRIDES, Architecture, BlockSpec, Decoder, Stage
from boostformer.blocks import registry
from boostformer.blocks.registry import complete, construct
from boostformer.inheritance import inherit, silence
from boostformer.layers import Branch
from boostformer.model import BoostFormer, build, initialise

SIZE, WIDTH = (64, 96), 48
PLAIN = Stage(BlockSpec("overlap_conv"), WIDTH, 1, BlockSpec("mhsa"), BlockSpec("conv_mlp"))


def network(*stages: Stage, decoder: Decoder | None = None) -> Architecture:
    """Four stages, as they are given, or one of them everywhere."""
    four = stages * 4 if len(stages) == 1 else stages
    return complete(Architecture(four, decoder or Decoder(BlockSpec("concat"), 16), classes=3, size=SIZE))


def images() -> torch.Tensor:
    return torch.randn(2, 3, *SIZE, generator=torch.Generator().manual_seed(2))


def difference(child: BoostFormer, parent: BoostFormer) -> float:
    with torch.no_grad():
        there = parent(images())
        return float((child(images()) - there).abs().max() / there.abs().max())


def chain(kind: str) -> list[BlockSpec]:
    """All blocks of a kind with all values of their options that such a network allows: each inherits from the last."""
    found = [spec for item in registry.declarations() if item.kind == kind for spec in specs(item)]
    allowed = [spec for spec in found if not registry.get(kind, spec.name).refusal(WIDTH, (2, 3), dict(spec.options))]
    return [*allowed, allowed[0]]


@pytest.mark.parametrize("kind", ["embed", "mixer", "ffn"])
def test_every_block_and_option_goes_through(kind: str) -> None:
    found = chain(kind)
    assert {spec.name for spec in found} == set(registry.names(kind))
    links = [*pairwise(found)]
    links += [links[0]] * (-len(links) % 4)
    for start in range(0, len(links), 4):
        before, after = (
            network(*(replace(PLAIN, **{kind: pair[side]}) for pair in links[start : start + 4])) for side in (0, 1)
        )
        child = child_of(trained(before), after)
        assert torch.isfinite(child(images())).all()
        assert all(value.requires_grad for value in child.parameters())


def test_every_mixer_may_follow_every_other() -> None:
    names = registry.names("mixer")
    for mixer in names:
        parent = trained(network(replace(PLAIN, mixer=BlockSpec(mixer))))
        for start in range(0, len(names), 4):
            four = (names[start : start + 4] * 4)[:4]
            child = child_of(parent, network(*(replace(PLAIN, mixer=BlockSpec(name)) for name in four)))
            x = torch.randn(1, WIDTH, 2, 3)
            for name, stage in zip(four, child.encoder.stages, strict=True):
                added = stage.layers[0].mixer(x).abs().max()
                assert (added == 0) == (name != mixer and {name, mixer} != {"mhsa", "efficient_attention"}), name


@pytest.mark.parametrize("name", registry.names("mixer"))
@pytest.mark.parametrize("local", [False, True])
def test_a_silent_branch_adds_nothing_and_learns(name: str, local: bool) -> None:
    torch.manual_seed(0)
    block = construct("mixer", BlockSpec(name), WIDTH)
    branch = Branch(block, construct("norm", BlockSpec("layer"), WIDTH), None, local)
    branch.apply(initialise)
    assert silence(branch, WIDTH)
    x = torch.randn(2, WIDTH, 4, 6)
    assert branch(x).abs().max() == 0
    (branch(x) * torch.randn(2, WIDTH, 4, 6)).sum().backward()
    gradients = [value.grad for value in branch.parameters() if value.grad is not None]
    assert any(value.abs().max() > 0 for value in gradients)
    assert all(torch.isfinite(value).all() for value in gradients)


EXACT: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "layer_scale": ({}, {"layer_scale": True}),
    "no layer_scale": ({"layer_scale": True}, {"layer_scale": False}),
    "neighbours for an FFN": ({}, {"ffn": BlockSpec.of("mix_ffn", kernel=5)}),
    "one kernel for halves": ({"ffn": BlockSpec("mix_cfn")}, {"ffn": BlockSpec.of("mix_ffn", kernel=5)}),
    "halves for no neighbours": ({}, {"ffn": BlockSpec("mix_cfn")}),
    "a larger ratio": ({"ffn": BlockSpec.of("mix_cfn", ratio=2)}, {"ffn": BlockSpec.of("mix_cfn", ratio=4)}),
    "larger kernels": (
        {"mixer": BlockSpec("reparam_depthwise"), "ffn": BlockSpec("mix_ffn")},
        {"mixer": BlockSpec.of("reparam_depthwise", kernel=7), "ffn": BlockSpec.of("mix_ffn", kernel=5)},
    ),
    "a larger window": ({}, {"embed": BlockSpec.of("overlap_conv", kernel=7)}),
    "attention without reduction": ({}, {"mixer": BlockSpec("efficient_attention")}),
    "plain attention": (
        {"mixer": BlockSpec.of("efficient_attention", heads=2)},
        {"mixer": BlockSpec.of("mhsa", heads=2)},
    ),
    "deeper, norms on the trunk": (
        {"arrangement": "post", "norm": "layer"},
        {"arrangement": "post", "norm": "layer", "depth": 3},
    ),
    "deeper, BatchNorms on the trunk": (
        {"arrangement": "post", "norm": "batch"},
        {"arrangement": "post", "norm": "batch", "depth": 2},
    ),
    "deeper, local": ({"local_connection": True}, {"local_connection": True, "depth": 2}),
}


@pytest.mark.parametrize("case", EXACT)
def test_what_changes_nothing(case: str) -> None:
    before, after = (network(replace(PLAIN, **options)) for options in EXACT[case])
    parent = trained(before)
    assert difference(child_of(parent, after), parent) < 5e-5


@pytest.mark.parametrize("before", registry.names("fusion"))
@pytest.mark.parametrize("after", ["concat", "weighted_sum", "normalised"])
def test_fusions_take_each_other_whole(before: str, after: str) -> None:
    spec = BlockSpec.of("weighted_sum", normalised=True) if after == "normalised" else BlockSpec(after)
    parent = trained(network(PLAIN, decoder=Decoder(BlockSpec(before), 16)))
    child = child_of(parent, network(PLAIN, decoder=Decoder(spec, 16)))
    assert difference(child, parent) < 1e-5


def test_embeds_take_each_other_on_smooth_maps() -> None:
    for one, other in (("overlap_conv", "pooling"), ("pooling", "overlap_conv")):
        shape = (3, 8, STRIDES[1])
        old, new = (construct("embed", BlockSpec(name), *shape).eval() for name in (one, other))
        assert new.take(old)
        x = torch.randn(1, 3, 1, 1).expand(1, 3, 12, 12)
        inside = (slice(None), slice(None), slice(1, -1), slice(1, -1))
        torch.testing.assert_close(new(x)[inside], old(x)[inside], rtol=1e-4, atol=1e-4)


def test_heads_and_halves_are_taken_run_by_run() -> None:
    wide, narrow = (
        network(replace(PLAIN, width=width, mixer=BlockSpec.of("mhsa", heads=2), ffn=BlockSpec("mix_cfn")))
        for width in (WIDTH, WIDTH // 2)
    )
    parent = trained(wide)
    state, theirs = child_of(parent, narrow).state_dict(), parent.state_dict()
    layer, head, half = "encoder.stages.1.layers.0", WIDTH // 4, WIDTH
    query, whole = (values[f"{layer}.mixer.block.query.bias"] for values in (state, theirs))
    assert torch.equal(query, torch.cat([whole[:head], whole[2 * head : 3 * head]]))
    columns, whole = (values[f"{layer}.ffn.block.norm1.running_mean"] for values in (state, theirs))
    assert torch.equal(columns, torch.cat([whole[:half], whole[2 * half : 3 * half]]))


def test_a_narrower_decoder_keeps_its_maps_apart() -> None:
    parent = trained(network(PLAIN))
    child = child_of(parent, network(PLAIN, decoder=Decoder(BlockSpec("concat"), 8)))
    own, theirs = child.decoder.fusion.linear.weight, parent.decoder.fusion.linear.weight
    assert torch.equal(own.chunk(4, dim=1)[3], theirs.chunk(4, dim=1)[3][:8, :8])


def test_filters_side_by_side_are_resampled() -> None:
    coarse, fine = (
        network(replace(PLAIN, mixer=BlockSpec.of("efficient_attention", reduction=side))) for side in (2, 1)
    )
    assert "encoder.stages.0.layers.0.mixer.block.reduce.0.weight" not in inherit(build(fine), coarse, {}).taken
    finer = network(
        *(replace(PLAIN, mixer=BlockSpec.of("efficient_attention", reduction=side)) for side in (4, 2, 1, 1))
    )
    parent = trained(network(*(replace(PLAIN, mixer=BlockSpec.of("efficient_attention", reduction=2)) for _ in "1234")))
    own, theirs = (
        net.encoder.stages[0].layers[0].mixer.block.reduce[0].weight for net in (child_of(parent, finer), parent)
    )
    torch.testing.assert_close(own.sum(dim=(2, 3)), theirs.sum(dim=(2, 3)))
    assert own.shape[2:] == (4, 4) and torch.equal(own[..., 0, 0], own[..., 1, 1])
