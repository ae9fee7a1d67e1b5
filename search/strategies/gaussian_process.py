"""A Gaussian process over networks: what a score will be, and how sure that is, from few examples.

Source: Rasmussen and Williams, "Gaussian Processes for Machine Learning", 2006, algorithm 2.1. The symbols are
explained in :mod:`search.strategies.kernel`.
"""

from __future__ import annotations

import numpy as np
from scipy.linalg import cho_solve, cholesky, solve_triangular

from search.strategies.kernel import JITTER, Inputs, Kernel, Matrix, fit
from search_space.genes import GeneSpace

FITTED = 150
"""At most so many examples decide on the kernel; all of them predict."""


def learn_kernel(space: GeneSpace, X: Inputs, scores: Matrix) -> Kernel:
    """The kernel for the ``scores`` (n,) of the networks ``X``, learnt from an even share of them."""
    few = np.linspace(0, len(scores) - 1, min(FITTED, len(scores))).astype(np.int64)
    return fit(space, X[few], (scores[few] - scores[few].mean()) / (scores[few].std() or 1.0))


class GaussianProcess:
    """Fitted to the ``scores`` (n,) of the networks ``X``, which become y by shift and scale; predicts others."""

    def __init__(self, kernel: Kernel, X: Inputs, scores: Matrix) -> None:
        self.kernel, self.X = kernel, X
        self.mean, self.scale = float(scores.mean()), float(scores.std()) or 1.0
        K_y = kernel(X, X).astype(np.float64)
        K_y[np.diag_indices_from(K_y)] += kernel.sigma_n2 + JITTER
        L = cholesky(K_y, lower=True, check_finite=False)
        self._alpha = cho_solve((L, True), (scores - self.mean) / self.scale, check_finite=False)
        self._L = L.astype(np.float32)  # precise enough for a deviation, and twice as fast

    def predict(self, X_star: Inputs) -> tuple[Matrix, Matrix]:
        """Expected scores (n*,) and their standard deviations (n*,), without the noise of a single training."""
        K_star = self.kernel(X_star, self.X)
        v = solve_triangular(self._L, K_star.T, lower=True, check_finite=False)
        variance = self.kernel.variance - (v**2).sum(axis=0, dtype=np.float64)
        return self.mean + self.scale * (K_star @ self._alpha), self.scale * np.sqrt(np.maximum(variance, 1e-9))
