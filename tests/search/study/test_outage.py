"""The database goes away and comes back: nothing is lost, nothing done twice."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from database_factories import begin, claim, problem_of_plan, score, states, store, take
from search_factories import opened, propose
from throwaway_postgresql import Server

from boostformer.architecture import Architecture
from boostformer.errors import UserError
from results.run import read_run
from results.storage.database import outage
from results.storage.location import Database
from search.strategies.base import Observation
from search.study import retry as patience
from search.study.folder import earlier_experiment, read_experiment
from search.study.queue import INTERRUPTED, Queue


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
    assert len(read_run(tmp_path).trials) == 1


def test_who_only_reads_is_told(tmp_path: Path, database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """It goes away between the connection and the question."""
    from optuna.exceptions import StorageInternalError
    from optuna.storages import RDBStorage
    from sqlalchemy.exc import OperationalError

    begin(tmp_path, database, 2)

    def away(*arguments: object) -> None:
        raise StorageInternalError("") from OperationalError("", None, Exception("server closed the connection"))

    monkeypatch.setattr(RDBStorage, "get_study_user_attrs", away)
    for read in (read_run, read_experiment, earlier_experiment):
        with pytest.raises(UserError, match=r"^postgresql://.*: server closed the connection$"):
            read(tmp_path)


def test_who_begins_while_it_is_away_waits(tmp_path: Path, database: Database, server: Server) -> None:
    begin(tmp_path, database, 2)
    server.stop("fast")
    said: list[str] = []

    def say(line: str) -> None:
        said.append(line)
        if len(said) == 1:
            server.start()

    read = patience.Patience(database, say)
    assert read(lambda: read_experiment(tmp_path)) == earlier_experiment(tmp_path)
    server.stop("fast")
    said.clear()
    with Queue(tmp_path, opened(), problem_of_plan(), say) as mine:
        assert claim(mine) is not None
    assert len(said) == 2 and "trying again" in said[0] and "back after" in said[1]


def test_patience_ends(tmp_path: Path, database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    from sqlalchemy.exc import OperationalError

    monkeypatch.setattr(patience, "PATIENCE_SECONDS", -1.0)

    def away() -> None:
        raise OperationalError("", None, Exception("connection refused"))

    said: list[str] = []
    with pytest.raises(UserError, match="away for .*: connection refused; what is finished is kept"):
        patience.Patience(database, said.append)(away)
    assert len(said) == 1 and outage(ValueError("no")) is None
