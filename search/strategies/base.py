"""The interface of strategies: proposals within the budgets, and none twice.

A strategy sees genes and costs, never a network, so that the code that searches a space of networks is the code that is
compared with others on tables (``benchmarks/race.py``).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from results.trial import Status
from search.config.problem import Key
from search_space.genes import Genes, GeneSpace

PATIENCE = 20
"""The number of guesses in a row that may be refused before a random network is taken."""


@dataclass(frozen=True, slots=True)
class Observation:
    """The knowledge of one network: its ``miou`` (0…1) if it is finished, ``latency_ms`` where it was measured.

    Its ``status`` is that of its first training; what will be repeated counts as running.
    """

    genes: Key
    status: Status
    miou: float | None = None
    latency_ms: float | None = None


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

    def values(self, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """Give the objectives (R, 1 + C) of these networks (R,), all minimised, the negative mIoU first."""
        return np.column_stack([-self.miou[rows], self.costs[rows]])


class Strategy(ABC):
    """Proposes networks, from the seed and the history alone.

    So any process can make the next proposal, and a search that was killed goes on as if it had not been. A subclass
    only guesses; networks over budget or known already are refused here, which costs nothing.
    """

    startup: ClassVar[int] = 10
    """The number of networks that are drawn at random first."""

    def __init__(self, candidates: Candidates, seed: int) -> None:
        self.candidates, self.seed = candidates, seed
        self.history = History(candidates)

    def learn(self, history: Sequence[Observation]) -> None:
        """Take over the whole history: every network that was tried, once, in the order of their first trials.

        Failed ones and those in training are among them. What did not change costs next to nothing.
        """
        self.history.learn(history)

    def propose(self) -> Key:
        """Propose a network within the budgets that is not in the history; raises :class:`Exhausted`."""
        rng = np.random.default_rng([self.seed, len(self.history)])
        if len(self.history) >= self.startup:
            for key in islice(self.guesses(rng), PATIENCE):
                if key not in self.history.known and self.candidates.fits(key):
                    return key
        return self.candidates.random(rng, self.history.known)

    @abstractmethod
    def guesses(self, rng: np.random.Generator) -> Iterator[Key]:
        """Yield networks to try. The next one is asked for only when the last was refused."""
