"""Populations of networks as arrays of genes, sampled, mutated and crossed all at once.

:class:`GeneSpace` knows choices and nothing of networks, so that the same strategies search a space of networks and a
table of a benchmark.
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
"""(P, G): for each of P networks the index of its value in each of G choices, -1 where the choice is inactive."""


class _Level(NamedTuple):
    """L choices of equal depth: their columns (L,), and the parent's column (L,) and gene (L, 1) of each."""

    columns: NDArray[np.int64]
    parents: NDArray[np.int64] | None
    values: NDArray[np.int64] | None


@dataclass(frozen=True)
class GeneSpace:
    """All combinations of G ``choices``; parents stand before their children."""

    choices: tuple[Choice, ...]

    @cached_property
    def sizes(self) -> tuple[int, ...]:
        """The number of values of each choice (G,)."""
        return tuple(len(choice.values) for choice in self.choices)

    @cached_property
    def parents(self) -> tuple[tuple[int, int] | None, ...]:
        """The column and the gene that make each choice (G,) active; None for one that always is."""
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
        """The choices by depth: first those that are always active, then those below them, and so on."""
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
        """Draw the genes (n, G) of random networks: from the top down, each active choice uniform over its values."""
        genes = np.empty((len(self.choices), n), dtype=np.int16)  # each choice contiguous in memory
        for column, (size, parent) in enumerate(zip(self.sizes, self.parents, strict=True)):
            genes[column] = rng.integers(size, size=n, dtype=np.int16)
            if parent is not None:
                np.putmask(genes[column], genes[parent[0]] != parent[1], INACTIVE)
        return genes.T

    def mutate(self, genes: Genes, rng: np.random.Generator, changes: int | NDArray[np.int64] = 1) -> Genes:
        """Give other networks (P, G): in each row, ``changes`` of the active choices take another of their values.

        ``changes``, at least 1, is one number or one for each row (P,); where a row has fewer active choices, all of
        them change. When a block changes, its options are drawn anew. A space of one network gives that network.
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
        """Pick ``changes`` (P,) of the active choices of each row at random -> (P, G)."""
        lots = rng.random(genes.shape, dtype=np.float32)
        lots[genes == INACTIVE] = 2
        picked, rows = np.zeros(genes.shape, dtype=bool), np.arange(len(genes))
        for count in range(min(int(changes.max(initial=1)), genes.shape[1])):
            lowest = lots.argmin(axis=1)  # a few passes are faster than sorting
            picked[rows, lowest] |= count < changes
            lots[rows, lowest] = 3
        return picked & (genes != INACTIVE)

    def crossover(self, a: Genes, b: Genes, rng: np.random.Generator) -> Genes:
        """Cross parents (P, G) with (P, G): each choice of a child (P, G) is from either parent, at random.

        The options of a block come from a parent that has this block.
        """
        flips = rng.random(a.shape).T < 0.5
        first, second = np.where(flips, b.T, a.T), np.where(flips, a.T, b.T)
        # Where a choice is inactive in one parent, because of its block, the child takes the other parent's gene.
        children = np.where(first != INACTIVE, first, second).astype(np.int16)
        for level in self._levels:
            if level.parents is not None:
                children[level.columns] = np.where(
                    children[level.parents] == level.values, children[level.columns], INACTIVE
                )
        return children.T

    def one_hot(self, genes: Genes) -> NDArray[np.float32]:
        """Encode networks one-hot -> (P, number of values of all choices); an inactive choice is 0 throughout."""
        ends = np.cumsum(self.sizes, dtype=np.int64)
        found = np.zeros((len(genes), int(ends[-1]) if len(ends) else 0), dtype=np.float32)
        rows, columns = np.nonzero(genes != INACTIVE)
        starts = ends - np.array(self.sizes, dtype=np.int64)
        found[rows, starts[columns] + genes[rows, columns]] = 1
        return found


def keys(genes: Genes) -> Sequence[tuple[int, ...]]:
    """Turn each row into a tuple, by which a network is looked up."""
    return list(map(tuple, genes.tolist()))
