"""Proxy training, against the same steps made by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from boostformer import presets, recipes
from boostformer.architecture import Architecture
from boostformer.data import IGNORED, DataConfig, SceneCounts, open_split
from boostformer.errors import UserError
from boostformer.model import BoostFormer, build
from boostformer.start import LostWeights, Trained
from boostformer.teachers.teacher import Identity, Teacher
from boostformer.training import TrainingFailure, evaluate, loop, train
from boostformer.training.taught import Teaching
from boostformer.training.threads import using
from evaluators.proxy import Beginning, Proxy

DATA = DataConfig(kind="scenes", size=(32, 64), scenes=SceneCounts(training=6, validation=3))


@pytest.fixture
def arch() -> Architecture:
    return presets.load("boostformer_b0", classes=8, size=(32, 64))


def test_a_score_is_that_of_training_and_evaluating(arch: Architecture, tmp_path: Path) -> None:
    short = recipes.load("proxy", iterations=3, batch_size=2, drop_path=0.2)
    steps: list[tuple[int, int]] = []
    score = Proxy(DATA, short, tmp_path).evaluate(arch, 7, lambda done, total, loss: steps.append((done, total)))

    torch.manual_seed(7)
    model = build(arch, 0.2)
    seeded = recipes.load("proxy", iterations=3, batch_size=2, drop_path=0.2, seed=7)
    train(model, open_split(DATA, "training"), seeded, size=(32, 64))
    assert score.miou == evaluate(model, open_split(DATA, "validation"), size=(32, 64)).miou
    assert score.seconds > 0 and "3 iterations of 2" in score.provenance
    assert steps[-1] == (3, 3)


def test_the_seed_decides_the_score(arch: Architecture) -> None:
    proxy = Proxy(DATA, recipes.load("proxy", iterations=3, batch_size=2))
    scores = [proxy.evaluate(arch, seed).miou for seed in (0, 0, 1)]
    assert scores[0] == scores[1] != scores[2]


def test_a_batch_above_the_images_is_remarked() -> None:
    def said(batch_size: int) -> str:
        return " ".join(Proxy(DATA, recipes.load("proxy", iterations=3, batch_size=batch_size)).remarks())

    assert "batch_size 7 is above the 6 training images" in said(7)
    assert "batch_size" not in said(6)


def test_trainings_and_scorings_of_a_search_use_one_thread_unless_told_otherwise(arch: Architecture) -> None:
    """So that scores do not depend on the machine and the number of workers: threads change the last bits."""
    for asked, used in (({}, 1), ({"threads": 3}, 3)):
        proxy, seen = Proxy(DATA, recipes.load("proxy", iterations=2, batch_size=2, **asked)), set()
        label = proxy.validation.label

        def scored(index: int, seen: set[int] = seen, label: Callable = label) -> np.ndarray:
            seen.add(torch.get_num_threads())
            return label(index)

        proxy.validation.label = scored  # type: ignore[method-assign]
        with using(2):
            proxy.evaluate(arch, 0, lambda *_, seen=seen: seen.add(torch.get_num_threads()))
            assert torch.get_num_threads() == 2
        assert seen == {used}


def test_a_training_that_diverges_is_a_failure_with_its_reason(arch: Architecture) -> None:
    wild = recipes.load("proxy", iterations=12, batch_size=2, lr=1e6, warmup_iterations=0, clip_norm=None)
    with pytest.raises(TrainingFailure) as caught:
        Proxy(DATA, wild).evaluate(arch, 0)
    assert caught.value.reason in ("nan", "diverged")


def test_a_recipe_that_diverges_is_timed_too(arch: Architecture) -> None:
    wild = recipes.load("proxy", iterations=12, batch_size=2, lr=1e9, warmup_iterations=0, clip_norm=None)
    assert Proxy(DATA, wild).estimate_seconds(arch) > 0


def test_images_without_labels_are_timed_too(arch: Architecture) -> None:
    proxy = Proxy(DATA, recipes.load("proxy", iterations=12, batch_size=2))
    proxy.validation.label = lambda index: np.full((32, 64), IGNORED, np.uint8)  # type: ignore[method-assign]
    assert proxy.estimate_seconds(arch) > 0


def test_the_time_is_estimated_where_progress_is_reported_rarely(
    arch: Architecture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "report_every", lambda device: 3)
    short, long = (Proxy(DATA, recipes.load("proxy", iterations=n, batch_size=2)) for n in (10, 100_000))
    assert 0 < 100 * short.estimate_seconds(arch) < long.estimate_seconds(arch)


def test_the_time_is_estimated_without_training_to_the_end(arch: Architecture) -> None:
    """Ten thousand times the iterations are estimated to take far longer, and are not made."""
    short, long = (Proxy(DATA, recipes.load("proxy", iterations=n, batch_size=2)) for n in (10, 100_000))
    assert 0 < short.estimate_seconds(arch) < long.estimate_seconds(arch)


def carried(rungs: tuple[int, ...], cache: Path | None = None) -> Proxy:
    short = recipes.load("proxy", iterations=rungs[0], batch_size=2, warmup_iterations=1, schedule="wsd", decay=0.4)
    return Proxy(DATA, short, cache, rungs)


def test_rungs_are_carried_on_to_the_scores_from_scratch(arch: Architecture, tmp_path: Path) -> None:
    proxy, folder = carried((3, 6, 9), tmp_path / "cache"), tmp_path / "checkpoints" / f"{arch.id}-7"
    for rung, (iterations, start) in enumerate([(3, 0), (6, 2), (9, 4)]):
        score = proxy.evaluate(arch, 7, rung=rung, folder=folder)
        how = f"carried on from {start}" if start else "from scratch"
        assert (score.iterations, score.resumed_from) == (iterations, start)
        assert score.provenance == f"proxy training, {iterations} iterations of 2, {how}"
        proxy.tidy(folder, rung)
        left = [path.name for path in folder.iterdir()] if folder.exists() else []
        assert left == ([f"iteration-0000000{proxy.recipes[rung].trunk}"] if rung < 2 else [])
    whole = carried((3, 6, 9), tmp_path / "cache").evaluate(arch, 7, rung=2)
    assert whole.miou == score.miou and whole.resumed_from == 0
    assert carried((9,), tmp_path / "cache").evaluate(arch, 7).miou == score.miou


def test_a_score_that_was_not_recorded_is_found_again_without_training(arch: Architecture, tmp_path: Path) -> None:
    proxy = Proxy(DATA, recipes.load("proxy", iterations=3, batch_size=2))
    steps: list[int] = []
    scores = [proxy.evaluate(arch, 0, lambda done, *_: steps.append(done), folder=tmp_path / "f") for _ in range(2)]
    assert steps == [1, 2, 3]
    assert scores[0].miou == scores[1].miou and [score.resumed_from for score in scores] == [0, 3]
    proxy.tidy(tmp_path / "f", 0)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_belongs_to_one_network_and_seed(arch: Architecture, tmp_path: Path) -> None:
    proxy = carried((3, 6))
    proxy.evaluate(arch, 0, folder=tmp_path)
    with pytest.raises(UserError, match=r"another training, with other recipe\.seed;"):
        proxy.evaluate(arch, 1, rung=1, folder=tmp_path)
    with pytest.raises(UserError, match="another training, with other architecture, network;"):
        proxy.evaluate(presets.load("segformer_b0", classes=8, size=(32, 64)), 0, rung=1, folder=tmp_path)


def test_a_failed_training_leaves_nothing(arch: Architecture, tmp_path: Path) -> None:
    wild = recipes.load("proxy", iterations=40, batch_size=2, lr=1e6, warmup_iterations=0, clip_norm=None, save_every=1)
    with pytest.raises(TrainingFailure):
        Proxy(DATA, wild).evaluate(arch, 0, folder=tmp_path / "folder")
    assert list(tmp_path.iterdir()) == []


def test_several_rungs_need_a_schedule_that_goes_on() -> None:
    with pytest.raises(UserError, match="schedule 'poly' cannot be carried on; several rungs need 'wsd'"):
        Proxy(DATA, recipes.load("proxy", iterations=3), rungs=(3, 6))


def test_a_higher_rung_costs_what_is_left_of_it(arch: Architecture, monkeypatch: pytest.MonkeyPatch) -> None:
    proxy, measured = carried((10, 100)), []
    monkeypatch.setattr(Proxy, "_measured_pace", lambda self, arch, teaching: measured.append(arch.id) or (2.0, 5.0))
    assert proxy.estimate_seconds(arch) == 25
    assert proxy.estimate_seconds(arch, 1) == (100 - 6) * 2 + 5
    assert proxy.estimate_seconds(arch, 1, from_scratch=True) == 205
    assert measured == [arch.id]


def test_a_teacher_is_part_of_the_steps_that_are_timed(arch: Architecture, monkeypatch: pytest.MonkeyPatch) -> None:
    class Known(Teacher):
        identity = Identity("t", "0" * 64, None, None)

    proxy, teaching, taught = carried((10,)), Teaching(Known()), []

    def quick(model: nn.Module, *_: Any, progress: Any, teaching: Any, **__: Any) -> SimpleNamespace:
        taught.append(teaching)
        progress(1)
        progress(2)
        return SimpleNamespace(threads=1)

    monkeypatch.setattr("evaluators.proxy.train", quick)
    for each in (None, teaching, teaching):
        assert proxy.estimate_seconds(arch, teaching=each) > 0
    assert taught == [None, teaching]


def test_a_pace_of_long_steps_is_known_after_two(arch: Architecture, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def slow(model: nn.Module, split: Any, recipe: Any, *, progress: Any, **__: Any) -> None:
        for done in range(1, recipe.iterations + 1):
            seen.append(done)
            progress(done, recipe.iterations, 0.0)

    monkeypatch.setattr("evaluators.proxy.train", slow)
    for longest, steps in ((0.0, 2), (3600.0, 5)):
        monkeypatch.setattr("evaluators.proxy.LONG", longest)
        seen.clear()
        assert carried((10,)).estimate_seconds(arch) > 0
        assert seen == list(range(1, steps + 1))


def beginning(model: BoostFormer, labels: list[str], *, lost: bool = False) -> Beginning:
    def read() -> Trained:
        if lost:
            raise LostWeights("weights 12ab are gone")
        return Trained("parent", "12ab", dict(model.state_dict()), labels, model.architecture)

    return Beginning("parent", "12ab", read)


@pytest.fixture
def parent(arch: Architecture) -> BoostFormer:
    torch.manual_seed(1)
    return build(arch)


def test_a_training_begins_from_what_it_inherits(arch: Architecture, parent: BoostFormer, tmp_path: Path) -> None:
    """Next to no learning leaves the parent, whatever the seed; its own weights come out with the score."""
    still = Proxy(DATA, recipes.load("proxy", iterations=1, batch_size=2, lr=1e-12, warmup_iterations=0))
    scores = [still.evaluate(arch, seed, start=beginning(parent, still.labels)) for seed in (0, 1)]
    for score in scores:
        assert score.weights is not None and score.weights.keys() == parent.state_dict().keys()
        kept = {name: value for name, value in score.weights.items() if not name.endswith(("_mean", "_var", "tracked"))}
        assert all(torch.allclose(value, parent.state_dict()[name], atol=1e-6) for name, value in kept.items())
        assert score.provenance.endswith(", inherited from parent (100% of its numbers)")
    assert still.evaluate(arch, 0).weights is not None


def test_a_training_goes_on_from_its_own_state_without_its_parent(
    arch: Architecture, parent: BoostFormer, tmp_path: Path
) -> None:
    proxy, folder = carried((3, 6)), tmp_path / "f"
    with pytest.raises(LostWeights):
        proxy.evaluate(arch, 7, folder=folder, start=beginning(parent, proxy.labels, lost=True))
    whole = proxy.evaluate(arch, 7, rung=1, start=beginning(parent, proxy.labels))
    proxy.evaluate(arch, 7, folder=folder, start=beginning(parent, proxy.labels))
    proxy.tidy(folder, 0)
    score = proxy.evaluate(arch, 7, rung=1, folder=folder, start=beginning(parent, proxy.labels, lost=True))
    assert (score.miou, score.resumed_from) == (whole.miou, 2)
    assert score.provenance.endswith("carried on from 2, inherited from parent")
    assert proxy.evaluate(arch, 7, rung=1).miou != whole.miou
    with pytest.raises(UserError, match="another training, with other parent;"):
        proxy.evaluate(arch, 7, rung=1, folder=folder)


def test_a_damaged_state_is_no_excuse_to_begin_without_the_parent(
    arch: Architecture, parent: BoostFormer, tmp_path: Path
) -> None:
    proxy, folder = carried((3, 6)), tmp_path / "f"
    proxy.evaluate(arch, 7, folder=folder, start=beginning(parent, proxy.labels))
    for file in folder.glob("*/*.safetensors"):
        file.write_bytes(b"")
    with pytest.raises(LostWeights):
        proxy.evaluate(arch, 7, folder=folder, start=beginning(parent, proxy.labels, lost=True))
    assert not folder.exists(), "else its wrong beginning would be carried on"
