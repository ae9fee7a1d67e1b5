"""A run whose study is kept in PostgreSQL: shared, taken over, and while the server comes and goes."""

from __future__ import annotations

import multiprocessing
import os
import sys
import uuid
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from search_factories import Watcher, plan, propose, quality, quick, run
from throwaway_postgresql import Server

import boostformer
from boostformer.architecture import Architecture
from boostformer.errors import UserError
from evaluators.proxy import Score
from results.database import outage, without_password
from results.record import read_run
from results.storage import Database, storage_of
from search import claims
from search import outage as patience
from search.engine import work
from search.problem import Problem
from search.run_folder import join, plan_of, read_plan, set_up
from search.store import DEATHS, INTERRUPTED, KILLER, Store, Ticket
from search.strategies.base import Observation

FORK = multiprocessing.get_context("fork")


@pytest.fixture(autouse=True)
def no_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hearts beat when a test says so, and nobody waits."""
    monkeypatch.setattr(claims, "BEAT_SECONDS", 3600.0)
    monkeypatch.setattr(claims, "POLL_SECONDS", 0.01)
    monkeypatch.setattr(patience, "PAUSES", (0.01,))


@pytest.fixture
def database(server: Server) -> Database:
    return Database(server.url, uuid.uuid4().hex)


def begin(folder: Path, database: Database, trials: int, **changes: Any) -> Path:
    set_up(folder, plan(**changes), trials, [], database)
    return folder


def store(folder: Path, said: list[str] | None = None) -> Store:
    return Store(folder, plan(), problem_of_plan(), (said if said is not None else []).append)


@cache
def problem_of_plan() -> Problem:
    return plan().problem()


def claim(mine: Store) -> Ticket | None:
    strategy = mine.plan.make_strategy(mine.problem)

    def next_network(history: Sequence[Observation]) -> Architecture:
        return mine.problem.space.decode(propose(strategy, history))

    return mine.claim(next_network)


def take(mine: Store) -> Ticket:
    ticket = claim(mine)
    assert ticket is not None
    return ticket


def score(ticket: Ticket) -> Score:
    return Score(quality(ticket.architecture), 1.0, "made up")


def beats(mine: Store, count: int) -> None:
    assert isinstance(mine._claims, claims.HeartbeatClaims)
    for _ in range(count):
        mine._claims.beat()


def states(folder: Path) -> list[str]:
    return [record.failure or record.state for record in read_run(folder).records]


def test_a_database_gives_the_same_run_as_a_journal(tmp_path: Path, database: Database) -> None:
    this = plan(strategy="nsga2")
    set_up(tmp_path / "there", this, 30, [{"name": "x"}], database)
    work(this, tmp_path / "there", quick, Watcher())
    run(tmp_path / "here", 30, plan=this)
    there, here = read_run(tmp_path / "there"), read_run(tmp_path / "here")
    assert there.records == here.records and len(there.records) == 30
    assert (there.objectives, there.budgets) == (here.objectives, here.budgets)
    assert plan_of(tmp_path / "there") == this == plan_of(tmp_path / "new", database)


def test_a_folder_names_its_study_and_keeps_no_password(
    tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGPASSWORD", "")
    url = without_password(server.url.replace("postgres@", "postgres:se%2Fcret@"))
    assert "cret" not in url
    assert os.environ["PGPASSWORD"] == "se/cret"
    begin(tmp_path / "run", Database(url, "mine"), 1)
    assert "cret" not in (tmp_path / "run" / "storage.json").read_text()
    assert storage_of(tmp_path / "run") == Database(url, "mine")
    join(tmp_path / "elsewhere", Database(url, "mine"))
    assert read_plan(tmp_path / "elsewhere") == plan()
    with pytest.raises(UserError, match="is a run that is kept in study 'mine'"):
        begin(tmp_path / "run", Database(url, "other"), 1)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("sqlite:///x.db", "is not an address of the form postgresql://USER@HOST/DATABASE"),
        ("postgresql://me:secret@host", "'postgresql://me:***@host' is not an address"),
        ("postgresql://me:secret@host:port/db", "'postgresql://…@host:port/db' is not an address"),
        ("postgresql://me@host/db?password=secret", "'password' in the address would be kept"),
    ],
)
def test_other_addresses_are_refused(url: str, said: str) -> None:
    with pytest.raises(UserError) as refused:
        without_password(url)
    assert said in str(refused.value) and "secret" not in str(refused.value)


def test_a_server_that_cannot_be_used_is_one_line(
    tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UserError, match="Connection refused|could not connect|failed") as away:
        Database("postgresql://me@127.0.0.1:9/x", "s").open()
    with pytest.raises(UserError, match='database "nowhere" does not exist'):
        Database(server.url.replace("/postgres?", "/nowhere?"), "s").open()
    assert "\n" not in str(away.value)
    server.sql("CREATE DATABASE empty")
    with pytest.raises(UserError, match="holds no search yet"):
        Database(server.url.replace("/postgres?", "/empty?"), "s").open()
    begin(tmp_path / "run", Database(server.url, "known"), 1)
    with pytest.raises(UserError, match="has no study 'unknown', studies there: .*known"):
        join(tmp_path / "new", Database(server.url, "unknown"))
    assert not (tmp_path / "new").exists()
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(UserError, match=r"pip install 'boostformer\[postgresql\]'"):
        Database(server.url, "known").open()


def test_a_password_is_asked_for(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PGPASSWORD", raising=False)
    rules = server.folder / "data" / "pg_hba.conf"
    rules.write_text("local all guest scram-sha-256\n" + rules.read_text())
    server.sql("CREATE ROLE guest LOGIN PASSWORD 'right'")
    server.sql("SELECT pg_reload_conf()")
    guest = Database(server.url.replace("postgres@", "guest@"), "x")
    with pytest.raises(UserError, match="no password supplied; PGPASSWORD or ~/.pgpass has it"):
        guest.open()
    monkeypatch.setenv("PGPASSWORD", "wrong")
    with pytest.raises(UserError, match='password authentication failed for user "guest"; PGPASSWORD'):
        guest.open()


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
        work(plan(), folder, quick, Watcher())

    workers = [FORK.Process(target=run_worker, args=(tmp_path / name,)) for name in ("one", "two", "one", "two")]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    records = read_run(tmp_path / "one").records
    assert [record.state for record in records] == ["finished"] * 40
    assert len({record.id for record in records}) == 40


def test_a_refused_folder_leaves_the_study_as_it_was(tmp_path: Path, database: Database) -> None:
    run(tmp_path / "journal", 1, plan=plan())
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
        for _ in range(claims.MISSED_BEATS):
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
        beats(taker, claims.MISSED_BEATS + 1)
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
        dying._claims.__enter__()
        take(dying)
        with store(tmp_path) as other:
            beats(other, claims.MISSED_BEATS + 1)
            other.standing()
    watcher = Watcher()
    work(read_plan(tmp_path), tmp_path, quick, watcher)
    assert states(tmp_path) == [*[INTERRUPTED] * DEATHS, KILLER]
    assert watcher.messages[-1]["ended"]["failure"] == KILLER


def test_who_was_only_thought_dead_proves_that_the_job_kills_nobody(tmp_path: Path, database: Database) -> None:
    begin(tmp_path, database, 1)
    with store(tmp_path) as late:
        first = take(late)
        for _ in range(DEATHS - 1):
            with store(tmp_path) as other:
                beats(other, claims.MISSED_BEATS + 1)
                dying = store(tmp_path)
                dying._claims.__enter__()
                dying._claims._seen = other._claims._seen  # type: ignore[attr-defined,union-attr]
                take(dying)
        with store(tmp_path) as other:
            beats(other, claims.MISSED_BEATS + 1)
            last = take(other)
            assert last.deadly
            assert other.fail(last, KILLER, 0.0).failure == KILLER
        assert late.finish(first, score(first)).state == "finished"
        assert claim(late) is None and late.standing().finished == 1
    assert states(tmp_path)[-1] == "finished"


@pytest.mark.parametrize("mode", ["fast", "immediate"])
@pytest.mark.parametrize("moment", ["claim", "training", "end"])
def test_a_restart_of_the_server_is_survived(
    tmp_path: Path, database: Database, server: Server, moment: str, mode: str
) -> None:
    begin(tmp_path, database, 4)
    said: list[str] = []
    with store(tmp_path, said) as mine:
        for number in range(4):
            if moment == "claim" and number == 1:
                restart(server, mode)
            ticket = take(mine)
            if moment == "training" and number == 1:
                restart(server, mode)
            mine.scored(ticket, score(ticket))
            if moment == "end" and number == 1:
                restart(server, mode)
            mine.finish(ticket, score(ticket))
        assert claim(mine) is None
    assert states(tmp_path).count("finished") == 4
    assert len(said) == 2 and "trying again for 30 min" in said[0] and "back after" in said[1]


def restart(server: Server, mode: str) -> None:
    server.stop(mode)
    server.start()


def test_a_connection_that_breaks_after_the_commit_makes_nothing_twice(
    tmp_path: Path, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server did what was asked, but its answer was lost: of a claim, and of an end."""
    from sqlalchemy.exc import OperationalError

    begin(tmp_path, database, 3)
    with store(tmp_path) as mine:
        broken: set[str] = set()

        def breaking(name: str) -> Callable[..., Any]:
            action = getattr(mine._storage, name)

            def act(*arguments: Any, **options: Any) -> Any:
                found = action(*arguments, **options)
                if name not in broken:
                    broken.add(name)
                    raise OperationalError("", None, Exception("server closed the connection unexpectedly"))
                return found

            return act

        for name in ("create_new_trial", "set_trial_state_values"):
            monkeypatch.setattr(mine._storage, name, breaking(name))
        while (ticket := claim(mine)) is not None:
            mine.finish(ticket, score(ticket))
    assert broken == {"create_new_trial", "set_trial_state_values"}
    found = states(tmp_path)
    assert found.count("finished") == 3 and set(found) == {"finished", INTERRUPTED} and len(found) == 4


