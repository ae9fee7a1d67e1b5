"""Runs as frames, and several of them in one front."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from result_factories import create_run, make_trial, write_trial

import boostformer
import results
from boostformer.errors import UserError
from results.run import open_study
from results.schema import FORMAT_VERSION
from results.trial import Trial

CONFIG: dict[str, Any] = {
    "version": FORMAT_VERSION,
    "labels": ["road", "sky"],
    "data": {"root": "/here", "size": [128, 192]},
    "content": {"training": "a", "validation": "b"},
    "proxy": {"iterations": 300, "seed": 0},
    "latency": None,
}


def written(folder: Path, *trials: Trial, **changes: Any) -> Path:
    study = create_run(folder)
    study.set_user_attr("config", CONFIG | changes)
    for number, trial in enumerate(trials):
        write_trial(study, replace(trial, number=number))
    return folder


SMALL = make_trial(0, params=1_000_000, miou=0.3, iou=(0.5, 0.1))
LARGE = make_trial(1, params=2_000_000, macs=900_000_000, miou=0.5, iou=(0.6, None))
BAD = make_trial(2, params=2_500_000, macs=950_000_000, miou=0.2)


def test_a_run_is_a_frame_with_its_choices_classes_and_front(tmp_path: Path) -> None:
    run = boostformer.open_run(written(tmp_path, SMALL, LARGE, BAD))
    frame = run.frame()
    assert list(frame["on_front"]) == [True, True, False]
    assert list(frame["stages.0.width"]) == [32, 33, 34]
    assert frame["stages.0.mixer"][0] == "efficient_attention"
    assert frame["stages.0.mixer.efficient_attention.heads"][0] == 1
    assert frame["stages.2.mixer"][0] == "pooling" and frame["decoder.fusion.weighted_sum.normalised"].all()
    assert frame["iou.road"].tolist()[:2] == [0.5, 0.6] and frame["iou.sky"].isna().tolist() == [False, True, True]
    assert list(run.front()["trial"]) == [0, 1] and set(run.front()) == set(frame)


def test_a_mean_of_seeds_is_one_row_of_the_front(tmp_path: Path) -> None:
    again = replace(SMALL, number=1, key=replace(SMALL.key, seed=4), miou=0.4)
    front = results.load(written(tmp_path, SMALL, again)).front()
    assert front["miou"].tolist() == [pytest.approx(0.35)] and front["seeds"].tolist() == [2]


def test_runs_share_one_front_that_tells_them_apart(tmp_path: Path) -> None:
    better = make_trial(0, params=1_000_000, miou=0.35)
    one, other = written(tmp_path / "a", SMALL, LARGE), written(tmp_path / "b", better)
    runs = results.load(one, other)
    front = runs.front()
    assert list(zip(front["run"], front["trial"], strict=True)) == [(str(one), 1), (str(other), 0)]
    assert runs.frame()["on_front"].tolist() == [False, True, True]
    assert set(results.load(one).front()["trial"]) == {0, 1}


def test_the_longest_trainings_that_all_have_are_compared(tmp_path: Path) -> None:
    longer = replace(SMALL, number=1, key=replace(SMALL.key, rung=1), miou=0.9)
    one, other = written(tmp_path / "a", SMALL, longer), written(tmp_path / "b", LARGE)
    assert results.load(one, other).front()["miou"].tolist() == [0.3, 0.5]


def test_objectives_that_only_one_has_do_not_count(tmp_path: Path) -> None:
    one, other = written(tmp_path / "a", SMALL, BAD), written(tmp_path / "b", LARGE)
    open_study(other).set_user_attr("objectives", ["params", "miou"])
    runs = results.load(one, other)
    assert runs.objectives == ["miou", "params"] and len(runs.front()) == 2


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"content": {"training": "a", "validation": "c"}}, "their content.validation differ"),
        ({"labels": ["road", "tree"]}, "their labels differ"),
        ({"data": {"root": "/here", "size": [64, 64]}}, r"their data.size differ (\[128, 192\] and \[64, 64\])"),
        ({"proxy": {"iterations": 100, "seed": 0}}, r"their proxy.iterations differ (300 and 100)"),
        ({"start": {"place": "net", "weights": "0" * 64}}, "their start.weights differ"),
        ({"counted": "trained"}, "their counted differ"),
    ],
)
def test_scores_of_other_data_or_recipes_are_not_mixed(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    one, other = written(tmp_path / "a", SMALL), written(tmp_path / "b", SMALL, **changes)
    with pytest.raises(UserError) as refused:
        results.load(one, other)
    assert str(refused.value).startswith(f"{other}: cannot be compared with {one}: ")
    assert said.replace("\\", "") in str(refused.value)


def test_places_and_seeds_may_differ(tmp_path: Path) -> None:
    changes = {"data": {"root": "/there", "size": [128, 192]}, "proxy": {"iterations": 300, "seed": 7}}
    one, other = written(tmp_path / "a", SMALL), written(tmp_path / "b", LARGE, **changes)
    assert len(results.load(one, other).front()) == 2


def test_a_run_without_trials_is_an_empty_frame(tmp_path: Path) -> None:
    front = results.load(written(tmp_path)).front()
    assert front.empty and {"run", "trial", "miou", "on_front"} <= set(front)
