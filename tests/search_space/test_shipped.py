"""The shipped spaces: they hold the presets they say, and every block in them runs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from boostformer import presets
from boostformer.architecture import BlockSpec
from boostformer.blocks import registry
from boostformer.errors import UserError
from boostformer.model import build
from evaluators.costs.counting import shapes_only
from search_space import read_space, shipped_spaces


def test_the_shipped_spaces_are_these() -> None:
    assert shipped_spaces() == ["boostformer_b0", "boostformer_b2", "tiny"]


@pytest.mark.parametrize(
    ("space", "preset"),
    [("boostformer_b2", "segformer_b2"), ("boostformer_b2", "segformer_b1"), ("boostformer_b0", "segformer_b0")],
)
def test_presets_are_points_of_their_space(space: str, preset: str) -> None:
    found, arch = read_space(space), presets.load(preset)
    assert (found.size, found.classes) == ((512, 512), 150)
    assert arch in found
    assert found.decode(found.encode([arch])[0]) == arch


@pytest.mark.parametrize(("space", "preset"), [("boostformer_b2", "boostformer"), ("boostformer_b0", "boostformer_b0")])
def test_boostformer_is_a_point_but_for_its_first_embed(space: str, preset: str) -> None:
    found, arch = read_space(space), presets.load(preset)
    assert arch.stages[0].embed == BlockSpec.of("pooling", kernel=7)
    assert arch not in found
    first = replace(arch.stages[0], embed=BlockSpec.of("overlap_conv", kernel=7))
    learned = replace(arch, stages=(first, *arch.stages[1:]))
    assert learned in found
    assert found.decode(found.encode([learned])[0]) == learned


@pytest.mark.parametrize("name", shipped_spaces())
def test_no_search_sees_only_blurred_colours(name: str) -> None:
    embeds = {spec.name for spec in read_space(name).slots["stages.0.embed"]}
    assert "pooling" not in embeds


@pytest.mark.parametrize("name", shipped_spaces())
def test_the_spaces_are_for_street_images_too(name: str) -> None:
    assert read_space(name).replace(size=(512, 1024), classes=19).size == (512, 1024)


def plain(spec: BlockSpec) -> BlockSpec:
    """The block under its other name, where it has one."""
    if spec.name == "efficient_attention" and spec.get("reduction") == 1:
        return BlockSpec.of("mhsa", heads=spec.get("heads"), project=spec.get("project"))
    return spec


@pytest.mark.parametrize("name", shipped_spaces())
def test_no_network_has_two_names(name: str) -> None:
    for variants in read_space(name).slots.values():
        specs = [plain(v) if isinstance(v, BlockSpec) else v for v in variants]
        assert len(set(specs)) == len(specs)


@pytest.mark.parametrize("name", shipped_spaces())
def test_samples_are_legal_and_every_block_runs_at_128x128(name: str) -> None:
    space = read_space(name).replace(size=(128, 128))
    rng = np.random.default_rng(0)
    for _ in range(200):
        arch = space.sample(rng)
        assert registry.complete(arch) == arch and arch in space
    for stem in space.slots["stem"]:
        sizes = replace(arch, stem=stem).map_sizes()
        for i, size in enumerate(sizes):
            width = space.slots[f"stages.{i}.width"][0]
            for kind in ("mixer", "ffn"):
                for spec in space.slots[f"stages.{i}.{kind}"]:
                    with shapes_only():
                        x = torch.empty(1, width, *size)
                        assert registry.construct(kind, spec, width)(x).shape == x.shape


def test_a_size_that_a_block_cannot_do_is_refused() -> None:
    """SegFormer-B2's second stage reduces eight times, what is left of 64x64 behind a stem that halves it is 4x4."""
    with pytest.raises(UserError) as caught:
        read_space("boostformer_b2").replace(size=(64, 64))
    assert str(caught.value) == (
        "at 64x64: stages.1.mixer.efficient_attention: width 64 with heads 2, project false, reduction 8 is not "
        "allowed: reduction 8 is larger than the map of 4x4"
    )


def test_a_sampled_tiny_network_can_be_built_and_run() -> None:
    space = read_space("tiny")
    for seed in range(6):
        arch = space.sample(np.random.default_rng(seed))
        logits = build(arch).eval()(torch.zeros(1, 3, *arch.size))
        assert logits.shape == (1, arch.classes, 16, 16)
