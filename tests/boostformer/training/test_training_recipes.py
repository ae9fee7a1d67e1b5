"""Recipes: the publication's figures, the schedule's shape, the optimiser's groups."""

from __future__ import annotations

import pytest
import torch
from data_fixtures import tiny_net
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import nn

from boostformer import recipes
from boostformer.blocks.block import Block
from boostformer.errors import UserError
from boostformer.training import PretrainRecipe, Recipe, parameter_groups


def test_finetuning_is_segformer_s() -> None:
    r = recipes.load("mmseg-160k")
    assert (r.iterations, r.batch_size, r.lr, r.betas, r.weight_decay) == (160_000, 16, 6e-5, (0.9, 0.999), 0.01)
    assert (r.decoder_lr_factor, r.warmup_iterations, r.schedule, r.power) == (10, 1500, "poly", 1)
    assert r.lr_factor(0) == 1e-6 and r.lr_factor(1500) == 1
    assert r.lr_factor(750) == pytest.approx(0.5, abs=1e-5)
    assert r.lr_factor(1500 + (160_000 - 1500) // 2) == pytest.approx(0.5)


def test_pretraining_is_the_publication_s() -> None:
    r = recipes.load("pretrain")
    assert isinstance(r, PretrainRecipe) and r.schedule == "cosine"
    assert r.lr == 5e-4 * r.batch_size / 512 and r.weight_decay == 0.05
    assert r.iterations * r.batch_size == pytest.approx(300 * 100_000, rel=1e-4)
    assert r.warmup_iterations * r.batch_size == pytest.approx(5 * 100_000, rel=1e-3)
    assert (r.magnitude, r.mixup, r.cutmix, r.label_smoothing, r.random_erasing) == (9, 0.8, 1.0, 0.1, 0.25)


@given(st.integers(1, 500), st.data(), st.sampled_from(["poly", "cosine", "wsd"]), st.floats(0.3, 3))
def test_the_rate_rises_then_falls_to_nothing(iterations: int, data, schedule: str, power: float) -> None:
    full = Recipe(iterations=iterations, warmup_iterations=0, schedule=schedule, power=power)
    warmup = data.draw(st.integers(0, full.trunk if schedule == "wsd" else iterations - 1))
    r = Recipe(**full.model_dump() | {"warmup_iterations": warmup})
    factors = [r.lr_factor(iteration) for iteration in range(iterations + 1)]
    assert factors[warmup] == 1 and factors[-1] == pytest.approx(0, abs=1e-12)
    assert factors[: warmup + 1] == sorted(factors[: warmup + 1])
    assert factors[warmup:] == sorted(factors[warmup:], reverse=True)
    assert all(0 < factor <= 1 for factor in factors[:-1])


def test_warmup_stable_decay() -> None:
    r = recipes.load("proxy", schedule="wsd", iterations=100, warmup_iterations=10, decay=0.25)
    assert r.trunk == 75 and recipes.load("proxy").trunk == 0
    assert [r.lr_factor(i) for i in (0, 10, 74, 75)] == [1e-6, 1, 1, 1]
    assert [r.lr_factor(i) for i in (76, 80, 99)] == pytest.approx([0.96, 0.8, 0.04])
    longer = Recipe(**r.model_dump() | {"iterations": 400})
    assert longer.trunk == 300
    assert [longer.lr_factor(i) for i in range(76)] == [r.lr_factor(i) for i in range(76)]
    assert r.dependencies(75) == longer.dependencies(75) == longer.dependencies(300)
    assert r.dependencies(76) != longer.dependencies(76)
    with pytest.raises(ValidationError, match=r"warmup_iterations \(76\) must be over before .* after 75"):
        Recipe(**r.model_dump() | {"warmup_iterations": 76})


@pytest.mark.parametrize("name", recipes.names())
def test_fewer_iterations_keep_the_share_of_warmup(name: str) -> None:
    full, short = recipes.load(name), recipes.load(name, iterations=100)
    assert short.warmup_iterations == full.warmup_iterations * 100 // full.iterations
    assert recipes.load(name, iterations=100, warmup_iterations=7).warmup_iterations == 7


def test_the_rate_of_pretraining_follows_the_batch() -> None:
    assert recipes.load("pretrain", batch_size=128).lr == pytest.approx(5e-4 / 4)
    assert recipes.load("pretrain", batch_size=128, lr=1e-3).lr == 1e-3
    assert recipes.load("from-scratch", batch_size=4).lr == recipes.load("from-scratch").lr


@pytest.mark.parametrize("name", recipes.names())
def test_a_lone_image_is_refused(name: str) -> None:
    with pytest.raises(ValidationError, match=r"batch_size\n.*greater than or equal to 2"):
        recipes.load(name, batch_size=1)
    assert recipes.load(name, batch_size=2).batch_size == 2


def test_refusals() -> None:
    with pytest.raises(UserError, match="unknown recipe 'from-scrach'; did you mean 'from-scratch'"):
        recipes.load("from-scrach")
    with pytest.raises(ValidationError, match="must be below iterations"):
        Recipe(iterations=10, warmup_iterations=10)
    with pytest.raises(ValidationError, match="Extra inputs"):
        recipes.load("proxy", momentum=0.9)
    with pytest.raises(ValidationError, match="0 < low <= high"):
        recipes.load("proxy", scale=(2, 1))
    with pytest.raises(ValidationError, match="iterations"):
        recipes.load("proxy", iterations="many")


class Fusion(Block):
    no_decay = ("weights",)

    def __init__(self) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.ones(2, 2))


def test_groups() -> None:
    model = tiny_net(3)
    model.decoder = nn.Sequential(model.decoder, Fusion())  # type: ignore[assignment]
    model.encoder[0].requires_grad_(True)
    frozen = nn.Parameter(torch.ones(2, 2), requires_grad=False)
    model.encoder.register_parameter("frozen", frozen)
    r = Recipe(lr=1e-3, decoder_lr_factor=10, weight_decay=0.01)
    groups = {group["name"]: group for group in parameter_groups(model, r)}
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    found = {name: {names[id(p)] for p in group["params"]} for name, group in groups.items()}
    assert found == {
        "encoder, decay": {"encoder.0.weight"},
        "encoder, no decay": {"encoder.1.weight", "encoder.1.bias"},
        "decoder, decay": {"decoder.0.weight"},
        "decoder, no decay": {"decoder.0.bias", "decoder.1.weights"},
    }
    for name, group in groups.items():
        assert group["lr"] == group["base_lr"] == pytest.approx(1e-2 if "decoder" in name else 1e-3)
        assert group["weight_decay"] == (0 if "no decay" in name else 0.01)
