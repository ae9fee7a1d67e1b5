"""Proxy training, against the same steps made by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from boostformer import presets
from boostformer.architecture import Architecture
from boostformer.data import IGNORED, DataConfig, SceneCounts, open_split
from boostformer.model import build
from boostformer.training import TrainingFailure, evaluate, loop, recipe, train
from evaluators.proxy import Proxy

DATA = DataConfig(kind="scenes", size=(32, 64), scenes=SceneCounts(training=6, validation=3))


@pytest.fixture
def arch() -> Architecture:
    return presets.load("boostformer_b0", classes=8, size=(32, 64))


def test_a_score_is_that_of_training_and_evaluating(arch: Architecture, tmp_path: Path) -> None:
    short = recipe("proxy", iterations=3, batch_size=2, drop_path=0.2)
    steps: list[tuple[int, int]] = []
    score = Proxy(DATA, short, tmp_path).evaluate(arch, 7, lambda done, total, loss: steps.append((done, total)))

    torch.manual_seed(7)
    model = build(arch, 0.2)
    seeded = recipe("proxy", iterations=3, batch_size=2, drop_path=0.2, seed=7)
    train(model, open_split(DATA, "training"), seeded, size=(32, 64))
    assert score.miou == evaluate(model, open_split(DATA, "validation"), size=(32, 64)).miou
    assert score.seconds > 0 and "3 iterations of 2" in score.provenance
    assert steps[-1] == (3, 3)


def test_the_seed_decides_the_score(arch: Architecture) -> None:
    proxy = Proxy(DATA, recipe("proxy", iterations=3, batch_size=2))
    scores = [proxy.evaluate(arch, seed).miou for seed in (0, 0, 1)]
    assert scores[0] == scores[1] != scores[2]


def test_a_training_that_diverges_is_a_failure_with_its_reason(arch: Architecture) -> None:
    wild = recipe("proxy", iterations=12, batch_size=2, lr=1e6, warmup_iterations=0, clip_norm=None)
    with pytest.raises(TrainingFailure) as caught:
        Proxy(DATA, wild).evaluate(arch, 0)
    assert caught.value.reason in ("nan", "diverged")


def test_a_recipe_that_diverges_is_timed_too(arch: Architecture) -> None:
    wild = recipe("proxy", iterations=12, batch_size=2, lr=1e9, warmup_iterations=0, clip_norm=None)
    assert Proxy(DATA, wild).estimate_seconds(arch) > 0


def test_images_without_labels_are_timed_too(arch: Architecture) -> None:
    proxy = Proxy(DATA, recipe("proxy", iterations=12, batch_size=2))
    proxy.validation.label = lambda index: np.full((32, 64), IGNORED, np.uint8)  # type: ignore[method-assign]
    assert proxy.estimate_seconds(arch) > 0


def test_the_time_is_estimated_where_progress_is_reported_rarely(
    arch: Architecture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "report_every", lambda device: 3)
    short, long = (Proxy(DATA, recipe("proxy", iterations=n, batch_size=2)) for n in (10, 100_000))
    assert 0 < 100 * short.estimate_seconds(arch) < long.estimate_seconds(arch)


def test_the_time_is_estimated_without_training_to_the_end(arch: Architecture) -> None:
    """Ten thousand times the iterations are estimated to take far longer, and are not made."""
    short, long = (Proxy(DATA, recipe("proxy", iterations=n, batch_size=2)) for n in (10, 100_000))
    assert 0 < short.estimate_seconds(arch) < long.estimate_seconds(arch)
