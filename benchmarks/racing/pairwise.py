"""A synthetic flat space of about a million networks in which every pair of choices interacts."""

from __future__ import annotations

import itertools
import math

import numpy as np

from racing.landscape import Floats, Landscape, normal
from search_space.encoding import Choice
from search_space.genes import Genes, GeneSpace

SIZES = (4, 4, 4, 4, 3, 3, 3, 3, 3, 2, 2, 2, 2)
NOISE = 0.004
"""Standard deviation of the accuracy between two trainings of a network."""


class Pairwise(Landscape):
    """995,328 networks of 13 choices; 15 % fit. Costs are products; accuracy adds up single and paired effects."""

    name = "pairwise"
    objectives = ("miou", "params", "macs")
    worst = (0.48, 0.88, 1.25)
    best = (0.78, 0.3, 0.2)
    listed = True

    def __init__(self) -> None:
        self.genes = GeneSpace(tuple(Choice(f"c{i}", tuple(range(size))) for i, size in enumerate(SIZES)))
        rng = np.random.RandomState(3)  # noqa: NPY002 (its stream never changes)
        # A larger value costs more, and on the whole is better.
        self._single = [np.linspace(-1, 1, size) * 0.6 + rng.normal(0, 0.7, size) for size in SIZES]
        self._paired = [
            (i, j, rng.normal(0, 0.22, (SIZES[i], SIZES[j]))) for i, j in itertools.combinations(range(len(SIZES)), 2)
        ]
        # One choice costs mostly parameters, another mostly MACs.
        shares = rng.uniform(0, 1, len(SIZES))
        self._factors = [
            np.cumsum(rng.uniform(0.05, 0.55, (2, size)), axis=1) * np.array([[share], [1 - share]])
            for size, share in zip(SIZES, shares, strict=True)
        ]

    def all(self) -> Genes:
        return np.stack(np.unravel_index(np.arange(math.prod(SIZES)), SIZES), axis=1).astype(np.int16)

    def costs(self, genes: Genes) -> Floats:
        """Parameters and MACs, in units of their own."""
        logs = np.zeros((len(genes), 2))
        for column, factors in enumerate(self._factors):
            logs += factors[:, genes[:, column]].T
        return np.exp(logs - 3.6)

    def true(self, genes: Genes) -> Floats:
        effect = np.zeros(len(genes))
        for column, single in enumerate(self._single):
            effect += single[genes[:, column]]
        for i, j, paired in self._paired:
            effect += paired[genes[:, i], genes[:, j]]
        return 0.6 + 0.02 * effect

    def see(self, genes: Genes, seed: int) -> Floats:
        return self.true(genes) + NOISE * normal(genes, seed)
