"""Optuna's own tools on a run: parameters, importances, metric names, intermediate values and constraints."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.distributions import CategoricalDistribution
from optuna.trial import FrozenTrial
from search_factories import MadeUp, Watcher, medium, opened, quick, run, small

from boostformer.architecture import Architecture
from evaluators.proxy import Score
from results.run import open_study, read_run
from results.storage.location import Database
from search.study.folder import set_up
from search.worker.loop import work

SPACE = small()
MIXER, HEADS = "stages.3.mixer", "stages.3.mixer.mhsa.heads"


def studied(folder: Path, trials: int = 12, evaluate: Any = quick, **changes: Any) -> optuna.Study:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run(folder, trials, evaluate, search=opened(SPACE, **changes))
    return open_study(folder)


def miou_of(trial: FrozenTrial) -> float:
    return trial.values[0]


def loss_of(trial: FrozenTrial) -> float:
    """What PED-ANOVA wants, which asks what leads to the lowest values."""
    return -miou_of(trial)


def test_each_trial_has_the_choices_its_network_makes(tmp_path: Path) -> None:
    stored = studied(tmp_path).get_trials()
    allowed = {choice.name: CategoricalDistribution(choice.values) for choice in SPACE.choices}
    heads = 0
    for trial in stored:
        arch = Architecture.from_dict(trial.user_attrs["network"]["architecture"])
        (row,) = SPACE.encode([arch])
        chosen = {
            choice.name: choice.values[gene] for choice, gene in zip(SPACE.choices, row, strict=True) if gene >= 0
        }
        assert trial.params == chosen
        assert trial.distributions == {name: allowed[name] for name in chosen}
        heads += HEADS in trial.params
    assert 0 < heads < len(stored), "a choice of one mixer alone is there only where this mixer is"


def test_the_metrics_have_names_also_in_a_run_that_was_begun_before_they_had(tmp_path: Path) -> None:
    study = studied(tmp_path)
    assert study.metric_names == ["miou", "macs", "params"]
    study._storage.set_study_system_attr(study._study_id, "study:metric_names", ["values"])
    assert studied(tmp_path, 13).metric_names == ["miou", "macs", "params"]


@pytest.mark.filterwarnings("ignore:PedAnova")
def test_importances_know_every_choice_also_those_of_one_mixer_alone(tmp_path: Path) -> None:
    study = studied(tmp_path, 24, evaluate=lambda arch, *_, **__: Score(arch.stages[0].width / 100, 0.01, ""))
    found = optuna.importance.get_param_importances(study, target=loss_of)
    assert set(found) == {choice.name for choice in SPACE.choices}
    assert max(found, key=lambda name: found[name]) == "stages.0.width"
    others = optuna.importance.get_param_importances(
        study, target=loss_of, evaluator=optuna.importance.PedAnovaImportanceEvaluator(), params=[MIXER, HEADS]
    )
    assert set(others) == {MIXER, HEADS}


def test_fanova_knows_the_choices_that_every_network_makes(tmp_path: Path) -> None:
    pytest.importorskip("sklearn", reason="Optuna's fANOVA needs scikit-learn")
    evaluator = optuna.importance.FanovaImportanceEvaluator(n_trees=4, seed=0)
    found = optuna.importance.get_param_importances(studied(tmp_path), target=miou_of, evaluator=evaluator)
    assert set(found) == {choice.name for choice in SPACE.choices if choice.condition is None}


def test_pictures_can_be_drawn(tmp_path: Path) -> None:
    study, draw = studied(tmp_path), optuna.visualization
    for figure in (
        draw.plot_slice(study, target=miou_of, target_name="mIoU"),
        draw.plot_parallel_coordinate(study, target=miou_of, target_name="mIoU"),
        draw.plot_contour(study, target=miou_of, target_name="mIoU", params=["stages.0.width", MIXER]),
        draw.plot_pareto_front(study),
        draw.plot_intermediate_values(study),
    ):
        assert figure.data


def test_a_longer_training_has_the_scores_on_the_way(tmp_path: Path) -> None:
    def evaluate(arch: Architecture, seed: int, progress: object, *, rung: int, **how: Any) -> Score:
        return Score(0.1 + rung / 10, 0.01, "")

    study = studied(tmp_path, evaluate=evaluate, proxy={"iterations": [2, 6]})
    kinds = [trial.intermediate_values for trial in study.get_trials()]
    assert {2: 0.1} in kinds and {2: 0.1, 6: 0.2} in kinds
    assert all(kind in ({2: 0.1}, {2: 0.1, 6: 0.2}) for kind in kinds)


def test_constraints_are_shares_above_the_budgets(tmp_path: Path) -> None:
    study = studied(tmp_path, limits={"params": 60_000, "macs": 6_000_000})
    for trial, own in zip(study.get_trials(), read_run(tmp_path).trials, strict=True):
        assert trial.constraints == {"params": own.params / 60_000 - 1, "macs": own.macs / 6_000_000 - 1}
        assert max(trial.constraints.values()) <= 0


def test_the_iou_of_each_class_is_kept(tmp_path: Path) -> None:
    def evaluate(arch: Architecture, seed: int, progress: object, **how: Any) -> Score:
        return replace(quick(arch, seed, lambda *_: None), iou=(0.25, None, 1 / 3, 1.0))

    studied(tmp_path, 2, evaluate)
    assert {trial.iou for trial in read_run(tmp_path).trials} == {(0.25, None, 0.333333, 1.0)}


def test_a_database_tells_the_same_as_a_journal(tmp_path: Path, database: Database) -> None:
    search = opened(medium(), proxy={"iterations": [2, 6]})
    set_up(tmp_path / "database", search, 4, database)
    work(search, tmp_path / "database", Watcher(), MadeUp())
    run(tmp_path / "journal", 4, search=search)
    told = []
    for name in ("database", "journal"):
        study = open_study(tmp_path / name)
        trials = study.get_trials()
        told.append(
            [(t.params, t.distributions, t.constraints, t.intermediate_values, t.values) for t in trials]
            + [study.metric_names]
        )
    assert told[0] == told[1] and told[0][0][0]
