"""The interface of strategies: proposals within the budgets, and none twice.

A strategy sees genes and costs, never a network, so that the code that searches a space of networks is the code that is
compared with others on tables (``benchmarks/race.py``).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import ClassVar, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from results.trial import START, Status
from search.config.problem import Key
from search.strategies.ranking import best_first
from search_space.genes import Genes, GeneSpace, keys
from search_space.nearness import apart, distances

PATIENCE = 20
"""The number of guesses in a row that may be refused before a random network is taken."""
BEST, YOUNGEST = 30, 20
"""Of the networks that others can begin from, so many of the best and of the youngest are parents."""
NEAR, MOST_STEPS = (2, 33), 300
"""On the way from the start into the budgets: of how many changes, at random between these, the cheapest is taken each
time; and the number of changes after which a way leads nowhere."""

_STARTS_SCORE = 0.5
"""Stands for the score of the start, which is not known."""

ParentKey = Key | Literal["start"] | None
"""What a training begins from: a network of the history, the search's start, or random weights."""
_Rows = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Observation:
    """The knowledge of one network: its ``miou`` (0…1) if it is finished, ``latency_ms`` where it was measured.

    Its ``status`` is that of its first training; what will be repeated counts as running. ``parent`` is what that began
    from, ``behind`` the iterations that lie behind the score, and ``heritable`` whether others can begin from it.
    """

    genes: Key
    status: Status
    miou: float | None = None
    latency_ms: float | None = None
    parent: ParentKey = None
    behind: int = 0
    heritable: bool = False


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


class Candidates(Protocol):
    """The networks that may be proposed, with what they cost; :class:`search.config.problem.Problem` is one."""

    @property
    def genes(self) -> GeneSpace:
        """Their choices."""

    @property
    def objectives(self) -> tuple[str, ...]:
        """``miou``, to be maximised, and costs, to be minimised."""

    def costs(self, genes: Genes) -> NDArray[np.float64]:
        """Give the costs (P, C) among the objectives, in their order, of genes (P, G); NaN if only measuring tells."""

    def excess(self, genes: Genes) -> NDArray[np.float64]:
        """Give the worst violation of a budget (P,), as a share of it, of genes (P, G); at most 0 fits."""

    def fits(self, key: Key) -> bool:
        """Tell whether one network is within the budgets, to the last bit."""

    def random(self, rng: np.random.Generator, known: Collection[Key]) -> Key:
        """Draw a network within the budgets that is not ``known``; raises :class:`Exhausted`."""


