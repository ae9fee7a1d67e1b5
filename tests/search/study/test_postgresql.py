"""A run whose study is kept in PostgreSQL: shared, and taken over."""

from __future__ import annotations

import multiprocessing
from dataclasses import replace
from pathlib import Path

import optuna
import pytest
from database_factories import beats, begin, claim, queue, score, statuses, take
from search_factories import MadeUp, Watcher, opened, quick, run, usual
from throwaway_postgresql import Server

import boostformer
from boostformer.errors import UserError
from results.run import read_run
from results.storage.location import Database
from results.trial import Status
from search.study import leases
from search.study.claim import DEATHS, KILLER
from search.study.folder import earlier_experiment, join, set_up
from search.worker.loop import work

FORK = multiprocessing.get_context("fork")


def test_a_database_gives_the_same_run_as_a_journal(tmp_path: Path, database: Database) -> None:
    this = opened(strategy="nsga2")
    set_up(tmp_path / "there", this, 30, database)
    work(this, tmp_path / "there", Watcher(), MadeUp(quick))
    run(tmp_path / "here", 30, search=this)
    there, here = read_run(tmp_path / "there"), read_run(tmp_path / "here")
    assert [replace(trial, owner="") for trial in there.trials] == [replace(trial, owner="") for trial in here.trials]
    assert len(there.trials) == 30
    assert replace(there, trials=[]) == replace(here, trials=[])
    found = earlier_experiment(tmp_path / "there")
    assert found == this.experiment == earlier_experiment(tmp_path / "new", database)


def test_workers_claim_different_networks_and_wait_for_each_other(tmp_path: Path, database: Database) -> None:
    begin(tmp_path, database, 2)
    with queue(tmp_path) as first, queue(tmp_path) as second:
        one, two = take(first), take(second)
        assert one.architecture.id != two.architecture.id
        assert sorted(second.standing().owners) == sorted([first.token, second.token])
        first.finish(one, score(one))
        second.finish(two, score(two))
        assert claim(first) is None
    assert statuses(tmp_path) == ["finished"] * 2


def test_nobody_ends_the_search_of_others_by_asking_for_fewer(
    tmp_path: Path, database: Database, server: Server
) -> None:
    begin(tmp_path, database, 9)
    with queue(tmp_path) as mine:
        take(mine)
        beats(mine, 1)
        with pytest.raises(UserError, match=r"is being searched for 9 networks \(workers: 1\), which --trials 2 would"):
            begin(tmp_path, database, 2)
        running = read_run(tmp_path).trials
        assert leases.left_behind(database, tmp_path, running) == set()
        server.sql("UPDATE trial_heartbeats SET heartbeat = heartbeat - INTERVAL '1 day'")
        assert leases.left_behind(database, tmp_path, running) == {0}
        begin(tmp_path, database, 10)
    begin(tmp_path, database, 2)


def test_a_study_of_another_program_is_left_alone(tmp_path: Path, database: Database) -> None:
    theirs = optuna.create_study(storage=database.open(create=True), study_name=database.study)
    theirs.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=1)
    with pytest.raises(UserError, match="an Optuna study of another program; choose another --out"):
        begin(tmp_path, database, 2)
    assert theirs.user_attrs == {}


def test_workers_take_turns_however_they_write_the_address(tmp_path: Path, database: Database) -> None:
    begin(tmp_path / "one", database, 40)
    other = Database(database.url.replace("@/", "@:5432/"), database.study)
    assert other.url != database.url
    join(tmp_path / "two", other)

    def run_worker(folder: Path) -> None:
        work(usual(), folder, Watcher(), MadeUp(quick))

    workers = [FORK.Process(target=run_worker, args=(tmp_path / name,)) for name in ("one", "two", "one", "two")]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    trials = read_run(tmp_path / "one").trials
    assert [trial.status for trial in trials] == ["finished"] * 40
    assert len({trial.id for trial in trials}) == 40


def test_a_refused_folder_leaves_the_study_as_it_was(tmp_path: Path, database: Database) -> None:
    run(tmp_path / "journal", 1, search=usual())
    begin(tmp_path / "run", database, 50)
    with pytest.raises(UserError, match="is a run that is kept in"):
        begin(tmp_path / "journal", database, 3)
    storage = database.open()
    assert storage.get_study_user_attrs(database.study_id(storage))["trials"] == 50
    with pytest.raises(UserError, match="is a run that is kept in"):
        begin(tmp_path / "journal", Database(database.url, database.study + "-new"), 3)
    with pytest.raises(UserError, match="has no study"):
        Database(database.url, database.study + "-new").study_id(storage)