def test_a_turn_that_was_lost_creates_nothing(tmp_path: Path, database: Database, server: Server) -> None:
    begin(tmp_path, database, 2)
    with store(tmp_path) as mine:
        cuts = []

        def cut(history: Sequence[Observation]) -> Architecture:
            if not cuts:
                cuts.append(server.sql("SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory'"))
            strategy = mine.plan.make_strategy(mine.problem)
            return mine.problem.space.decode(propose(strategy, history))

        assert mine.claim(cut) is not None and cuts == ["t"]
    assert len(read_run(tmp_path).records) == 1


def test_patience_ends(tmp_path: Path, database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    from sqlalchemy.exc import OperationalError

    monkeypatch.setattr(patience, "PATIENCE_SECONDS", -1.0)

    def away() -> None:
        raise OperationalError("", None, Exception("connection refused"))

    said: list[str] = []
    with pytest.raises(UserError, match="away for .*: connection refused; what is finished is kept"):
        patience.Patience(database, said.append)(away)
    assert len(said) == 1 and outage(ValueError("no")) is None


def test_other_code_is_refused(tmp_path: Path, database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    begin(tmp_path, database, 2)
    monkeypatch.setattr(boostformer, "__version__", "9.9")
    with pytest.raises(UserError, match="runs with boostformer .*, this is 9.9"):
        store(tmp_path)
    begin(tmp_path, database, 2)  # the search itself may go on with a newer version
    store(tmp_path)
    monkeypatch.setattr("search.fingerprint.SAMPLES", 5)  # as if the same genes were other networks
    with pytest.raises(UserError, match="the networks of the space are others"):
        store(tmp_path)
    with pytest.raises(UserError, match="the networks of the space are others"):
        begin(tmp_path, database, 2)
