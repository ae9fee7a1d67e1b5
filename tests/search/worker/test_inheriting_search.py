"""Searches whose networks begin from the trained weights of others, with real trainings of a few iterations."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from search_factories import Watcher, opened, small

from boostformer.data import DataConfig, SceneCounts
from boostformer.errors import UserError
from results.run import read_run
from results.trial import Status, Trial
from search.config.opening import OpenExperiment, image_counts, open_proxy
from search.study.folder import set_up
from search.study.weights import WEIGHTS, Weights, weights_of
from search.worker.loop import work


def searched(folder: Path, trials: int, this: OpenExperiment) -> list[Trial]:
    set_up(folder, this, trials)
    watcher = Watcher()
    work(this, folder, watcher)
    return read_run(folder).trials


def inheriting(**changes: object) -> OpenExperiment:
    """Trainings of two iterations on six scenes; evolution breeds after two networks."""
    data = DataConfig(kind="scenes", size=(32, 64), scenes=SceneCounts(training=6, validation=2))
    space = small().replace(size=(32, 64), classes=8)
    values = {"strategy": "evolution", "inherit": True, "data": data, "proxy": {"batch_size": 2}} | changes
    made = opened(space, {"params": 60_000}, **values)
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
    from boostformer.training import evaluate
    from boostformer.training.threads import using

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
    from boostformer.start import LostWeights

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
