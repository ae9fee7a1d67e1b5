"""The interface of strategies: proposals within the budgets, and none twice.

A strategy sees genes and costs, never a network, so that the code that searches a space of networks is the code that is
compared with others on tables (``benchmarks/race.py``).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from results.trial import START
from search.strategies.history import Candidates, History, Key, Observation, ParentKey
from search.strategies.ranking import best_first
from search.strategies.walk import near
from search_space.genes import Genes, keys
from search_space.nearness import apart, distances

PATIENCE = 20
"""The number of guesses in a row that may be refused before a newcomer is taken, near the start or random."""
BEST, YOUNGEST = 30, 20
"""Of the networks that others can begin from, so many of the best and of the youngest are parents."""
NEWCOMERS = 20
"""Networks near the start that stand for newcomers from all over the space; each takes some milliseconds."""

_STARTS_SCORE = 0.5
"""Stands for the score of the start, which is not known."""

_Rows = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Inheritance:
    """Networks begin from trained weights: the first ones from ``start``'s, if the search has one."""

    start: Key | None = None


@dataclass(frozen=True, slots=True)
class Proposal:
    """A network to try, what its training begins from, and the networks that may yet be a parent after it."""

    genes: Key
    parent: ParentKey = None
    parents: frozenset[Key] = frozenset()


class Strategy(ABC):
    """Proposes networks, from the seed and the history alone.

    So any process can make the next proposal, and a search that was killed goes on as if it had not been. A subclass
    only guesses; networks over budget or known already are refused here, which costs nothing.

    Where networks inherit, each begins from the network most like it among the parents. The first ones are the start,
    if there is one, and networks near it, as are newcomers later on; else random ones with random weights.
    """

    startup: ClassVar[int] = 10
    """The number of networks that are drawn at random first."""

    def __init__(self, candidates: Candidates, seed: int, inheritance: Inheritance | None = None) -> None:
        """Begin with an empty history; without ``inheritance`` every network has random weights at first."""
        self.candidates, self.seed, self.inheritance = candidates, seed, inheritance
        self.start = None if inheritance is None else inheritance.start
        self.history = History(candidates)

    def learn(self, history: Sequence[Observation]) -> None:
        """Take over the whole history: every network that was tried, once, in the order of their first trials.

        Failed ones and those in training are among them. What did not change costs next to nothing.
        """
        self.history.learn(history)

    def propose(self) -> Proposal:
        """Propose a network within the budgets that is not in the history; raises :class:`Exhausted`."""
        key = self._network(np.random.default_rng([self.seed, len(self.history)]))
        if self.inheritance is None:
            return Proposal(key)
        breeding = self.breeding()
        [row] = self.parents_of(np.array([key], dtype=np.int16).reshape(1, -1), breeding)
        parent: ParentKey = None
        if row >= 0:
            parent = self.history.observations[row].genes
        elif self.start is not None:
            parent = START
        return Proposal(key, parent, frozenset(keys(self.history.genes[breeding])))

    def _network(self, rng: np.random.Generator) -> Key:
        guesses: Iterator[Key] = iter(())
        if len(self.history) >= self.startup:
            guesses = islice(self.guesses(rng), PATIENCE)
        if self.start is not None:
            guesses = chain(guesses, islice(near(self.candidates, self.start, rng), PATIENCE))
        for key in guesses:
            if key not in self.history.known and self.candidates.fits(key):
                return key
        return self.candidates.random(rng, self.history.known)

    def newcomers(self, rng: np.random.Generator, count: int) -> Genes:
        """Draw networks (P, G) that follow from none of the history: ``count`` at random, or a few near the start."""
        if self.start is None:
            return self.candidates.genes.sample(rng, count)
        return np.array(list(islice(near(self.candidates, self.start, rng), NEWCOMERS)), dtype=np.int16)

    @abstractmethod
    def guesses(self, rng: np.random.Generator) -> Iterator[Key]:
        """Yield networks to try. The next one is asked for only when the last was refused."""

    # Inheritance

    def breeding(self) -> _Rows:
        """Indices of the networks that may be parents, in rising order: the best, and the youngest for their chance."""
        heritable = self.history.heritable
        best = heritable[best_first(self.history.values(heritable), BEST)]
        return np.union1d(best, heritable[-YOUNGEST:]).astype(np.int64)

    def parents_of(self, genes: Genes, breeding: _Rows) -> _Rows:
        """Choose for networks (P, G) the parent most like each (P,), of several the best, then the youngest.

        Begun from random weights are the first networks of a search without a start.

        Args:
            genes: of the networks.
            breeding: indices of the possible parents.

        Returns:
            Indices; -1 stands for the start, or for random weights where there is none.
        """
        rows = breeding[np.lexsort((-breeding, -self.history.miou[breeding]))]
        if self.start is None and len(self.history) < self.startup:
            rows = rows[:0]
        unlike = distances(self.candidates.genes, genes, self.history.genes[rows])
        if self.start is not None:  # last: where another is as near, its training went on from there
            begin = np.array([self.start], dtype=np.int16).reshape(1, -1)
            unlike = np.hstack([unlike, distances(self.candidates.genes, genes, begin)])
        if not unlike.shape[1]:
            return np.full(len(genes), -1)
        return np.append(rows, -1)[unlike.argmin(axis=1)]

    def ancestry(self, genes: Genes, rows: _Rows) -> NDArray[np.float64]:
        """Describe what networks (P, G) begin from -> (P, 3): iterations behind it, what has changed, its score.

        All three are about standard normal. Random weights have nothing behind them, all changed, and a score of 0.

        Args:
            genes: of the networks.
            rows: of their parents (P,), as :meth:`parents_of` gives them.
        """
        seen, has = self.history, rows >= 0
        changed = np.ones(len(genes))
        if self.start is not None:
            changed = apart(self.candidates.genes, genes, np.array(self.start, dtype=np.int16))
        behind, score = np.zeros(len(genes)), np.full(len(genes), 0.0 if self.start is None else _STARTS_SCORE)
        behind[has] = np.array([seen.observations[row].behind for row in rows[has]])
        changed[has] = apart(self.candidates.genes, genes[has], seen.genes[rows[has]])
        score[has] = seen.miou[rows[has]]
        return np.column_stack([(np.log1p(behind) - 5) / 2, (changed - 0.3) / 0.3, (score - 0.3) / 0.2])
