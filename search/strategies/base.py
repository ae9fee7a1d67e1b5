"""The interface of strategies, and what they share: proposals within budget, and none twice."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import ClassVar

import numpy as np

from boostformer.architecture import Architecture
from search.problem import Observation, Problem

PATIENCE = 20
"""Guesses in a row that may be refused before a random network is taken."""


class Strategy(ABC):
    """Proposes networks. Has no state: a proposal follows from (seed, history) alone.

    So any process can make the next proposal, and a search that was killed goes on as if it had not been.
    A subclass only guesses; whatever is over budget, or known already, is refused here at no cost.
    """

    startup: ClassVar[int] = 10
    """So many networks are drawn at random first."""

    def __init__(self, problem: Problem, seed: int) -> None:
        self.problem, self.seed = problem, seed

    def propose(self, history: Sequence[Observation]) -> Architecture:
        """A network of the space, within budget and not in ``history``; raises :class:`Exhausted`.

        ``history`` holds every architecture tried so far once, in the order of their first trial,
        including failed ones and those that are being trained anywhere.
        """
        rng = np.random.default_rng([self.seed, len(history)])
        known = {observation.architecture.id for observation in history}
        if len(history) >= self.startup:
            for arch in islice(self.guesses(history, rng), PATIENCE):
                if arch.id not in known and self.problem.fits(arch):
                    return arch
        return self.problem.random(rng, known)

    @abstractmethod
    def guesses(self, history: Sequence[Observation], rng: np.random.Generator) -> Iterator[Architecture]:
        """Networks to try. The next one is asked for only when the last was refused."""
