"""The database goes away and comes back: nothing is lost, nothing done twice."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from database_factories import begin, claim, queue, score, statuses, take
from search_factories import propose, usual
from tenacity import stop_after_attempt
from throwaway_postgresql import Server

from boostformer.errors import UserError
from results.run import read_run
from results.storage.database import outage
from results.storage.location import Database
from search.strategies import strategy_class
from search.strategies.base import Proposal
from search.strategies.history import Observation
from search.study import retry
from search.study.folder import earlier_experiment, read_experiment
from search.study.queue import Queue


@pytest.mark.parametrize("mode", ["fast", "immediate"])
@pytest.mark.parametrize("moment", ["claim", "training", "end"])
def test_a_restart_of_the_server_is_survived(
    tmp_path: Path, database: Database, server: Server, moment: str, mode: str
) -> None:
    begin(tmp_path, database, 4)
    said: list[str] = []
    with queue(tmp_path, said) as mine:
        for number in range(4):
            if moment == "claim" and number == 1:
                restart(server, mode)
            claimed = take(mine)
            if moment == "training" and number == 1:
                restart(server, mode)
            mine.scored(claimed, score(claimed))
            if moment == "end" and number == 1:
                restart(server, mode)
            mine.finish(claimed, score(claimed))
        assert claim(mine) is None
    assert statuses(tmp_path).count("finished") == 4
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
    with queue(tmp_path) as mine:
        broken: set[str] = set()

        def breaking(name: str) -> Callable[..., Any]:
            action = getattr(mine._trials.storage, name)

            def act(*arguments: Any, **options: Any) -> Any:
                found = action(*arguments, **options)
                if name not in broken:
                    broken.add(name)
                    raise OperationalError("", None, Exception("server closed the connection unexpectedly"))
                return found

            return act

        for name in ("create_new_trial", "set_trial_state_values"):
            monkeypatch.setattr(mine._trials.storage, name, breaking(name))
        while (claimed := claim(mine)) is not None:
            mine.finish(claimed, score(claimed))
    assert broken == {"create_new_trial", "set_trial_state_values"}
    assert sorted(statuses(tmp_path)) == ["finished"] * 3 + ["interrupted"]


def test_a_turn_that_was_lost_creates_nothing(tmp_path: Path, database: Database, server: Server) -> None:
    begin(tmp_path, database, 2)
    with queue(tmp_path) as mine:
        cuts = []

        def cut(history: Sequence[Observation]) -> Proposal:
            if not cuts:
                cuts.append(server.sql("SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory'"))
            strategy = strategy_class("random")(mine.problem, 3)
            return Proposal(propose(strategy, history))

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

    read = retry.Patience(database, say)
    assert read(lambda: read_experiment(tmp_path)) == earlier_experiment(tmp_path)
    server.stop("fast")
    said.clear()
    with Queue(tmp_path, usual(), say) as mine:
        assert claim(mine) is not None
    assert len(said) == 2 and "trying again" in said[0] and "back after" in said[1]


def test_patience_ends(tmp_path: Path, database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    from sqlalchemy.exc import OperationalError

    limits, tries = [], []

    def three_times(seconds: float) -> stop_after_attempt:
        limits.append(seconds)
        return stop_after_attempt(3)

    def away() -> None:
        tries.append("away")
        raise OperationalError("", None, Exception("connection refused"))

    monkeypatch.setattr("search.config.retry.stop_after_delay", three_times)
    said: list[str] = []
    with pytest.raises(UserError, match="away for 30 min: connection refused; what is finished is kept"):
        retry.Patience(database, said.append)(away)
    assert (limits, len(tries)) == ([30 * 60], 3)
    assert len(said) == 1 and "trying again for 30 min" in said[0]


def test_what_is_no_outage_is_raised_at_once(database: Database) -> None:
    assert outage(ValueError("no")) is None
    tries, said = [], []

    def broken() -> None:
        tries.append("broken")
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        retry.Patience(database, said.append)(broken)
    assert (len(tries), said) == (1, [])
