"""The shipped spaces: they hold the presets they say, and every block in them runs."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from boostformer import presets
from boostformer.architecture import BlockSpec
from boostformer.blocks import registry
from boostformer.model import build
from search_space import read_space, shipped_spaces


def test_the_shipped_spaces_are_these() -> None:
    assert shipped_spaces() == ["boostformer_b0", "boostformer_b2", "tiny"]


@pytest.mark.parametrize(
    ("space", "preset"),
    [
        ("boostformer_b2", "segformer_b2"),
        ("boostformer_b2", "boostformer"),
        ("boostformer_b2", "segformer_b1"),
        ("boostformer_b0", "segformer_b0"),
        ("boostformer_b0", "boostformer_b0"),
    ],
)
def test_presets_are_points_of_their_space(space: str, preset: str) -> None:
    found, arch = read_space(space), presets.load(preset)
    assert (found.size, found.classes) == ((512, 512), 150)
    assert arch in found
    assert found.architecture(found.genotype(arch)) == arch


def plain(spec: BlockSpec) -> BlockSpec:
    """The block under its other name, where it has one."""
    if spec.name == "efficient_attention" and spec.get("reduction") == 1:
        return BlockSpec.of("mhsa", heads=spec.get("heads"))
    return spec


@pytest.mark.parametrize("name", shipped_spaces())
def test_no_network_has_two_names(name: str) -> None:
    for variants in read_space(name).slots.values():
        specs = [plain(v) if isinstance(v, BlockSpec) else v for v in variants]
        assert len(set(specs)) == len(specs)


@pytest.mark.parametrize("name", shipped_spaces())
def test_samples_are_legal_and_every_mixer_runs_at_64x64(name: str) -> None:
    space = read_space(name).replace(size=(64, 64))
    rng = np.random.default_rng(0)
    for _ in range(200):
        arch = space.sample(rng)
        assert registry.complete(arch) == arch and arch in space
    for i, size in enumerate(arch.map_sizes()):
        width = space.slots[f"stages.{i}.width"][0]
        for spec in space.slots[f"stages.{i}.mixer"]:
            with torch.device("meta"):
                x = torch.empty(1, width, *size)
                assert registry.construct("mixer", spec, width)(x).shape == x.shape


def test_a_sampled_tiny_network_can_be_built_and_run() -> None:
    space = read_space("tiny")
    for seed in range(3):
        arch = space.sample(np.random.default_rng(seed))
        logits = build(arch).eval()(torch.zeros(1, 3, *arch.size))
        assert logits.shape == (1, arch.classes, 16, 16)
