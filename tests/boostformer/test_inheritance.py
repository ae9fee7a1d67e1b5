"""Inheritance: equal networks score the same, what grows changes nothing, and every structure goes through."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from boostformer import presets
from boostformer.architecture import Architecture
from boostformer.inheritance import inherit
from boostformer.model import BoostFormer, build
from boostformer.slices import overlaid
from search_space import read_space

SIZE = (64, 64)
SPACE = read_space("boostformer_b0").replace(size=SIZE, classes=5)


def drawn(seed: int) -> Architecture:
    return SPACE.sample(np.random.default_rng(seed))


def trained(arch: Architecture, seed: int = 0) -> BoostFormer:
    """A network of random weights, norms included, as a trained one has."""
    torch.manual_seed(seed)
    model = build(arch)
    with torch.no_grad():
        for name, value in model.state_dict().items():
            if value.is_floating_point() and value.dim() == 1:
                value.add_(0.3 * torch.rand_like(value))
            if name.endswith("gamma"):
                value.fill_(0.5)
    return model.eval()


def child_of(parent: BoostFormer, arch: Architecture) -> BoostFormer:
    torch.manual_seed(1)
    child = build(arch)
    child.load_state_dict(inherit(child, parent.architecture, parent.state_dict()).state)
    return child.eval()


def changed(arch: Architecture, stage: int, **options: Any) -> Architecture:
    values = arch.to_dict()
    values["stages"][stage] |= options
    return Architecture.from_dict(values)


def images() -> torch.Tensor:
    return torch.randn(2, 3, *SIZE, generator=torch.Generator().manual_seed(2))


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_a_child_equal_to_its_parent_is_the_parent(seed: int) -> None:
    arch = drawn(seed)
    parent = trained(arch)
    found = inherit(build(arch), arch, parent.state_dict())
    assert sum(found.taken.values()) == sum(value.numel() for value in parent.state_dict().values())
    assert torch.equal(child_of(parent, arch)(images()), parent(images()))


@pytest.mark.parametrize("stage", range(4))
def test_deepening_changes_nothing(stage: int) -> None:
    arch = presets.load("segformer_b0", classes=5, size=SIZE)
    parent = trained(arch)
    child = child_of(parent, changed(arch, stage, depth=arch.stages[stage].depth + 2))
    assert torch.allclose(child(images()), parent(images()), atol=1e-5)
    learns = child.encoder.stages[stage].layers[-1].ffn.block
    loss = child.train()(images()).square().mean()
    loss.backward()
    assert any(value.grad is not None and value.grad.abs().max() > 0 for value in learns.parameters())


def test_growing_ffns_change_nothing() -> None:
    arch = presets.load("segformer_b0", classes=5, size=SIZE)
    parent = trained(arch)
    wider = changed(arch, 1, ffn={**arch.to_dict()["stages"][1]["ffn"], "ratio": 6})
    assert torch.allclose(child_of(parent, wider)(images()), parent(images()), atol=1e-5)


def test_kernels_keep_their_centre() -> None:
    source = torch.randn(4, 1, 3, 3)
    grown, count = overlaid(torch.randn(4, 1, 5, 5), source)
    assert torch.equal(grown[..., 1:4, 1:4], source) and grown.abs().sum() == source.abs().sum() and count == 36
    shrunk, count = overlaid(torch.randn(4, 1, 1, 1), source)
    assert torch.equal(shrunk, source[..., 1:2, 1:2]) and count == 4


def test_widths_overlap() -> None:
    value, source = torch.randn(6, 5), torch.randn(4, 8)
    found, count = overlaid(value, source)
    assert torch.equal(found[:4], source[:, :5]) and torch.equal(found[4:], value[4:]) and count == 20
    found, count = overlaid(torch.randn(3, 9), source)
    assert torch.equal(found[:, :8], source[:3]) and (found[:, 8:] == 0).all()
    assert overlaid(torch.randn(3), source) is None


def test_shallower_stages_keep_layers_that_lie_evenly() -> None:
    arch = presets.load("segformer_b2", classes=5, size=SIZE)  # six layers in its third stage
    parent = trained(arch)
    child = child_of(parent, changed(arch, 2, depth=2))
    own, theirs = child.encoder.stages[2].layers, parent.encoder.stages[2].layers
    for index, source in ((0, 0), (1, 5)):
        assert torch.equal(own[index].ffn.block.expand.weight, theirs[source].ffn.block.expand.weight)


def test_another_mixer_adds_nothing_at_first() -> None:
    arch = presets.load("segformer_b0", classes=5, size=SIZE)
    parent = trained(arch)
    other = {"block": "separable_attention"}
    child = child_of(
        parent,
        Architecture.from_dict(
            {**arch.to_dict()}
            | {
                "stages": [
                    stage if number != 2 else {**stage, "mixer": other}
                    for number, stage in enumerate(arch.to_dict()["stages"])
                ]
            }
        ),
    )
    x = torch.randn(1, arch.stages[2].width, 4, 4)
    assert all(layer.mixer(x).abs().max() == 0 for layer in child.encoder.stages[2].layers)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1))
def test_every_structure_goes_through(one: int, other: int) -> None:
    parent, child = map(drawn, (one, other))
    network = child_of(trained(parent), child)
    assert torch.isfinite(network(images())).all()
