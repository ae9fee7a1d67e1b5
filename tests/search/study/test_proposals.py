"""What people enqueue or add through Optuna's own interface is taken as a proposal."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution
from search_factories import opened, quality, run, small, usual

from boostformer.architecture import Architecture
from results.run import open_study, read_run
from results.trial import Trial
from search.study.folder import set_up
from search.study.proposals import Proposals

SPACE = small()
ALL = {
    "stages.0.width": 16,
    "stages.1.ffn.mix_ffn.ratio": 4,
    "stages.3.depth": 2,
    "stages.3.mixer": "mhsa",
    "stages.3.mixer.mhsa.heads": 2,
}
"""The network of the small space with these values, all that there is to choose."""


def tried(folder: Path, trials: int = 2) -> list[Trial]:
    run(folder, trials, search=opened(SPACE))
    return read_run(folder).trials


@pytest.fixture
def study(tmp_path: Path) -> optuna.Study:
    set_up(tmp_path, opened(SPACE), 2)
    return open_study(tmp_path)


def test_the_choices_are_all_there_are() -> None:
    assert {choice.name for choice in SPACE.choices} == set(ALL)


def test_an_enqueued_network_is_tried_first_and_once(tmp_path: Path, study: optuna.Study) -> None:
    study.enqueue_trial(ALL)
    study.enqueue_trial(ALL)
    first, *others = tried(tmp_path, 6)
    arch = Architecture.from_dict(first.architecture)
    assert (arch.stages[0].width, arch.stages[3].depth, arch.stages[3].mixer.name) == (16, 2, "mhsa")
    assert first.miou == quality(arch) and first.number == 2
    assert len(others) == 5 and first.id not in {trial.id for trial in others}


def test_what_a_proposal_leaves_open_is_drawn_alike_in_every_process(tmp_path: Path, study: optuna.Study) -> None:
    study.enqueue_trial({"stages.3.mixer.mhsa.heads": 1})  # which says what the mixer is
    stored = study.get_trials(deepcopy=False)
    one, other = (Proposals(opened(SPACE).problem, print).next(stored, ()) for _ in range(2))
    assert one is not None and one == other
    assert one.stages[3].mixer.name == "mhsa" and ("heads", 1) in one.stages[3].mixer.options
    assert tried(tmp_path, 1)[0].id == one.id
    assert len({trial.id for trial in tried(tmp_path, 24)}) == 24


def test_a_trial_that_was_added_with_a_score_of_its_own_is_trained_here(tmp_path: Path, study: optuna.Study) -> None:
    distributions = {name: CategoricalDistribution([value, "none"]) for name, value in ALL.items()}
    theirs = optuna.trial.create_trial(values=[0.99, 1.0, 1.0], params=ALL, distributions=distributions)
    study.add_trial(theirs)
    first = tried(tmp_path)[0]
    assert Architecture.from_dict(first.architecture).stages[3].mixer.name == "mhsa"
    assert first.miou != 0.99


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"stages.0.widht": 16}, "'stages.0.widht' is no choice of the space; did you mean 'stages.0.width'?"),
        ({"stages.0.width": 17}, "stages.0.width is 17; "),
        ({"stages.0.width": True}, "stages.0.width is true; "),
        ({"stages.3.mixer": "pooling", "stages.3.mixer.mhsa.heads": 2}, "is of another block than stages.3.mixer asks"),
    ],
)
def test_what_is_no_network_is_passed_over_and_said(
    tmp_path: Path, study: optuna.Study, asked: dict[str, Any], said: str
) -> None:
    study.enqueue_trial(asked)
    watcher = run(tmp_path, 2, search=opened(SPACE))
    told = [message["says"] for message in watcher.messages if "says" in message]
    assert len(told) == 1 and said in told[0] and told[0].startswith("the proposal in trial 0 is passed over: ")
    assert len(read_run(tmp_path).trials) == 2


def test_a_network_over_budget_is_passed_over(tmp_path: Path) -> None:
    tight = opened(SPACE, {"params": 12_000})
    set_up(tmp_path, tight, 2)
    open_study(tmp_path).enqueue_trial(ALL)
    watcher = run(tmp_path, 2, search=tight)
    assert any("no such network was found within the budgets" in str(message) for message in watcher.messages)
    assert all(trial.feasible for trial in read_run(tmp_path).trials)


def test_trials_of_another_kind_are_no_harm(tmp_path: Path) -> None:
    set_up(tmp_path, usual(), 2)
    study = open_study(tmp_path)
    study.ask()
    study.add_trial(
        optuna.trial.create_trial(values=[0.5, 1, 1], params={"x": 1.0}, distributions={"x": FloatDistribution(0, 2)})
    )
    run(tmp_path, 2, search=usual())
    assert [trial.is_finished for trial in read_run(tmp_path).trials] == [True, True]
