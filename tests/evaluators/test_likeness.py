"""How like untrained heirs are to the network that they inherit from."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from boostformer import presets, recipes
from boostformer.architecture import BlockSpec, Decoder
from boostformer.blocks.registry import complete
from boostformer.data import DataConfig, SceneCounts
from boostformer.model import BoostFormer, build
from boostformer.names import numbered
from boostformer.start import Trained, answers_for
from boostformer.training import train
from evaluators.likeness import Likeness
from evaluators.proxy import Proxy

DATA = DataConfig(kind="scenes", size=(32, 64), scenes=SceneCounts(training=24, validation=2))


@pytest.fixture(scope="module")
def proxy() -> Proxy:
    return Proxy(DATA, recipes.load("proxy", iterations=20, batch_size=4))


@pytest.fixture(scope="module")
def trained(proxy: Proxy) -> Trained:
    torch.manual_seed(0)
    model: BoostFormer = build(presets.load("segformer_b0", classes=8, size=(32, 64)))
    train(model, proxy.training, proxy.recipes[0], size=(32, 64))
    return Trained("net", "0", model.state_dict(), proxy.labels, model.architecture)


def test_what_changes_little_is_more_alike(proxy: Proxy, trained: Trained) -> None:
    likeness, arch = Likeness(trained, proxy), trained.architecture
    assert likeness(arch) == pytest.approx(0, abs=1e-6)
    stages = [replace(stage, mixer=BlockSpec.of("pooling", kernel=3)) for stage in arch.stages]
    one = complete(replace(arch, stages=(*arch.stages[:3], stages[3])))
    all_of_them = complete(replace(arch, stages=tuple(stages)))
    narrow = complete(replace(arch, decoder=Decoder(arch.decoder.fusion, 32)))
    assert 0 < likeness(one) < likeness(all_of_them)
    assert likeness(narrow) > 0
    assert likeness(one) == Likeness(trained, proxy)(one), "the same seed draws the same"


def test_the_random_numbers_of_others_stay_as_they_were(proxy: Proxy, trained: Trained) -> None:
    likeness = Likeness(trained, proxy)
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    likeness(trained.architecture)
    assert torch.equal(torch.rand(3), expected)


def test_norms_see_the_heirs_own_maps(proxy: Proxy, trained: Trained) -> None:
    """Of a network whose norms know nothing of its maps nothing but the norms differs."""
    strange = {
        name: torch.full_like(value, 9.0) if name.endswith("running_mean") else value
        for name, value in trained.weights.items()
    }
    assert any(not torch.equal(strange[name], trained.weights[name]) for name in strange)
    likeness = Likeness(trained, proxy)
    assert Likeness(replace(trained, weights=strange), proxy)._wanted.allclose(likeness._wanted, atol=1e-5)


def test_answers_are_for_classes_that_it_knows(trained: Trained) -> None:
    assert answers_for(trained, trained.labels)
    assert answers_for(trained, [trained.labels[3], "another"])
    assert not answers_for(trained, ["one", "another"])
    assert answers_for(trained, numbered(8)) and not answers_for(trained, numbered(2))
    encoder = {name: value for name, value in trained.weights.items() if name.startswith("encoder.")}
    assert not answers_for(replace(trained, weights=encoder), trained.labels)
