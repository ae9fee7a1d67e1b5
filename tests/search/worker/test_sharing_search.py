"""Two machines with a database and a place for weights and states, and no run's folder, in common."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from database_factories import statuses
from search_factories import Watcher
from test_inheriting_search import inheriting

from boostformer.errors import UserError
from results.run import read_run
from results.storage.location import Database
from search.study.folder import join, set_up
from search.study.stores import named_by_user
from search.study.weights import Weights
from search.worker.loop import work


class Stops(Watcher):
    """Ctrl-C at this step of the second training."""

    def step(self, done: int, total: int, loss: float) -> None:
        super().step(done, total, loss)
        if done == 3 and len(self.messages) and self.begun == 2:
            raise KeyboardInterrupt

    begun = 0

    def trial(self, *told: object) -> None:
        super().trial(*told)  # type: ignore[arg-type]
        self.begun += 1


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("search.strategies.evolution.Evolution.startup", 1)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home"))


@pytest.mark.slow
def test_who_takes_over_goes_on_from_the_others_state_and_parent(tmp_path: Path, database: Database) -> None:
    this = inheriting(proxy={"batch_size": 2, "iterations": 6, "save_every": 1})
    place = named_by_user(str(tmp_path / "share"))
    set_up(tmp_path / "one", this, 3, database, files=place)
    with pytest.raises(KeyboardInterrupt):
        work(this, tmp_path / "one", Stops())
    assert statuses(tmp_path / "one") == ["finished", "interrupted"]
    shutil.rmtree(tmp_path / "one")  # the machine is gone
    with pytest.raises(UserError, match=f"keeps weights and states in .*{place}.*: name it with --files"):
        join(tmp_path / "two", database)
    join(tmp_path / "two", database, place)
    work(this, tmp_path / "two", Watcher())
    trials = read_run(tmp_path / "two").trials
    assert [str(trial.status) for trial in trials] == ["finished", "interrupted", "finished", "finished"]
    assert "carried on from 3" in trials[2].provenance and trials[2].parent == trials[1].parent
    assert trials[2].parent is not None and trials[2].parent.weights == trials[0].weights
    assert trials[0].weights in Weights.of(tmp_path / "two")
    assert not list((tmp_path / "share" / "checkpoints").iterdir())