def test_what_a_worker_leaves_is_given_back(tmp_path: Path, database: Database) -> None:
    begin(tmp_path, database, 3)
    with queue(tmp_path) as mine:
        claimed = take(mine)
    assert statuses(tmp_path) == ["interrupted"]
    with queue(tmp_path) as mine:
        assert (again := take(mine)).key == claimed.key and again.deaths == 0


def test_only_who_does_not_beat_is_taken_over(tmp_path: Path, database: Database) -> None:
    begin(tmp_path, database, 3)
    with queue(tmp_path) as quiet, queue(tmp_path) as lively, queue(tmp_path) as third:
        lost, kept = take(quiet), take(lively)
        for _ in range(leases.MISSED_BEATS):
            assert third.standing().interrupted == []
            beats(lively, 1)
            beats(third, 1)
        assert third.standing().interrupted == []  # a first look tells nothing yet
        beats(lively, 1)
        beats(third, 1)
        assert third.standing().interrupted == [lost.key]
        again = take(third)
        assert again.key == lost.key and again.deaths == 1 and kept.key != lost.key


@pytest.mark.parametrize("taker_is_done", [False, True])
def test_a_late_result_is_kept_unless_the_training_is_done(
    tmp_path: Path, database: Database, taker_is_done: bool
) -> None:
    """Whoever was thought dead and is not: of one training there is one finished trial, never two, never none."""
    begin(tmp_path, database, 1)
    said: list[str] = []
    with queue(tmp_path, said) as late, queue(tmp_path, said) as taker:
        first = take(late)
        beats(taker, leases.MISSED_BEATS + 1)
        second = take(taker)
        assert second.key == first.key
        if taker_is_done:
            taker.finish(second, score(second))
        found = late.finish(first, score(first))
        assert (found.status is Status.INTERRUPTED) == taker_is_done
        if not taker_is_done:
            assert taker.finish(second, score(second)).status is Status.INTERRUPTED
        assert claim(late) is None and claim(taker) is None
    assert sorted(statuses(tmp_path)) == ["finished", *["interrupted"] * (1 if taker_is_done else 2)]
    assert [line for line in said if "was taken over" in line and ("dropped" in line or "kept" in line)]


def test_a_training_that_kills_its_workers_fails_in_the_end(tmp_path: Path, database: Database) -> None:
    begin(tmp_path, database, 1)
    for _ in range(DEATHS):
        dying = queue(tmp_path)
        dying._leases.__enter__()
        take(dying)
        with queue(tmp_path) as other:
            beats(other, leases.MISSED_BEATS + 1)
            other.standing()
    watcher = Watcher()
    work(usual(), tmp_path, watcher, MadeUp(quick))
    assert statuses(tmp_path) == [*["interrupted"] * DEATHS, "failed"]
    assert read_run(tmp_path).trials[-1].reason == KILLER
    told, *_ = watcher.messages[-1]["ended"]
    assert f"failed: {KILLER}" in told


def test_who_was_only_thought_dead_proves_that_the_training_kills_nobody(tmp_path: Path, database: Database) -> None:
    begin(tmp_path, database, 1)
    with queue(tmp_path) as late:
        first = take(late)
        for _ in range(DEATHS - 1):
            with queue(tmp_path) as other:
                beats(other, leases.MISSED_BEATS + 1)
                dying = queue(tmp_path)
                dying._leases.__enter__()
                dying._leases._seen = other._leases._seen  # type: ignore[attr-defined,union-attr]
                take(dying)
        with queue(tmp_path) as other:
            beats(other, leases.MISSED_BEATS + 1)
            last = take(other)
            assert last.is_deadly
            assert other.fail(last, KILLER, 0.0).reason == KILLER
        assert late.finish(first, score(first)).is_finished
        assert claim(late) is None and late.standing().finished == 1
    assert statuses(tmp_path)[-1] == "finished"


def test_other_code_is_refused(tmp_path: Path, database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    begin(tmp_path, database, 2)
    monkeypatch.setattr(boostformer, "__version__", "9.9")
    with pytest.raises(UserError, match="runs with boostformer .*, this is 9.9"):
        queue(tmp_path)
    begin(tmp_path, database, 2)  # the search itself may go on with a newer version
    queue(tmp_path)
    monkeypatch.setattr("search.study.fingerprint.SAMPLES", 5)  # as if the same genes were other networks
    with pytest.raises(UserError, match="the networks of the space are others"):
        queue(tmp_path)
    with pytest.raises(UserError, match="the networks of the space are others"):
        begin(tmp_path, database, 2)
