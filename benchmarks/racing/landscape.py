"""`Landscape`: a space of networks whose costs, true accuracy and noisy accuracy are known without training.

To strategies it is a ``Candidates`` (genes, exact costs, budgets), which they search like a space of networks. Besides,
``see`` gives the accuracy that one training would show, and ``true`` the true values, which strategies never learn.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Collection
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from search.config.problem import Exhausted
from search.strategies.history import Key
from search_space.genes import Genes, GeneSpace, keys

Floats = NDArray[np.float64]


class Landscape(ABC):
    """What a race runs on. ``miou`` stands for any accuracy, and is the first objective."""

    name: ClassVar[str]
    objectives: ClassVar[tuple[str, ...]]
    worst: ClassVar[tuple[float, ...]]
    """The reference point of the hypervolume: a value for each objective. For costs with a budget it is the budget."""
    best: ClassVar[tuple[float, ...]]
    """What scales the hypervolume: the volume between ``worst`` and ``best`` is 1."""
    listed: ClassVar[bool] = False
    """Whether all networks can be listed, so that the true front is exact."""

    genes: GeneSpace

    def all(self) -> Genes:
        """The genes of every network, where they are ``listed``."""
        raise NotImplementedError

    def notes(self) -> str:
        """What whoever reads the results should know of it."""
        return ""

    @abstractmethod
    def true(self, genes: Genes) -> Floats:
        """(P, G) -> (P,): the accuracy without noise, in 0…1."""

    @abstractmethod
    def see(self, genes: Genes, seed: int) -> Floats:
        """(P, G) -> (P,): what one training shows; the same whenever asked in the race with this seed."""

    @abstractmethod
    def costs(self, genes: Genes) -> Floats:
        """(P, G) -> (P, C): the objectives but the first, minimised."""

    def fingerprint(self) -> str:
        """Changes when any figure does, so that results of another landscape are not taken for this one's."""
        genes = self.genes.sample(np.random.default_rng(0), 256)
        figures = np.column_stack([self.true(genes), self.see(genes, 0), self.costs(genes), self.excess(genes)])
        scale = repr((self.best, self.worst, [choice.name for choice in self.genes.choices]))
        return hashlib.sha256(np.round(figures, 9).tobytes() + scale.encode()).hexdigest()[:12]

    def excess(self, genes: Genes) -> Floats:
        """(P, G) -> (P,): the worst violation of a budget, as a share of it; at most 0 fits. Each cost has a budget."""
        limits = np.array(self.worst[1:])
        return np.asarray((self.costs(genes) / limits).max(axis=1) - 1)

    def fits(self, key: Key) -> bool:
        return bool(self.excess(np.array([key], dtype=np.int16))[0] <= 0)

    def random(self, rng: np.random.Generator, known: Collection[Key]) -> Key:
        """A network within budget that is not known, drawn by rejection."""
        for draws in (64, 4096, 4096, 4096, 65536):
            genes = self.genes.sample(rng, draws)
            for key in keys(genes[self.excess(genes) <= 0]):
                if key not in known:
                    return key
        raise Exhausted(f"{self.name}: no further network within the budgets was drawn")

    def minimised(self, miou: Floats, costs: Floats) -> Floats:
        """(P,), (P, C) -> (P, 1 + C): all objectives minimised and scaled, 0 at ``best``, 1 at ``worst``."""
        best, worst = np.array(self.best), np.array(self.worst)
        return np.asarray((np.column_stack([miou, costs]) - best) / (worst - best))


def uniform(genes: Genes, seed: int) -> Floats:
    """(P, G) -> (P,) in (0, 1): a number for each network that follows from its genes and the seed alone."""
    bits = np.full(len(genes), seed * 2 + 1, dtype=np.uint64)
    for column in genes.T:
        bits = _mixed(bits + column.astype(np.uint64))
    return (bits >> np.uint64(11)).astype(np.float64) * 2.0**-53 + 2.0**-54


def normal(genes: Genes, seed: int) -> Floats:
    """(P, G) -> (P,): the same, normally distributed with mean 0 and deviation 1 (Box and Muller 1958)."""
    radius = np.sqrt(-2 * np.log(uniform(genes, 2 * seed)))
    return np.asarray(radius * np.cos(2 * np.pi * uniform(genes, 2 * seed + 1)))


def _mixed(bits: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """SplitMix64 (Steele et al. 2014): neighbouring numbers become unrelated ones."""
    bits = bits + np.uint64(0x9E3779B97F4A7C15)
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return bits ^ (bits >> np.uint64(31))
