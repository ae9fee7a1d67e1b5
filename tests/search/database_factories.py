"""Runs kept in PostgreSQL, and their claims, step by step."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from search_factories import opened, propose, quality, usual

from results.run import read_run
from results.storage.location import Database
from search.strategies import strategy_class
from search.strategies.base import Proposal
from search.strategies.history import Observation
from search.study import leases
from search.study.claim import Claim
from search.study.folder import set_up
from search.study.queue import Queue
from search.study.state import Scored


def begin(folder: Path, database: Database, trials: int, **changes: Any) -> Path:
    set_up(folder, opened(**changes) if changes else usual(), trials, database)
    return folder


def queue(folder: Path, said: list[str] | None = None) -> Queue:
    return Queue(folder, usual(), (said if said is not None else []).append)


def claim(mine: Queue) -> Claim | None:
    search = mine.experiment.search
    strategy = strategy_class(search.strategy)(mine.problem, search.seed)

    def next_network(history: Sequence[Observation]) -> Proposal:
        return Proposal(propose(strategy, history))

    return mine.claim(next_network)


def take(mine: Queue) -> Claim:
    claimed = claim(mine)
    assert claimed is not None
    return claimed


def score(claimed: Claim) -> Scored:
    return Scored(quality(claimed.architecture), 1.0, "made up")


def beats(mine: Queue, count: int) -> None:
    assert isinstance(mine._leases, leases.HeartbeatLeases)
    for _ in range(count):
        mine._leases.beat()


def statuses(folder: Path) -> list[str]:
    return [str(trial.status) for trial in read_run(folder).trials]
