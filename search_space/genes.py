"""`GeneSpace`: populations of networks as arrays of genes, drawn and varied all at once.

It knows nothing of networks, only choices and which of them are active under which: the same strategies
search a space of networks and a table of a benchmark. One row is one network (see ``encoding``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from search_space.encoding import INACTIVE, Choice

Genes = NDArray[np.int16]
"""(P, G): of P networks the index of the value in each of G choices, -1 where a choice is inactive."""


class _Level(NamedTuple):
    """Choices (L,) that do not make one another active, and of each the parent's column (L,) and gene (L, 1)."""

    columns: NDArray[np.int64]
    parents: NDArray[np.int64] | None
    values: NDArray[np.int64] | None


@dataclass(frozen=True)
class GeneSpace:
    """All combinations of ``choices``; parents stand before their children."""

    choices: tuple[Choice, ...]

    @cached_property
    def sizes(self) -> tuple[int, ...]:
        """How many values each choice has."""
        return tuple(len(choice.values) for choice in self.choices)

    @cached_property
    def parents(self) -> tuple[tuple[int, int] | None, ...]:
        """Of each choice: (column, gene) that make it active; None if it always is."""
        columns = {choice.name: i for i, choice in enumerate(self.choices)}
        found: list[tuple[int, int] | None] = []
        for choice in self.choices:
            if choice.condition is None:
                found.append(None)
            else:
                column = columns[choice.condition[0]]
                found.append((column, self.choices[column].values.index(choice.condition[1])))
        return tuple(found)

    @cached_property
    def _levels(self) -> list[_Level]:
        """All choices, those first that are always active, then those below them, and so on."""
        depths: list[int] = []
        for parent in self.parents:
            depths.append(0 if parent is None else depths[parent[0]] + 1)
        levels = []
        for depth in range(max(depths, default=-1) + 1):
            columns = np.array([column for column, found in enumerate(depths) if found == depth])
            above = [parent for column in columns if (parent := self.parents[column]) is not None]
            parents, values = np.array(above).T if above else (None, None)
            levels.append(_Level(columns, parents, None if values is None else values[:, None]))
        return levels

    def sample(self, rng: np.random.Generator, n: int) -> Genes:
        """The genes (n, G) of ``n`` random networks: from the top down, each active choice uniform over its values."""
        genes = np.empty((len(self.choices), n), dtype=np.int16)  # a choice is contiguous in memory
        for column, (size, parent) in enumerate(zip(self.sizes, self.parents, strict=True)):
            genes[column] = rng.integers(size, size=n, dtype=np.int16)
            if parent is not None:
                np.putmask(genes[column], genes[parent[0]] != parent[1], INACTIVE)
        return genes.T

    def mutate(self, genes: Genes, rng: np.random.Generator, changes: int | NDArray[np.int64] = 1) -> Genes:
        """Other networks: of each row ``changes`` active choices, at most all, take another of their values.

        ``changes`` is a number, or one for each row. When a block changes, its options are drawn anew. In a
        space of one network it is that one.
        """
        changes = np.broadcast_to(np.asarray(changes), len(genes))
        if len(changes) and changes.min() < 1:
            raise ValueError(f"changes must be at least 1, but is {changes.min()}")
        if not self.choices:
            return genes.copy()
        another = self._pick(genes, rng, changes).T
        before, varied = genes.T, genes.T.copy(order="C")
        drawn = rng.random(varied.shape)
        for level in self._levels:
            kept, sizes = before[level.columns], np.array(self.sizes, dtype=np.int16)[level.columns, None]
            other = (kept + 1 + (drawn[level.columns] * (sizes - 1)).astype(np.int16)) % sizes
            gene = np.where(another[level.columns], other, kept)
            if level.parents is not None:
                active = varied[level.parents] == level.values
                was = before[level.parents] == level.values
                anew = (drawn[level.columns] * sizes).astype(np.int16)
                gene = np.where(active, np.where(was, gene, anew), INACTIVE)
            varied[level.columns] = gene
        return varied.T

    @staticmethod
    def _pick(genes: Genes, rng: np.random.Generator, changes: NDArray[np.int64]) -> NDArray[np.bool_]:
        """(P, G): of each row so many of its active choices, at random."""
        lots = rng.random(genes.shape, dtype=np.float32)
        lots[genes == INACTIVE] = 2
        picked, rows = np.zeros(genes.shape, dtype=bool), np.arange(len(genes))
        for count in range(min(int(changes.max(initial=1)), genes.shape[1])):
            lowest = lots.argmin(axis=1)  # a few times over, which is faster than to sort
            picked[rows, lowest] |= count < changes
            lots[rows, lowest] = 3
        return picked & (genes != INACTIVE)

    def crossover(self, a: Genes, b: Genes, rng: np.random.Generator) -> Genes:
        """Children (P, G) with each choice from either parent; options come from a parent with that block."""
        flips = rng.random(a.shape).T < 0.5
        first, second = np.where(flips, b.T, a.T), np.where(flips, a.T, b.T)
        # A parent in which a choice is inactive has another block here; then the other has this one.
        children = np.where(first != INACTIVE, first, second).astype(np.int16)
        for level in self._levels:
            if level.parents is not None:
                children[level.columns] = np.where(
                    children[level.parents] == level.values, children[level.columns], INACTIVE
                )
        return children.T

    def one_hot(self, genes: Genes) -> NDArray[np.float32]:
        """(P, values of all choices together): 1 where a choice has this value, 0 throughout where it is inactive."""
        ends = np.cumsum(self.sizes, dtype=np.int64)
        found = np.zeros((len(genes), int(ends[-1]) if len(ends) else 0), dtype=np.float32)
        rows, columns = np.nonzero(genes != INACTIVE)
        starts = ends - np.array(self.sizes, dtype=np.int64)
        found[rows, starts[columns] + genes[rows, columns]] = 1
        return found


def keys(genes: Genes) -> Sequence[tuple[int, ...]]:
    """Each row as a tuple, to look it up."""
    return list(map(tuple, genes.tolist()))
