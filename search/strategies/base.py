"""The interface of strategies, and what they share: proposals within budget, and none twice.

A strategy sees genes and costs, never a network, so that what searches a space of networks is, to the letter,
what is compared with others on tables (``benchmarks/race.py``).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import ClassVar, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from search.config.problem import Key
from search_space.genes import Genes, GeneSpace

PATIENCE = 20
"""Guesses in a row that may be refused before a random network is taken."""


@dataclass(frozen=True, slots=True)
class Observation:
    """What is known of one network: ``miou`` (0…1) of finished ones, ``latency_ms`` where it was measured.

    A rejected one was measured, and is over the budget.
    """

    genes: Key
    state: Literal["finished", "failed", "running", "rejected"]
    miou: float | None = None
    latency_ms: float | None = None


class Candidates(Protocol):
    """The networks that may be proposed, with what they cost; :class:`search.config.problem.Problem` is one."""

    @property
    def genes(self) -> GeneSpace:
        """How they are written down."""

    @property
    def objectives(self) -> tuple[str, ...]:
        """``miou``, to be maximised, and costs, to be minimised."""

    def costs(self, genes: Genes) -> NDArray[np.float64]:
        """(P, G) -> (P, C): the costs among the objectives, in their order; NaN where only measuring tells."""

    def excess(self, genes: Genes) -> NDArray[np.float64]:
        """(P, G) -> (P,): the worst violation of a budget as a share of it, at most 0 where the network fits."""

    def fits(self, key: Key) -> bool:
        """Whether one network is within the budgets, to the last bit."""

    def random(self, rng: np.random.Generator, known: Collection[Key]) -> Key:
        """A random network within the budgets that is not ``known``; raises :class:`Exhausted`."""


class History:
    """All that was observed, as arrays in the order of the networks' first trials; grown by :meth:`learn`."""

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
        """Takes over what is new or has changed in the whole ``history``."""
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
        """Numbers of the networks whose mIoU and costs are all known."""
        known = [i for i, o in enumerate(self.observations) if o.miou is not None]
        rows = np.array(known, dtype=np.int64)
        return rows[~np.isnan(self.costs[rows]).any(axis=1)]

    @property
    def miou(self) -> NDArray[np.float64]:
        """(N,): NaN where it is not known."""
        return np.array([np.nan if o.miou is None else o.miou for o in self.observations])

    @property
    def latency(self) -> NDArray[np.float64]:
        """(N,): measured milliseconds, NaN where they are not known."""
        return np.array([np.nan if o.latency_ms is None else o.latency_ms for o in self.observations])

    @property
    def rejected(self) -> NDArray[np.bool_]:
        """(N,): which were measured over budget."""
        return np.array([o.state == "rejected" for o in self.observations], dtype=bool)

    def values(self, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """(rows, objectives), all minimised, the negative mIoU first: for ranks and distances."""
        return np.column_stack([-self.miou[rows], self.costs[rows]])


class Strategy(ABC):
    """Proposes networks: a proposal follows from the seed and what was learnt, not from when it was.

    So any process can make the next proposal, and a search that was killed goes on as if it had not been.
    A subclass only guesses; whatever is over budget, or known already, is refused here at no cost.
    """

    startup: ClassVar[int] = 10
    """So many networks are drawn at random first."""

    def __init__(self, candidates: Candidates, seed: int) -> None:
        self.candidates, self.seed = candidates, seed
        self.history = History(candidates)

    def learn(self, history: Sequence[Observation]) -> None:
        """Told everything known so far: every network tried once, in the order of their first trial.

        Including failed ones and those that are being trained anywhere. What did not change costs next to nothing.
        """
        self.history.learn(history)

    def propose(self) -> Key:
        """A network within budget that was not learnt of; raises :class:`Exhausted`."""
        rng = np.random.default_rng([self.seed, len(self.history)])
        if len(self.history) >= self.startup:
            for key in islice(self.guesses(rng), PATIENCE):
                if key not in self.history.known and self.candidates.fits(key):
                    return key
        return self.candidates.random(rng, self.history.known)

    @abstractmethod
    def guesses(self, rng: np.random.Generator) -> Iterator[Key]:
        """Networks to try. The next one is asked for only when the last was refused."""
