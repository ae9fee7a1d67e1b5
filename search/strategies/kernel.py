"""How alike two networks are, learnt from scores: the covariance of a Gaussian process over genes and costs.

A sum of five: effects of single choices (a ridge regression on one-hot choices), of pairs of them, near and far
neighbourhoods (networks that differ in few choices score alike), and the costs. Each choice has a relevance, each
summand an amplitude; all follow from the likelihood of the examples, held near 1 by a prior while these are few.
Source: Rasmussen and Williams, "Gaussian Processes for Machine Learning", 2006, chapter 5 (likelihood, its gradient,
automatic relevance determination).
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
_NEAR, _FAR = 0.15, 0.4
"""Shares of all choices after which the likeness of neighbours has fallen to 1/e."""
_TYPICAL_AMPLITUDE, _AMPLITUDES_VARY, _RELEVANCES_VARY = 0.2, 1.5, 0.5
"""Of the prior: the median of amplitudes and noise, and the deviations of all logarithms."""
_ITERATIONS = 40


@dataclass(frozen=True)
class Inputs:
    """Networks as the kernel sees them.

    ``one_hot`` (P, F): for each value of each choice, and for each choice that is inactive, whether it is so;
    ``numbers`` (P, K): costs, about standard normal; ``choice_of`` (F,): the choice of a column.
    """

    one_hot: Single
    numbers: Single
    choice_of: NDArray[np.int64]

    @classmethod
    def of(cls, space: GeneSpace, genes: Genes, numbers: Matrix) -> Inputs:
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
    """``amplitudes`` (5,), ``noise`` of one training as a share of the scores' variance, ``relevance`` (G,), summing
    to about 1, and ``scales`` (K,) of the numbers."""

    amplitudes: Matrix
    noise: float
    relevance: Matrix
    scales: Matrix

    def __call__(self, a: Inputs, b: Inputs) -> Single:
        """(P, Q): the covariances, without noise."""
        total = np.zeros((len(a), len(b)), dtype=np.float32)
        for amplitude, part in zip(self.amplitudes.astype(np.float32), self._parts(a, b), strict=True):
            part *= amplitude
            total += part
        return total

    @property
    def variance(self) -> float:
        """Of a network with itself."""
        return float(self.amplitudes.sum())

    def _parts(self, a: Inputs, b: Inputs) -> list[Single]:
        """The summands, each 1 between equal networks."""
        relevance = (self.relevance / self.relevance.sum()).astype(np.float32)
        alike = (a.one_hot * relevance[a.choice_of]) @ b.one_hot.T
        scaled = a.numbers * self.scales.astype(np.float32), b.numbers * self.scales.astype(np.float32)
        apart = (scaled[0] * a.numbers).sum(1)[:, None] + (scaled[1] * b.numbers).sum(1) - 2 * scaled[0] @ b.numbers.T
        differing = (alike - 1) * np.float32(self.relevance.sum())
        near, far = np.exp(differing / np.float32(_NEAR)), np.exp(differing / np.float32(_FAR))
        return [alike, alike**2, near, far, np.exp(np.maximum(apart, 0) / np.float32(-4))]


def learn(space: GeneSpace, inputs: Inputs, scores: Matrix) -> Kernel:
    """The kernel under which ``scores`` (N,), of mean 0 and deviation 1, are likeliest, with the prior."""
    # The options of a block count half: where blocks differ, all of theirs do too.
    usual = np.array([1.0 if parent is None else 0.5 for parent in space.parents])
    usual /= max(usual.sum(), 1e-12)
    count = len(usual)

    def kernel(point: Matrix) -> Kernel:
        values = np.exp(point)
        amplitudes, noise, rest = values[:SUMMANDS], float(values[SUMMANDS]), values[SUMMANDS + 1 :]
        return Kernel(amplitudes, noise, usual * rest[:count], rest[count:])

    start = np.zeros(SUMMANDS + 1 + count + inputs.numbers.shape[1])
    start[: SUMMANDS + 1] = np.log(_TYPICAL_AMPLITUDE)
    vary = np.full(len(start), _RELEVANCES_VARY)
    vary[: SUMMANDS + 1] = _AMPLITUDES_VARY

    def loss(point: Matrix) -> tuple[float, Matrix]:
        value, slope = _loss(kernel(point), inputs, scores)
        off = (point - start) / vary
        return value + float(off @ off) / 2, slope + off / vary

    # The logarithms stay within what a float can bear.
    found = minimize(
        loss, start, jac=True, method="L-BFGS-B", bounds=[(-9, 5)] * len(start), options={"maxiter": _ITERATIONS}
    )
    return kernel(found.x)


def _loss(kernel: Kernel, inputs: Inputs, scores: Matrix) -> tuple[float, Matrix]:
    """The negative logarithm of the likelihood, and its gradient by the logarithm of every parameter."""
    parts = [part.astype(np.float64) for part in kernel._parts(inputs, inputs)]
    covariance = np.einsum("i,ijk->jk", kernel.amplitudes, parts)
    covariance[np.diag_indices_from(covariance)] += kernel.noise + 1e-6
    factor = cholesky(covariance, lower=True, check_finite=False)
    inverse = cho_solve((factor, True), np.eye(len(scores)), check_finite=False)
    solved = inverse @ scores
    value = float(scores @ solved) / 2 + float(np.log(np.diag(factor)).sum())
    slope = (inverse - np.outer(solved, solved)) / 2  # of the loss by the covariance

    alike, _, near, far, smooth = parts
    first, second, third, fourth, fifth = kernel.amplitudes
    by_amplitude = [float((slope * part).sum()) * a for a, part in zip(kernel.amplitudes, parts, strict=True)]
    total = kernel.relevance.sum()
    shares = slope * (first + 2 * second * alike) / total  # single choices and pairs see shares of the relevance
    sums = slope * (third * near / _NEAR + fourth * far / _FAR)  # neighbourhoods see the relevance that differs
    pull = ((shares + sums) @ inputs.one_hot * inputs.one_hot).sum(axis=0, dtype=np.float64)
    by_choice = np.bincount(inputs.choice_of, pull, minlength=len(kernel.relevance))
    by_relevance = (by_choice - float((shares * alike).sum()) - float(sums.sum())) * kernel.relevance
    bent = slope * smooth * fifth / -4
    distances = [(bent * (column[:, None] - column) ** 2).sum() for column in inputs.numbers.T]
    by_scale = np.array(distances) * kernel.scales
    return value, np.concatenate([by_amplitude, [np.trace(slope) * kernel.noise], by_relevance, by_scale])