class History:
    """All N networks that were observed, as arrays in the order of their first trials; grown by :meth:`learn`."""

    def __init__(self, candidates: Candidates) -> None:
        self._candidates = candidates
        self._forget()

    def _forget(self) -> None:
        self.observations: list[Observation] = []
        self.known: dict[Key, int] = {}
        self.genes: Genes = np.empty((0, len(self._candidates.genes.choices)), dtype=np.int16)
        self.costs = np.empty((0, len(self._candidates.objectives) - 1))

    def __len__(self) -> int:
        return len(self.observations)

    def learn(self, history: Sequence[Observation]) -> None:
        """Take over what is new or has changed in ``history``, which holds everything."""
        old = self.observations
        if len(history) < len(old) or any(a.genes != b.genes for a, b in zip(old, history, strict=False)):
            self._forget()
        changed = [i for i, (a, b) in enumerate(zip(self.observations, history, strict=False)) if a != b]
        new = history[len(self.observations) :]
        if new:
            rows = np.array([observation.genes for observation in new], dtype=np.int16).reshape(len(new), -1)
            self.known |= {o.genes: i for i, o in enumerate(new, len(self.observations))}
            changed += range(len(self.observations), len(history))
            self.genes = np.concatenate([self.genes, rows])
            self.costs = np.concatenate([self.costs, self._candidates.costs(rows)])
        self.observations = list(history)
        names = [name for name in self._candidates.objectives if name != "miou"]
        for i in changed:
            if (ms := history[i].latency_ms) is not None and "latency_ms" in names:
                self.costs[i, names.index("latency_ms")] = ms

    @property
    def scored(self) -> NDArray[np.int64]:
        """Indices of the networks whose mIoU and costs are all known."""
        known = [i for i, o in enumerate(self.observations) if o.miou is not None]
        rows = np.array(known, dtype=np.int64)
        return rows[~np.isnan(self.costs[rows]).any(axis=1)]

    @property
    def miou(self) -> NDArray[np.float64]:
        """mIoU (N,), NaN where it is not known."""
        return np.array([np.nan if o.miou is None else o.miou for o in self.observations])

    @property
    def latency(self) -> NDArray[np.float64]:
        """Measured milliseconds (N,), NaN where they are not known."""
        return np.array([np.nan if o.latency_ms is None else o.latency_ms for o in self.observations])

    @property
    def rejected(self) -> NDArray[np.bool_]:
        """Mask (N,) of the networks that were measured to be over the budget."""
        return np.array([o.status is Status.OVER_BUDGET for o in self.observations], dtype=bool)

    @property
    def parents(self) -> NDArray[np.int64]:
        """Indices (N,) of what the networks began from; -1 for the start, and for random weights."""
        found = [o.parent for o in self.observations]
        return np.array([self.known.get(key, -1) if isinstance(key, tuple) else -1 for key in found], dtype=np.int64)

    @property
    def heritable(self) -> NDArray[np.int64]:
        """Indices of the scored networks whose trained weights others can begin from."""
        return np.array([i for i in self.scored if self.observations[i].heritable], dtype=np.int64)

    def values(self, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """Give the objectives (R, 1 + C) of these networks (R,), all minimised, the negative mIoU first."""
        return np.column_stack([-self.miou[rows], self.costs[rows]])


def nearest(space: GeneSpace, key: Key, history: Sequence[Observation], start: Key | None) -> ParentKey:
    """Choose what a network begins from, of all that can be: the most like it, of several the best, then the youngest.

    Args:
        space: the choices.
        key: the network.
        history: every network that was tried.
        start: the trained network that the search begins with, if any.
    """
    found = sorted((o for o in reversed(history) if o.heritable), key=lambda o: -(o.miou or 0.0))
    others = [o.genes for o in found] + ([start] if start is not None else [])
    if not others:
        return None
    own, rows = (np.array(listed, dtype=np.int16).reshape(len(listed), -1) for listed in ([key], others))
    best = int(distances(space, own, rows)[0].argmin())
    return found[best].genes if best < len(found) else START


class Strategy(ABC):
    """Proposes networks, from the seed and the history alone.

    So any process can make the next proposal, and a search that was killed goes on as if it had not been. A subclass
    only guesses; networks over budget or known already are refused here, which costs nothing.

    Where networks inherit, each begins from the network most like it among the parents. The first ones are the start,
    if there is one, and networks near it, else random ones with random weights.
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
            guesses = self.guesses(rng)
        elif self.start is not None:
            guesses = self._near_start(rng)
        for key in islice(guesses, PATIENCE):
            if key not in self.history.known and self.candidates.fits(key):
                return key
        return self.candidates.random(rng, self.history.known)

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

    def _near_start(self, rng: np.random.Generator) -> Iterator[Key]:
        """Yield the start, then ends of ways that lead from it into the budgets by a change at a time."""
        assert self.start is not None
        yield self.start
        space, begin = self.candidates.genes, np.array([self.start], dtype=np.int16).reshape(1, -1)
        while True:
            drawn, here = int(rng.integers(*NEAR)), space.mutate(begin, rng)
            excess = float(self.candidates.excess(here)[0])
            for _ in range(MOST_STEPS):
                if excess <= 0:
                    break
                changed = space.mutate(np.repeat(here, drawn, axis=0), rng)
                values = self.candidates.excess(changed)
                if values.min() < excess:
                    here, excess = changed[[values.argmin()]], float(values.min())
            yield keys(here)[0]
