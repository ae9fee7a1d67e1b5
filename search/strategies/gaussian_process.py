"""A Gaussian process over networks: what a score will be, and how sure that is, from few examples.

Source: Rasmussen and Williams, "Gaussian Processes for Machine Learning", 2006, chapter 2.
"""

from __future__ import annotations

import numpy as np
from scipy.linalg import cho_solve, cholesky, solve_triangular

from search.strategies.kernel import Inputs, Kernel, Matrix, learn
from search_space.genes import GeneSpace

FITTED = 150
"""At most so many examples decide on the kernel; all of them predict."""


def learn_kernel(space: GeneSpace, inputs: Inputs, scores: Matrix) -> Kernel:
    """The kernel for these ``scores`` (N,), from an even share of them."""
    few = np.linspace(0, len(scores) - 1, min(FITTED, len(scores))).astype(np.int64)
    return learn(space, inputs[few], (scores[few] - scores[few].mean()) / (scores[few].std() or 1.0))


class GaussianProcess:
    """Fitted to ``scores`` (N,) of ``inputs``; predicts others."""

    def __init__(self, kernel: Kernel, inputs: Inputs, scores: Matrix) -> None:
        self.kernel, self.inputs = kernel, inputs
        self.mean, self.scale = float(scores.mean()), float(scores.std()) or 1.0
        covariance = kernel(inputs, inputs).astype(np.float64)
        covariance[np.diag_indices_from(covariance)] += kernel.noise + 1e-6
        factor = cholesky(covariance, lower=True, check_finite=False)
        self._solved = cho_solve((factor, True), (scores - self.mean) / self.scale, check_finite=False)
        self._factor = factor.astype(np.float32)  # precise enough for a deviation, and twice as fast

    def predict(self, inputs: Inputs) -> tuple[Matrix, Matrix]:
        """Expected scores (P,) and their standard deviations (P,), without the noise of a single training."""
        cross = self.kernel(inputs, self.inputs)
        solved = solve_triangular(self._factor, cross.T, lower=True, check_finite=False)
        variance = self.kernel.variance - (solved**2).sum(axis=0, dtype=np.float64)
        return self.mean + self.scale * (cross @ self._solved), self.scale * np.sqrt(np.maximum(variance, 1e-9))
