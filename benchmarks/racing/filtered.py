"""Our filter around a peer's sampler: a network over budget or trained before is refused and costs no training."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from racing.contest import Contest
from search.strategies.base import PATIENCE
from search.strategies.history import Key


class Sampler(Protocol):
    """A peer that is asked and told, one candidate at a time."""

    def ask(self) -> Key:
        """The next candidate, which may be any network of the space."""

    def tell(self, key: Key, miou: float | None) -> None:
        """What became of the candidate just asked for; None if it is over budget."""

    def add(self, key: Key, miou: float) -> None:
        """The result of a network that was not asked for."""


def run_filtered(contest: Contest, sampler: Sampler) -> None:
    """Races a sampler. A repeat is answered with its known value.

    After :data:`PATIENCE` refusals in a row a random network within budget is trained.
    """
    rng = np.random.default_rng(contest.seed)
    while True:
        for _ in range(PATIENCE):
            key = sampler.ask()
            fits = contest.excess(key) <= 0
            new = fits and key not in contest.seen
            sampler.tell(key, contest.train(key) if fits else None)
            if new:
                break
        else:
            key = contest.landscape.random(rng, contest.seen)
            sampler.add(key, contest.train(key))
