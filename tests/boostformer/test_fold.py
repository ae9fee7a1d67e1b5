"""Networks and their branches compute the same when they are folded, and are left as they were."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from fold_cases import SMALL, tiny_networks, trained
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from boostformer import Classifier, presets
from boostformer.architecture import Architecture, BlockSpec
from boostformer.fold import fold
from boostformer.parts import Part
from evaluators.costs.counting import count
from evaluators.costs.table import CostTable
from search_space import read_space


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
    assert len(folded.state_dict()) < len(before), arch.to_yaml()
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


DEEPER = {"segformer_b3", "segformer_b4", "segformer_b5"}
"""Presets that have only more of the layers of segformer_b2."""


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[] if name in SMALL else [pytest.mark.slow])
        for name in presets.names()
        if name not in DEEPER
    ],
)
def test_presets_compute_the_same_folded(name: str) -> None:
    assert_folds(presets.load(name, classes=7, size=(32, 64)))


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


TABLE = {deployed: CostTable(file=None, deployed=deployed) for deployed in (False, True)}
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
