"""Runs kept in PostgreSQL, and their claims, step by step."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from search_factories import plan, propose, quality

from boostformer.architecture import Architecture
from evaluators.proxy import Score
from results.schema import read_run
from results.storage.location import Database
from search.config.problem import Problem
from search.strategies.base import Observation
from search.study import leases as claims
from search.study.folder import set_up
from search.study.queue import Store, Ticket


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
