"""Searches whose networks begin from the trained weights of others, with real trainings of a few iterations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from search_factories import Watcher, opened, small, table

from boostformer.data import DataConfig, SceneCounts
from boostformer.errors import UserError
from boostformer.model import BoostFormer
from boostformer.start import LostWeights, read_trained
from boostformer.training import evaluate
from boostformer.training.threads import using
from results.run import read_run
from results.trial import START, Parent, Status, Trial
from search.cli.announce import announcement
from search.config.experiment import Start
from search.config.opening import OpenExperiment, image_counts, open_proxy
from search.study.folder import set_up
from search.study.queue import Queue
from search.study.weights import WEIGHTS, Weights, weights_of
from search.worker.loop import work


def searched(folder: Path, trials: int, this: OpenExperiment) -> list[Trial]:
    set_up(folder, this, trials)
    watcher = Watcher()
    work(this, folder, watcher)
    return read_run(folder).trials


def inheriting(**changes: Any) -> OpenExperiment:
    """Trainings of two iterations on six scenes; evolution breeds after two networks."""
    data = DataConfig(kind="scenes", size=(32, 64), scenes=SceneCounts(training=6, validation=2))
    space = small().replace(size=(32, 64), classes=8)
    values: dict[str, Any] = {
        "strategy": "evolution",
        "inherit": True,
        "data": data,
        "proxy": {"batch_size": 2},
    } | changes
    made = opened(space, values.pop("limits", {"params": 60_000}), **values)
    proxy = open_proxy(made.experiment)
    facts = {"labels": tuple(proxy.labels), "images": image_counts(proxy), "content": proxy.content}
    return OpenExperiment(made.experiment.model_copy(update=facts), proxy=proxy)


@pytest.fixture(autouse=True)
def breeding_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("search.strategies.evolution.Evolution.startup", 2)


def test_networks_begin_from_one_another_and_the_same_search_finds_the_same(tmp_path: Path) -> None:
    trials = searched(tmp_path / "one", 6, inheriting())
    assert [trial.status for trial in trials] == [Status.FINISHED] * 6
    by_id = {trial.id: trial for trial in trials}
    assert [trial.parent is None for trial in trials] == [True] * 2 + [False] * 4
    for trial in trials[2:]:
        assert trial.parent is not None
        parent = by_id[trial.parent.id]
        assert parent.number < trial.number
        assert (trial.parent.weights, trial.parent.behind) == (parent.weights, parent.behind)
        assert trial.behind == parent.behind + 2
        assert f"inherited from {parent.id} (" in trial.provenance
    assert {trial.behind for trial in trials} > {2, 4}
    again = searched(tmp_path / "two", 6, inheriting())
    assert [(t.id, t.miou, t.parent, t.weights) for t in again] == [(t.id, t.miou, t.parent, t.weights) for t in trials]


def test_the_weights_of_a_trial_are_those_it_was_scored_with(tmp_path: Path) -> None:
    this = inheriting()
    trial = searched(tmp_path, 3, this)[-1]
    found = weights_of(tmp_path, trial)
    model = this.proxy.network(found.architecture, this.proxy.recipes[0])
    model.load_state_dict(found.weights)
    with using(1):
        assert evaluate(model, this.proxy.validation, size=(32, 64)).miou == trial.miou
    assert found.labels == this.proxy.labels
    Weights.of(tmp_path).remove(found.digest)
    with pytest.raises(UserError, match="trial 2: its weights .* are gone"):
        weights_of(tmp_path, trial)


def test_a_search_from_scratch_keeps_no_weights(tmp_path: Path) -> None:
    trials = searched(tmp_path, 3, inheriting(inherit=False))
    assert not (tmp_path / WEIGHTS).exists()
    assert all(trial.parent is None and trial.weights is None for trial in trials)
    with pytest.raises(UserError, match="inherit: always"):
        weights_of(tmp_path, trials[0])


def test_stored_weights_are_verified_when_they_are_read(tmp_path: Path) -> None:
    store = Weights.of(tmp_path)
    digest = store.keep({"a": torch.ones(3)})
    assert torch.equal(store.read(digest)["a"], torch.ones(3)) and store.digests() == {digest}
    [file] = (tmp_path / WEIGHTS).iterdir()
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    with pytest.raises(LostWeights, match="damaged"):
        store.read(digest)
    assert digest not in store
    with pytest.raises(LostWeights, match="gone"):
        store.read(digest)


def test_a_search_begins_with_its_start_and_walks_into_the_budgets(tmp_path: Path) -> None:
    """The largest network of the space is given; what is tried first is near it, and begins from it."""
    space = small().replace(size=(32, 64), classes=8)
    largest = max(space, key=lambda arch: table().cost(arch).params)
    BoostFormer(largest).save_pretrained(tmp_path / "net")
    trained = read_trained(tmp_path / "net")
    start = Start(place=str(tmp_path / "net"), weights=trained.digest, architecture=largest.to_dict())
    limits = {"params": int(0.9 * table().cost(largest).params)}
    this = inheriting(start=start, limits=limits, strategy="surrogate")
    trials = searched(tmp_path / "run", 4, this)
    assert trials[0].parent == Parent(START, trained.digest, 0)
    assert "inherited from start (" in trials[0].provenance
    assert {trial.parent.id for trial in trials if trial.parent} <= {START, *(trial.id for trial in trials)}
    assert all(trial.parent is not None and trial.params <= limits["params"] for trial in trials)
    line = announcement(this, Queue(tmp_path / "run", this).standing())
    assert "start from" in line and "MB each" in line
