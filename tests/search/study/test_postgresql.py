"""A run whose study is kept in PostgreSQL: shared, and taken over."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

import pytest
from database_factories import beats, begin, claim, score, states, store, take
from search_factories import MadeUp, Watcher, opened, quick, run

import boostformer
from boostformer.errors import UserError
from results.run import read_run
from results.storage.location import Database
from search.study import leases
from search.study.folder import earlier_experiment, join, read_experiment, set_up
from search.study.queue import DEATHS, INTERRUPTED, KILLER
from search.worker.loop import work

FORK = multiprocessing.get_context("fork")


def test_a_database_gives_the_same_run_as_a_journal(tmp_path: Path, database: Database) -> None:
    this = opened(strategy="nsga2")
    set_up(tmp_path / "there", this, 30, [{"name": "x"}], database)
    work(this, tmp_path / "there", Watcher(), MadeUp(quick))
    run(tmp_path / "here", 30, search=this)
    there, here = read_run(tmp_path / "there"), read_run(tmp_path / "here")
    assert there.trials == here.trials and len(there.trials) == 30
    assert (there.objectives, there.budgets) == (here.objectives, here.budgets)
    assert earlier_experiment(tmp_path / "there") == this == earlier_experiment(tmp_path / "new", database)


def test_workers_claim_different_networks_and_wait_for_each_other(tmp_path: Path, database: Database) -> None:
    begin(tmp_path, database, 2)
    with store(tmp_path) as first, store(tmp_path) as second:
        one, two = take(first), take(second)
        assert one.architecture.id != two.architecture.id
        assert sorted(second.standing().owners) == sorted([first.token, second.token])
        first.finish(one, score(one))
        second.finish(two, score(two))
        assert claim(first) is None
    assert states(tmp_path) == ["finished"] * 2


def test_workers_take_turns_however_they_write_the_address(tmp_path: Path, database: Database) -> None:
    begin(tmp_path / "one", database, 40)
    other = Database(database.url.replace("@/", "@:5432/"), database.study)
    assert other.url != database.url
    join(tmp_path / "two", other)

    def run_worker(folder: Path) -> None:
        work(opened(), folder, Watcher(), MadeUp(quick))

    workers = [FORK.Process(target=run_worker, args=(tmp_path / name,)) for name in ("one", "two", "one", "two")]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    records = read_run(tmp_path / "one").trials
    assert [record.status for record in records] == ["finished"] * 40
    assert len({record.id for record in records}) == 40


def test_a_refused_folder_leaves_the_study_as_it_was(tmp_path: Path, database: Database) -> None:
    run(tmp_path / "journal", 1, search=opened())
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
    with store(tmp_path) as mine:
        ticket = take(mine)
    assert states(tmp_path) == [INTERRUPTED]
    with store(tmp_path) as mine:
        assert (again := take(mine)).job == ticket.job and again.deaths == 0


def test_only_who_does_not_beat_is_taken_over(tmp_path: Path, database: Database) -> None:
    begin(tmp_path, database, 3)
    with store(tmp_path) as quiet, store(tmp_path) as lively, store(tmp_path) as third:
        lost, kept = take(quiet), take(lively)
        for _ in range(leases.MISSED_BEATS):
            assert third.standing().interrupted == []
            beats(lively, 1)
            beats(third, 1)
        assert third.standing().interrupted == []  # a first look tells nothing yet
        beats(lively, 1)
        beats(third, 1)
        assert third.standing().interrupted == [lost.job]
        again = take(third)
        assert again.job == lost.job and again.deaths == 1 and kept.job != lost.job


@pytest.mark.parametrize("taker_is_done", [False, True])
def test_a_late_result_is_kept_unless_the_job_is_done(tmp_path: Path, database: Database, taker_is_done: bool) -> None:
    """Whoever was thought dead and is not: of one job there is one finished trial, never two, never none."""
    begin(tmp_path, database, 1)
    said: list[str] = []
    with store(tmp_path, said) as late, store(tmp_path, said) as taker:
        first = take(late)
        beats(taker, leases.MISSED_BEATS + 1)
        second = take(taker)
        assert second.job == first.job
        if taker_is_done:
            taker.finish(second, score(second))
        found = late.finish(first, score(first))
        assert (found.failure == INTERRUPTED) == taker_is_done
        if not taker_is_done:
            assert taker.finish(second, score(second)).failure == INTERRUPTED
        assert claim(late) is None and claim(taker) is None
    assert sorted(states(tmp_path)) == ["finished", *[INTERRUPTED] * (1 if taker_is_done else 2)]
    assert [line for line in said if "was taken over" in line and ("dropped" in line or "kept" in line)]


def test_a_job_that_kills_its_workers_fails_in_the_end(tmp_path: Path, database: Database) -> None:
    begin(tmp_path, database, 1)
    for _ in range(DEATHS):
        dying = store(tmp_path)
        dying._leases.__enter__()
        take(dying)
        with store(tmp_path) as other:
            beats(other, leases.MISSED_BEATS + 1)
            other.standing()
    watcher = Watcher()
    work(read_experiment(tmp_path), tmp_path, quick, watcher)
    assert states(tmp_path) == [*[INTERRUPTED] * DEATHS, KILLER]
    assert watcher.messages[-1]["ended"]["failure"] == KILLER


def test_who_was_only_thought_dead_proves_that_the_job_kills_nobody(tmp_path: Path, database: Database) -> None:
    begin(tmp_path, database, 1)
    with store(tmp_path) as late:
        first = take(late)
        for _ in range(DEATHS - 1):
            with store(tmp_path) as other:
                beats(other, leases.MISSED_BEATS + 1)
                dying = store(tmp_path)
                dying._leases.__enter__()
                dying._leases._seen = other._leases._seen  # type: ignore[attr-defined,union-attr]
                take(dying)
        with store(tmp_path) as other:
            beats(other, leases.MISSED_BEATS + 1)
            last = take(other)
            assert last.deadly
            assert other.fail(last, KILLER, 0.0).failure == KILLER
        assert late.finish(first, score(first)).state == "finished"
        assert claim(late) is None and late.standing().finished == 1
    assert states(tmp_path)[-1] == "finished"


def test_other_code_is_refused(tmp_path: Path, database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    begin(tmp_path, database, 2)
    monkeypatch.setattr(boostformer, "__version__", "9.9")
    with pytest.raises(UserError, match="runs with boostformer .*, this is 9.9"):
        store(tmp_path)
    begin(tmp_path, database, 2)  # the search itself may go on with a newer version
    store(tmp_path)
    monkeypatch.setattr("search.study.fingerprint.SAMPLES", 5)  # as if the same genes were other networks
    with pytest.raises(UserError, match="the networks of the space are others"):
        store(tmp_path)
    with pytest.raises(UserError, match="the networks of the space are others"):
        begin(tmp_path, database, 2)
