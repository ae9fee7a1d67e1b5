"""Validation on the way, the best network, the early end, the moving average, and their exact resumption."""

from __future__ import annotations

import csv
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from data_fixtures import ListSplit, tiny_net
from pydantic import ValidationError
from training_cases import SIZE, assert_same, colours, short, trained

from boostformer.errors import UserError
from boostformer.training import PretrainRecipe, Recipe, TrainingReport, evaluate, train
from boostformer.training.log import MetricsLog, Standing, trackers_of
from boostformer.training.validation import Validation

WATCHED = {"validate_every": 3, "ema": 0.8, "save_every": 4}


def other() -> ListSplit:
    """Images to validate on."""
    return colours(4, seed=7)


def watched(
    r: Recipe, folder: Path | None = None, seed: int = 0, **options: Any
) -> tuple[dict[str, torch.Tensor], Validation, TrainingReport]:
    model, validation = tiny_net(3, seed), Validation(other(), SIZE, r)
    report = train(model, colours(), r, size=SIZE, resume_dir=folder, validation=validation, **options)
    return model.state_dict(), validation, report


def test_validating_changes_nothing() -> None:
    weights, validation, _ = watched(short(validate_every=3))
    assert_same(trained(short()), weights)
    assert validation.best is not None and validation.best.iteration in (3, 6, 9)


def test_scores_are_those_of_the_network_at_that_time() -> None:
    _, validation, _ = watched(short(iterations=14, warmup_iterations=1, validate_every=13))
    model = tiny_net(3)

    class Enough(Exception):
        pass

    def stop(done: int, iterations: int, loss: float) -> None:
        if done == 13:
            raise Enough

    with pytest.raises(Enough):
        train(model, colours(), short(iterations=14, warmup_iterations=1), size=SIZE, progress=stop)
    assert validation.best is not None and validation.best.metrics == evaluate(model, other(), size=SIZE)
    assert_same(model.state_dict(), validation.weights)


def test_the_average_is_what_is_scored_and_left() -> None:
    model, passed = tiny_net(3), []

    def note(done: int, iterations: int, loss: float) -> None:
        passed.append({name: value.clone() for name, value in model.state_dict().items()})

    expected = {name: value.clone() for name, value in model.state_dict().items()}
    train(model, colours(), short(ema=0.5), size=SIZE, progress=note)
    for done, values in enumerate(passed, 1):
        decay = min(0.5, (1 + done) / (10 + done))
        for name, value in values.items():
            kept = value.is_floating_point()
            expected[name] = decay * expected[name] + (1 - decay) * value if kept else value
    torch.testing.assert_close(dict(model.state_dict()), expected)
    assert not torch.allclose(model.decoder.weight, passed[-1]["decoder.weight"]), "no copy of the last weights"
    assert model.encoder[1].num_batches_tracked == 12
    assert all(parameter.requires_grad for parameter in model.parameters()) and model.training


def test_it_ends_when_nothing_better_comes(tmp_path: Path) -> None:
    still = short(iterations=30, warmup_iterations=0, lr=1e-12, validate_every=2, patience=3, ema=0.5)
    weights, validation, report = watched(still, tmp_path)
    best = validation.best
    assert best is not None and report.iterations < 30
    # Statistics of BatchNorm move, so that the first need not be the best.
    assert report.iterations == best.iteration + 3 * 2
    again, resumed, second = watched(still, tmp_path, seed=5)
    assert second.iterations == second.resumed_from == report.iterations
    assert resumed.best == best
    assert_same(weights, again)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"patience": 2, "validate_every": 0}, "patience counts validations"),
        ({"patience": 2, "schedule": "wsd"}, "before its rate falls"),
    ],
)
def test_a_patience_without_sense_is_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        short(**changes)


def test_pre_training_has_no_validations_on_the_way() -> None:
    with pytest.raises(ValidationError, match="scored at its end alone"):
        PretrainRecipe(validate_every=5)


def test_validation_without_labels_is_refused() -> None:
    blank = ListSplit([other().image(0)], [np.full(SIZE, 255, np.uint8)], 3, SIZE)
    r = short(validate_every=3)
    with pytest.raises(UserError, match="every pixel of the validation images is ignored"):
        train(tiny_net(3), colours(), r, size=SIZE, validation=Validation(blank, SIZE, r))


def rows(folder: Path) -> list[dict[str, str]]:
    """What the log has, the speeds aside."""
    with (folder / "metrics.csv").open(newline="") as stream:
        kept = ("iteration", "loss", "lr", "miou", "accuracy")
        return [{name: row[name] for name in kept} for row in csv.DictReader(stream)]


class Killed(Exception):
    pass


