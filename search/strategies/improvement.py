"""The expected hypervolume improvement of networks whose costs are known and whose score is predicted.

Only one objective is uncertain, so the expectation has a closed form: the space of costs is cut into cells at the
costs of the front, and a network gains, over each cell that it reaches, the cell's volume times its expected
improvement on the best score to be had there.

===========  ===============  =============================================================================
symbol       in the code      meaning
===========  ===============  =============================================================================
N, P, C      (shapes)         numbers of networks on the front, of candidates, of costs
f*           ``mean``         (P,) predicted scores; Rasmussen and Williams, 2006, equation 2.25
V[f*]^½      ``deviation``    (P,) their standard deviations; equation 2.26
f+           ``best``         (cells,) best score of the front at the costs of a cell
u            ``u``            (f* - f+) / V[f*]^½
φ(u), Φ(u)   ``density``      density of the standard normal distribution, and its integral (``ndtr``)
EI           ``gain``         expected improvement on f+: V[f*]^½ (φ(u) + u Φ(u))
===========  ===============  =============================================================================

Source: expected improvement: Jones et al., "Efficient global optimization of expensive black-box functions", 1998;
over cells: Emmerich et al., "Single- and multiobjective evolutionary optimization assisted by Gaussian random field
metamodels", 2006.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

Matrix = NDArray[np.float64]

CELLS = 900
"""About so many cells at most: with many networks on the front, or many costs, lines between cells are left out."""
LIMIT = 1.001
"""The reference point in every cost."""


class Improvement:
    """The improvement on a front.

    Args:
        scores: those of the front (N,), maximised.
        costs: those of the front (N, C), scaled so that networks usually cost between 0 and 1.
        worst_score: the reference point's score. What is worse than the reference point counts nothing.
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
        """The expected improvement (P,) of candidates.

        Args:
            mean: predicted scores (P,).
            deviation: standard deviations of the predictions (P,).
            costs: scaled like those of the front (P, C).
        """
        volume = np.ones((len(mean), len(self.best)))
        for c in range(costs.shape[1]):
            start = np.maximum(costs[:, c, None], self.lower[:, c])
            volume *= np.maximum(self.upper[:, c] - start, 0)
        levels, number = np.unique(self.best, return_inverse=True)
        u = (mean[:, None] - levels) / deviation[:, None]
        density = np.exp(-(u**2) / 2) / np.sqrt(2 * np.pi)
        gain = deviation[:, None] * (density + u * ndtr(u))
        return np.einsum("pc,pc->p", volume, gain[:, number])
