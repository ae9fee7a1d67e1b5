"""The covariance of the Gaussian process over networks, and how its parameters are learnt from scores.

Notation of Rasmussen and Williams, "Gaussian Processes for Machine Learning", 2006 (chapter 2; likelihood, its
gradient and automatic relevance determination: chapter 5), here and in :mod:`search.strategies.gaussian_process`:

===========  =================  ===========================================================================
symbol       in the code        meaning
===========  =================  ===========================================================================
n, n*        ``len(X)``         numbers of examples and of networks to predict
G, F, D      (shapes)           numbers of choices, of one-hot columns, of costs
X, X*        ``X``, ``X_star``  examples and networks to predict; each has h (F,), its choices in one-hot
                                form, and z (D,), its costs
y            ``y``              (n,) scores of the examples, of mean 0 and deviation 1
w            ``relevance``      (G,) how much each choice matters; W is their sum, about 1
m            ``precision``      (D,) how fast likeness falls with each cost: 2 / length scale²
s(x, x')     ``s``              share of the relevance on whose choices x and x' agree: Σ w h h' / W
-r(x, x')    ``minus_r``        r is the relevance of the choices in which they differ: W (1 - s)
σ_f²         ``sigma_f2``       (5,) signal variances, one for each summand of the covariance
σ_n²         ``sigma_n2``       variance of the noise of one training
k(x, x')     ``Kernel``         σ_f² · (s, s², exp(-r / 0.15), exp(-r / 0.4), exp(-Σ m (z - z')² / 4))
K, K_y       ``K_y``            (n, n) covariance of the examples: K without noise, K_y = K + σ_n² I
K*           ``K_star``         (n*, n) covariance of the networks to predict with the examples
L            ``L``              lower Cholesky factor of K_y
α            ``alpha``          (n,) K_y⁻¹ y
θ            ``theta``          (6 + G + D,) logarithms of σ_f², σ_n², w (as multiples of its usual value), m
===========  =================  ===========================================================================

The five summands are the effects of single choices (a ridge regression on one-hot choices), the effects of pairs of
them, a near and a far neighbourhood (networks that differ in few choices score alike), and a smooth function of the
costs. θ maximises the likelihood times a prior that holds it near its usual values while examples are few.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_solve, cholesky
from scipy.optimize import minimize

from search_space.encoding import INACTIVE
from search_space.genes import Genes, GeneSpace

Matrix = NDArray[np.float64]
Single = NDArray[np.float32]

SUMMANDS = 5
NEAR, FAR = 0.15, 0.4
"""The relevance r of differing choices at which the likeness of neighbours has fallen to 1/e."""
JITTER = 1e-6
"""Added to the diagonal of K_y, so that it can be factorised without noise too."""
_USUAL_VARIANCE, _VARIANCES_VARY, _OTHERS_VARY = 0.2, 1.5, 0.5
"""The prior of θ is normal: its mean for σ_f² and σ_n² is log 0.2, else 0; its deviations."""
_ITERATIONS = 40


@dataclass(frozen=True)
class Inputs:
    """P networks as the kernel sees them.

    ``one_hot`` (P, F): for each value of each choice, and for each choice that may be inactive, whether it is so;
    ``numbers`` (P, D): costs, about standard normal; ``choice_of`` (F,): the choice of a column.
    """

    one_hot: Single
    numbers: Single
    choice_of: NDArray[np.int64]

    @classmethod
    def of(cls, space: GeneSpace, genes: Genes, numbers: Matrix) -> Inputs:
        """The networks with these genes (P, G) and costs (P, D)."""
        below = [column for column, parent in enumerate(space.parents) if parent is not None]
        one_hot = np.hstack([space.one_hot(genes), (genes[:, below] == INACTIVE).astype(np.float32)])
        choice_of = np.concatenate([np.repeat(np.arange(len(space.sizes)), space.sizes), below]).astype(np.int64)
        return cls(one_hot, numbers.astype(np.float32), choice_of)

    def __getitem__(self, rows: NDArray[np.int64]) -> Inputs:
        return Inputs(self.one_hot[rows], self.numbers[rows], self.choice_of)

    def __len__(self) -> int:
        return len(self.one_hot)


@dataclass(frozen=True)
class Kernel:
    """k(x, x') of the table above."""

    sigma_f2: Matrix
    sigma_n2: float
    relevance: Matrix
    precision: Matrix

    def __call__(self, a: Inputs, b: Inputs) -> Single:
        """Covariances (P, Q) of the networks ``a`` (P) with ``b`` (Q), without noise."""
        total = np.zeros((len(a), len(b)), dtype=np.float32)
        for variance, summand in zip(self.sigma_f2.astype(np.float32), self.summands(a, b), strict=True):
            summand *= variance
            total += summand
        return total

    @property
    def variance(self) -> float:
        """k(x, x), the same for every network."""
        return float(self.sigma_f2.sum())

    def summands(self, a: Inputs, b: Inputs) -> list[Single]:
        """Five matrices (P, Q), each 1 between equal networks; k is their sum weighted by σ_f²."""
        shares = (self.relevance / self.relevance.sum()).astype(np.float32)
        s = (a.one_hot * shares[a.choice_of]) @ b.one_hot.T
        minus_r = (s - 1) * np.float32(self.relevance.sum())
        near, far = np.exp(minus_r / np.float32(NEAR)), np.exp(minus_r / np.float32(FAR))
        scaled = a.numbers * self.precision.astype(np.float32), b.numbers * self.precision.astype(np.float32)
        squares = (scaled[0] * a.numbers).sum(1)[:, None] + (scaled[1] * b.numbers).sum(1)
        distance = squares - 2 * scaled[0] @ b.numbers.T
        return [s, s**2, near, far, np.exp(np.maximum(distance, 0) / np.float32(-4))]


def fit(space: GeneSpace, X: Inputs, y: Matrix) -> Kernel:
    """The kernel whose θ has the largest posterior probability, found by L-BFGS-B.

    Args:
        space: what the genes of the examples are drawn from.
        X: the examples (n).
        y: their scores (n,), of mean 0 and deviation 1.
    """
    # The options of a block count half: where blocks differ, all of theirs do too.
    usual = np.array([1.0 if parent is None else 0.5 for parent in space.parents])
    usual /= max(usual.sum(), 1e-12)
    G = len(usual)

    def kernel(theta: Matrix) -> Kernel:
        values = np.exp(theta)
        sigma_f2, sigma_n2, rest = values[:SUMMANDS], float(values[SUMMANDS]), values[SUMMANDS + 1 :]
        return Kernel(sigma_f2, sigma_n2, usual * rest[:G], rest[G:])

    mean = np.zeros(SUMMANDS + 1 + G + X.numbers.shape[1])
    mean[: SUMMANDS + 1] = np.log(_USUAL_VARIANCE)
    deviation = np.full(len(mean), _OTHERS_VARY)
    deviation[: SUMMANDS + 1] = _VARIANCES_VARY

    def loss(theta: Matrix) -> tuple[float, Matrix]:
        value, gradient = negative_log_likelihood(kernel(theta), X, y)
        off = (theta - mean) / deviation
        return value + float(off @ off) / 2, gradient + off / deviation

    # The logarithms stay within what a float can bear.
    found = minimize(
        loss, mean, jac=True, method="L-BFGS-B", bounds=[(-9, 5)] * len(mean), options={"maxiter": _ITERATIONS}
    )
    return kernel(found.x)


def negative_log_likelihood(kernel: Kernel, X: Inputs, y: Matrix) -> tuple[float, Matrix]:
    """-log p(y | X, θ) but for the constant n/2 log 2π (equation 5.8), and its gradient by θ (equation 5.9).

    Args:
        kernel: the kernel of θ.
        X: the examples (n).
        y: their scores (n,).

    Returns:
        The value and the gradient (6 + G + D,).
    """
    summands = [summand.astype(np.float64) for summand in kernel.summands(X, X)]
    K_y = np.einsum("i,ijk->jk", kernel.sigma_f2, summands)
    K_y[np.diag_indices_from(K_y)] += kernel.sigma_n2 + JITTER
    L = cholesky(K_y, lower=True, check_finite=False)
    inverse = cho_solve((L, True), np.eye(len(y)), check_finite=False)
    alpha = inverse @ y
    value = float(y @ alpha) / 2 + float(np.log(np.diag(L)).sum())
    by_K = (inverse - np.outer(alpha, alpha)) / 2  # the derivative by each entry of K_y

    s, _, near, far, smooth = summands
    single, pairs, of_near, of_far, of_costs = kernel.sigma_f2
    by_sigma_f2 = [float((by_K * k).sum()) * variance for variance, k in zip(kernel.sigma_f2, summands, strict=True)]
    by_sigma_n2 = np.trace(by_K) * kernel.sigma_n2
    W = kernel.relevance.sum()
    by_s = by_K * (single + 2 * pairs * s) / W  # through s, in which w stands as a share of W
    by_r = by_K * (of_near * near / NEAR + of_far * far / FAR)  # through r, in which w stands as it is
    by_column = ((by_s + by_r) @ X.one_hot * X.one_hot).sum(axis=0, dtype=np.float64)
    by_choice = np.bincount(X.choice_of, by_column, minlength=len(kernel.relevance))
    by_relevance = (by_choice - float((by_s * s).sum()) - float(by_r.sum())) * kernel.relevance
    by_distance = by_K * smooth * of_costs / -4
    by_costs = [(by_distance * (column[:, None] - column) ** 2).sum() for column in X.numbers.T]
    by_precision = np.array(by_costs) * kernel.precision
    return value, np.concatenate([by_sigma_f2, [by_sigma_n2], by_relevance, by_precision])