class Killing(MetricsLog):
    """Every iteration is a row, but of iteration ``at`` nothing is kept any more."""

    EVERY = 1

    def __init__(self, folder: Path, at: int | None = None) -> None:
        super().__init__(folder, (), {})
        self._at = at

    def see(self, now: Standing) -> None:
        super().see(now)
        if now.iteration == self._at:
            raise Killed


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, torch.Tensor], Validation, list[dict[str, str]]]:
    folder = tmp_path_factory.mktemp("whole")
    weights, validation, _ = watched(_long(), log=Killing(folder))
    return weights, validation, rows(folder)


def _long() -> Recipe:
    return short(iterations=20, patience=5, **WATCHED)


def assert_resumes_exactly(folder: Path, whole: Any, kills: list[int]) -> None:
    weights, validation, log = whole
    for at in kills:
        with pytest.raises(Killed):
            watched(_long(), folder / "state", seed=0 if at == kills[0] else 99, log=Killing(folder, at))
    found, resumed, report = watched(_long(), folder / "state", log=Killing(folder))
    assert report.resumed_from == (kills[-1] - 1) // 4 * 4
    assert_same(weights, found)
    assert_same(validation.weights, resumed.weights)
    assert resumed.weights.keys() == validation.weights.keys() and resumed.state() == validation.state()
    assert rows(folder) == log


@pytest.mark.parametrize("at", random.Random(0).sample(range(5, 21), 3))
def test_killed_and_resumed_it_is_the_same(tmp_path: Path, whole, at: int) -> None:
    assert_resumes_exactly(tmp_path, whole, [at])


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(20))
def test_killed_twice_at_random_it_is_the_same(tmp_path: Path, whole, seed: int) -> None:
    assert_resumes_exactly(tmp_path, whole, sorted(random.Random(seed).sample(range(5, 21), 2)))


def test_a_damaged_average_is_no_state(tmp_path: Path, whole) -> None:
    with pytest.raises(Killed):
        watched(_long(), tmp_path / "state", log=Killing(tmp_path, 10))
    (file,) = (tmp_path / "state").glob("*/kept-average.safetensors")
    file.write_bytes(file.read_bytes()[:-4] + b"\1\2\3\4")
    weights, _, report = watched(_long(), tmp_path / "state")
    assert report.resumed_from == 0
    assert_same(whole[0], weights)


def test_rows_come_every_ten_iterations_and_at_validations(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path, (), {})
    watched(short(iterations=23, validate_every=9), log=log)
    assert [row["iteration"] for row in rows(tmp_path)] == ["9", "10", "18", "20", "23"]
    assert [row["iteration"] for row in rows(tmp_path) if row["miou"]] == ["9", "18"]
    log.end(evaluate(tiny_net(3), other(), size=SIZE))
    assert rows(tmp_path)[-1]["iteration"] == "23" and float(rows(tmp_path)[-1]["miou"]) >= 0


def test_a_row_that_was_cut_off_goes(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path, (), {})
    watched(short(iterations=23), log=log)
    file = tmp_path / "metrics.csv"
    file.write_text(file.read_text()[:-3])
    log.begin(23)
    assert [row["iteration"] for row in rows(tmp_path)] == ["10", "20"]
    log.begin(15)
    assert [row["iteration"] for row in rows(tmp_path)] == ["10"]


def test_a_file_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").write_text("epoch,loss\n1,2\n")
    with pytest.raises(UserError, match="not a log of a training"):
        MetricsLog(tmp_path, (), {}).begin(0)
    assert (tmp_path / "metrics.csv").read_text() == "epoch,loss\n1,2\n"


def test_tensorboard_is_told(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path, trackers_of("tensorboard"), {})
    watched(short(iterations=20, validate_every=9), log=log)
    log.close()
    (file,) = (tmp_path / "logs").iterdir()
    content = file.read_bytes()
    assert all(name in content for name in (b"loss", b"lr", b"miou", b"images_per_second"))


@pytest.mark.parametrize(("text", "names"), [("none", ()), ("tensorboard,tensorboard", ("tensorboard",))])
def test_trackers(text: str, names: tuple[str, ...]) -> None:
    assert trackers_of(text) == names


@pytest.mark.parametrize("name", ["wandb", "mlflow", "aim"])
def test_a_tracker_s_missing_package_is_named(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("boostformer.training.log.find_spec", lambda package: None)
    with pytest.raises(UserError, match=f"pip install {name}"):
        trackers_of(name)


def test_an_unknown_tracker_is_refused() -> None:
    with pytest.raises(UserError, match="unknown tracker 'tensorbord'"):
        trackers_of("tensorbord")
