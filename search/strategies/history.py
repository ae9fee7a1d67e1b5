"""What strategies know: the networks that may be proposed, and those that were tried."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from results.trial import START, Status
from search.config.problem import Key
from search_space.genes import Genes, GeneSpace
from search_space.nearness import distances

ParentKey = Key | Literal["start"] | None
"""What a training begins from: a network of the history, the search's start, or random weights."""


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
        self.excess = np.empty(0)

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
            self.excess = np.concatenate([self.excess, self._candidates.excess(rows)])
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
    def fitting(self) -> NDArray[np.int64]:
        """Those of the scored ones that are within the budgets: all but some that are known from another search."""
        rows = self.scored
        return rows[self.excess[rows] <= 0]

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
