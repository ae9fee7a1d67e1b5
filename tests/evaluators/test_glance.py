"""A glance at networks that inherit: some steps of training, then a score."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from boostformer import presets, recipes
from boostformer.architecture import Architecture, BlockSpec, Stage
from boostformer.blocks.registry import complete
from boostformer.data import DataConfig, SceneCounts
from boostformer.model import BoostFormer, build
from boostformer.names import numbered
from boostformer.start import Trained
from boostformer.training import TrainingFailure, train
from evaluators import glance
from evaluators.glance import Glance, _cut, _see_again
from evaluators.proxy import Proxy

DATA = DataConfig(kind="scenes", size=(32, 64), scenes=SceneCounts(training=24, validation=2))


@pytest.fixture(scope="module")
def proxy() -> Proxy:
    return Proxy(DATA, recipes.load("proxy", iterations=60, batch_size=8))


@pytest.fixture(scope="module")
def trained(proxy: Proxy) -> Trained:
    torch.manual_seed(0)
    model: BoostFormer = build(presets.load("segformer_b0", classes=8, size=(32, 64)))
    train(model, proxy.training, proxy.recipes[0], size=(32, 64))
    return Trained("net", "0", model.state_dict(), proxy.labels, model.architecture)


@pytest.fixture
def shaped(tmp_path: Path) -> DataConfig:
    """Images of two shapes, in ADE20K's layout."""
    rng = np.random.default_rng(0)
    for split, count in (("training", 6), ("validation", 2)):
        for number in range(count):
            shape = (48, 96) if number % 2 else (96, 48)
            for kind, depth in (("images", (3,)), ("annotations", ())):
                file = tmp_path / kind / split / f"{number}.png"
                file.parent.mkdir(parents=True, exist_ok=True)
                drawn = rng.integers(1, 9, size=(*shape, *depth)).astype(np.uint8)
                Image.fromarray(drawn).save(file)
    names = [f"class {number}" for number in range(9)]
    (tmp_path / "classes.txt").write_text("\n".join(names) + "\n")
    return DataConfig(root=tmp_path, kind="ade20k", size=(32, 64), ignore=(0, 255))


def poorest(arch: Architecture) -> Architecture:
    """The same network with all mixers replaced, and FFNs a quarter as wide."""

    def less(stage: Stage) -> Stage:
        ffn = BlockSpec.of("mix_ffn", **{**dict(stage.ffn.options), "ratio": 1})
        return replace(stage, mixer=BlockSpec.of("pooling", kernel=3), ffn=ffn)

    return complete(replace(arch, stages=tuple(map(less, arch.stages))))


def test_what_inherits_all_scores_more_than_what_inherits_little_or_nothing(proxy: Proxy, trained: Trained) -> None:
    look, arch = Glance(trained, proxy), trained.architecture
    own, less = look(arch), look(poorest(arch))
    nothing = Glance(replace(trained, weights={}), proxy)(arch)
    assert 1 > own > less > 0 and own > nothing > 0
    assert less == Glance(trained, proxy)(poorest(arch)), "the same seed draws the same"


def test_without_steps_the_score_is_that_of_the_parent(proxy: Proxy, trained: Trained) -> None:
    look = Glance(trained, proxy, steps=0)
    model: BoostFormer = build(trained.architecture)
    model.load_state_dict(trained.weights)
    model.eval()
    _see_again(model, look._images[:2], torch.device("cpu"))
    with torch.no_grad():
        predicted = torch.cat([model(images).argmax(1) for images in look._images])
    known = look._labels < 8
    shares = [
        float(((predicted == number) & (look._labels == number)).sum() / union)
        for number in range(8)
        if (union := (((predicted == number) & known) | (look._labels == number)).sum())
    ]
    assert look(trained.architecture) == pytest.approx(np.mean(shares))


@pytest.mark.parametrize("reason", ["out_of_memory", "diverged"])
def test_a_network_that_fails_scores_less_than_any(
    proxy: Proxy, trained: Trained, monkeypatch: pytest.MonkeyPatch, reason: str
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise TrainingFailure(reason, "…")  # type: ignore[arg-type]

    monkeypatch.setattr(glance, "train", fail)
    assert Glance(trained, proxy)(trained.architecture) == -math.inf


@pytest.mark.parametrize("fit", ["exact", "short_side", "tile"])
def test_images_of_any_shape_are_seen_at_the_size_of_the_data(trained: Trained, fit: str, shaped: DataConfig) -> None:
    proxy = Proxy(shaped.model_copy(update={"fit": fit}), recipes.load("proxy", iterations=4, batch_size=2))
    arch = trained.architecture.replace(classes=len(proxy.labels))
    look = Glance(replace(trained, labels=numbered(8)), proxy)
    assert {tuple(batch.shape[1:]) for batch in look._images} == {(3, 32, 64)}
    assert look._labels.shape == (6, 8, 16) and 0 <= look(arch) < 1


@pytest.mark.parametrize("size", ["33x64", "50x70", "35x66"])
def test_sides_need_be_no_multiple_of_four(trained: Trained, size: str) -> None:
    data = DataConfig(kind="scenes", size=size, scenes=SceneCounts(training=4, validation=1))  # type: ignore[arg-type]
    proxy = Proxy(data, recipes.load("proxy", iterations=4, batch_size=2))
    assert 0 <= Glance(trained, proxy)(trained.architecture.replace(size=proxy.data.size)) < 1


def test_a_border_is_no_class_where_there_are_many(trained: Trained, shaped: DataConfig) -> None:
    assert shaped.root is not None
    (shaped.root / "classes.txt").write_text("".join(f"class {number}\n" for number in range(300)))
    proxy = Proxy(shaped.model_copy(update={"fit": "tile", "ignore": (0,)}), recipes.load("proxy", batch_size=2))
    assert len(proxy.labels) == 300
    labels = Glance(replace(trained, weights={}), proxy)._labels
    assert set(labels.unique().tolist()) <= {*range(8), proxy.training.ignored}


def test_where_nothing_is_labelled_the_score_is_0(trained: Trained, proxy: Proxy) -> None:
    look = Glance(trained, proxy)
    look._labels = torch.full_like(look._labels, 255)
    assert look(trained.architecture) == 0


def test_the_middle_of_an_image_is_cut_out() -> None:
    image = np.arange(6 * 2).reshape(6, 2)
    assert _cut(image, (2, 4), 9).tolist() == [[9, 4, 5, 9], [9, 6, 7, 9]]


def test_norms_count_anew_also_on_a_single_image_and_position() -> None:
    norm = torch.nn.BatchNorm2d(2)
    norm.running_mean.fill_(9.0)  # type: ignore[union-attr]
    _see_again(norm, (torch.tensor([[[[1.0]], [[3.0]]]]),), torch.device("cpu"))
    assert norm.running_mean.tolist() == [1.0, 3.0] and not norm.training  # type: ignore[union-attr]
