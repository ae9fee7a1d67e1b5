"""How much a network is expected to enlarge the hypervolume, when its costs are known and its score is guessed.

Its costs being certain, the expectation has a closed form: the cost space is cut into cells at the costs of the
front, and over each cell the gain is the expected improvement on the best score to be had there.
Source: expected improvement: Jones et al., 1998; the sum over cells is the exact expected hypervolume improvement
(Emmerich et al., 2006) with one uncertain objective.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

Matrix = NDArray[np.float64]

CELLS = 900
"""About so many cells at most: with many points on the front, or many costs, lines are left out."""
LIMIT = 1.001


class Improvement:
    """Over a front of ``scores`` (N,), maximised, at ``costs`` (N, C), in which 0…1 is what networks usually cost.

    The reference is at ``worst_score`` and just above 1: what is worse counts nothing.
    """

    def __init__(self, scores: Matrix, costs: Matrix, worst_score: float) -> None:
        count = costs.shape[1]
        most = max(2, int(CELLS ** (1 / count)))
        lines = [self._lines(costs[:, c], most) for c in range(count)]
        lower = np.meshgrid(*(line[:-1] for line in lines), indexing="ij")
        upper = np.meshgrid(*(line[1:] for line in lines), indexing="ij")
        self.lower = np.stack([axis.ravel() for axis in lower], axis=1)
        self.upper = np.stack([axis.ravel() for axis in upper], axis=1)
        self.best = np.full(len(self.lower), worst_score)
        for score, cost in zip(scores, costs, strict=True):
            reached = (self.lower >= cost).all(axis=1)
            np.maximum(self.best, score, where=reached, out=self.best)

    @staticmethod
    def _lines(costs: Matrix, most: int) -> Matrix:
        lines = np.unique(costs[costs < LIMIT])
        if len(lines) > most - 1:
            lines = lines[np.linspace(0, len(lines) - 1, most - 1).round().astype(int)]
        # Below the cheapest of all there is next to nothing: no candidate gains by being cheaper without end.
        return np.concatenate([[min(-0.05, *lines, 0) - 1e-9], lines, [LIMIT]])

    def expected(self, mean: Matrix, deviation: Matrix, costs: Matrix) -> Matrix:
        """(P,): of candidates with these expected scores, standard deviations and ``costs`` (P, C)."""
        volume = np.ones((len(mean), len(self.best)))
        for c in range(costs.shape[1]):
            start = np.maximum(costs[:, c, None], self.lower[:, c])
            volume *= np.maximum(self.upper[:, c] - start, 0)
        levels, number = np.unique(self.best, return_inverse=True)
        gap = (mean[:, None] - levels) / deviation[:, None]
        density = np.exp(-(gap**2) / 2) / np.sqrt(2 * np.pi)
        gain = deviation[:, None] * (density + gap * ndtr(gap))
        return np.einsum("pc,pc->p", volume, gain[:, number])
