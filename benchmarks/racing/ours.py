"""The project's own strategies, exactly as a search runs them; and random search."""

from __future__ import annotations

import numpy as np

from racing.contest import Contest
from results.trial import Status
from search.strategies import strategy_class
from search.strategies.history import Observation


def run_ours(contest: Contest, name: str) -> None:
    strategy = strategy_class(name)(contest.landscape, contest.seed)
    history: list[Observation] = []
    while True:
        strategy.learn(history)
        key = strategy.propose().genes
        history.append(Observation(key, Status.FINISHED, contest.train(key)))


def run_random(contest: Contest) -> None:
    """Random networks within budget, none twice."""
    rng = np.random.default_rng(contest.seed)
    while True:
        contest.train(contest.landscape.random(rng, contest.seen))
