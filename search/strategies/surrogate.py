"""The project's own strategy: a model of the score, asked about thousands of networks before one is trained.

Costs are known; a latency that only a board can tell is predicted by a model too. Evolution finds networks with the
largest expected improvement of the hypervolume. Networks in training count with their expected score, so that workers
spread out.

Where networks inherit, the model of the score also sees what each begins from, so that a candidate is judged as the
child of the parent that it would have.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache, cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr
from threadpoolctl import ThreadpoolController

from results.trial import Status
from search.strategies.base import PATIENCE, Inheritance, Strategy
from search.strategies.gaussian_process import GaussianProcess, learn_kernel
from search.strategies.history import Candidates, Key
from search.strategies.improvement import Improvement
from search.strategies.kernel import Inputs, Kernel
from search.strategies.ranking import best_first, front_of
from search.strategies.tpe import TPE
from search_space.genes import Genes, keys

Matrix = NDArray[np.float64]
Rows = NDArray[np.int64]
Shaped = Callable[[Matrix], Matrix]
Learnt = Callable[[Callable[[Rows], Inputs], Rows, Matrix, Shaped], Kernel]

ENOUGH = 8
"""With fewer scores TPE guesses."""
EXAMPLES = 400
"""The model learns from at most so many networks: half the best, half from among all others."""
DRAWN_FOR_COSTS = 2000
DRAWN, BRED, ROUNDS, PARENTS = 200, 300, 5, 60
"""Evolution: networks drawn first, children of each round, rounds, and parents of the children."""


class Surrogate(Strategy):
    """Evolution on the expected hypervolume improvement under a Gaussian process."""

    def __init__(self, candidates: Candidates, seed: int, inheritance: Inheritance | None = None) -> None:
        super().__init__(candidates, seed, inheritance)
        self._few = TPE(candidates, seed)
        self._kernels: dict[bytes, Kernel] = {}

    def guesses(self, rng: np.random.Generator) -> Iterator[Key]:
        if len(self.history.scored) < ENOUGH or not len(self.history.fitting):
            self._few.history = self.history
            return self._few.guesses(rng)
        with _blas().limit(limits=1):
            return self._promising(_Belief(self, self._usual_costs, self._kernel), rng)

    @cached_property
    def _usual_costs(self) -> Matrix:
        """Costs (P, C) of random networks, within the budgets unless these are too tight to draw."""
        genes = self.candidates.genes.sample(np.random.default_rng(0), DRAWN_FOR_COSTS)
        fits = self.candidates.excess(genes) <= 0
        return self.candidates.costs(genes[fits] if fits.sum() >= DRAWN_FOR_COSTS / 20 else genes)

    def _kernel(self, seen: Callable[[Rows], Inputs], rows: Rows, values: Matrix, shaped: Shaped) -> Kernel:
        """Learn a kernel, anew whenever a sixth more is known: it follows from the history, and seldom takes time."""
        count = ENOUGH
        while (more := math.ceil(count * 7 / 6)) <= len(values):
            count = more
        first = rows[:count]
        known = self.history.genes[first].tobytes() + values[:count].tobytes()
        if self.inheritance is not None:
            known += self.history.parents[first].tobytes()
        if known not in self._kernels:
            self._kernels[known] = learn_kernel(self.candidates.genes, seen(first), shaped(values[:count]))
        return self._kernels[known]

    def _promising(self, belief: _Belief, rng: np.random.Generator) -> Iterator[Key]:
        """Evolve networks from the best so far and from one another; yield those of the largest expected gain first."""
        space = self.candidates.genes
        best = self.history.genes[belief.best(PARENTS)]
        parents, new = best, self.newcomers(rng, DRAWN)
        pool, gains, seen = new[:0], np.empty(0), set(self.history.known)
        for _ in range(ROUNDS):
            mothers, fathers = (parents[rng.integers(len(parents), size=BRED)] for _ in range(2))
            crossed = (rng.random(BRED) < 0.5)[:, None]
            children = np.where(crossed, space.crossover(mothers, fathers, rng), mothers)
            new = np.concatenate([new, space.mutate(children, rng, rng.integers(1, 4, size=BRED))])
            new = new[self.candidates.excess(new) <= 0]
            fresh = [key not in seen and not seen.add(key) for key in keys(new)]  # type: ignore[func-returns-value]
            new = new[np.array(fresh, dtype=bool)]
            pool, gains = np.concatenate([pool, new]), np.concatenate([gains, belief.gain(new)])
            top = np.argsort(-gains, kind="stable")[: PARENTS // 2]
            parents, new = np.concatenate([pool[top], best]), new[:0]
        return iter(keys(pool[np.argsort(-gains, kind="stable")[:PATIENCE]]))


@cache
def _blas() -> ThreadpoolController:
    """Control the threads of BLAS: on small matrices they would wait for each other, most of all beside trainings."""
    return ThreadpoolController()


class _Belief:
    """Models of score and latency, fitted to the history."""

    def __init__(self, strategy: Strategy, usual_costs: Matrix, learnt: Learnt) -> None:
        self._strategy, self._candidates, self._history = strategy, strategy.candidates, strategy.history
        history = self._history
        if strategy.inheritance is not None:
            self._breeding, self._parents = strategy.breeding(), history.parents
        self._told = ~np.isnan(usual_costs).any(axis=0)
        logs = np.log(usual_costs[:, self._told])
        self._centre, self._spread = logs.mean(axis=0), logs.std(axis=0) + 1e-9
        self._latency: GaussianProcess | None = None
        measured = np.flatnonzero(~np.isnan(history.latency))
        if len(measured):
            latencies = history.latency[measured]
            self._latency = self._model(
                lambda rows: self._seen(history.genes[rows])[0], measured, latencies, np.log, learnt
            )

        scored = history.scored
        chosen = np.sort(_spread(history.values(scored)))
        examples = scored[chosen]
        self._score = self._model(self._known, scored, history.miou[scored], _floored, learnt, chosen)

        running = np.array(
            [i for i, o in enumerate(history.observations) if o.status is Status.RUNNING], dtype=np.int64
        )
        self._rows = np.concatenate([np.intersect1d(examples, history.fitting), running])
        costs = self._seen(history.genes[self._rows])[1]
        costs = np.where(np.isnan(history.costs[self._rows]), costs, history.costs[self._rows])
        expected = self._score.predict(self._known(self._rows))[0]
        self._values = np.column_stack([-expected, costs])
        front = front_of(self._values)
        usual = np.concatenate([costs[front], usual_costs[~np.isnan(usual_costs).any(axis=1)]])
        self._lowest, self._range = usual.min(axis=0, initial=np.inf), np.ptp(usual, axis=0) + 1e-12
        self._improvement = Improvement(expected[front], self._scaled(costs[front]), expected.min())

    def best(self, count: int) -> Rows:
        """Indices of the best ``count`` networks of the history, by expected score rather than by the noisy one."""
        return self._rows[best_first(self._values, count)]

    def gain(self, genes: Genes) -> Matrix:
        """Give the expected gain of hypervolume (P,) of genes (P, G)."""
        if not len(genes):
            return np.empty(0)
        inputs, costs = self._seen(genes)
        whole = inputs
        if self._strategy.inheritance is not None:
            whole = self._with_ancestry(inputs, genes, self._strategy.parents_of(genes, self._breeding))
        found = self._improvement.expected(*self._score.predict(whole), self._scaled(costs))
        if self._latency is not None and (over := self._history.latency[self._history.rejected]).size:
            mean, deviation = self._latency.predict(inputs)
            found = found * ndtr((np.log(over.min()) - mean) / deviation)
        return found

    def _seen(self, genes: Genes) -> tuple[Inputs, Matrix]:
        """Give networks (P, G) as the models see them, and their costs (P, C), predicted where they are unknown."""
        costs = self._candidates.costs(genes)
        numbers = (np.log(costs[:, self._told]) - self._centre) / self._spread
        inputs = Inputs.of(self._candidates.genes, genes, numbers)
        if not self._told.all() and self._latency is not None:
            costs[:, ~self._told] = np.exp(self._latency.predict(inputs)[0])[:, None]
        return inputs, costs

    def _known(self, rows: Rows) -> Inputs:
        """Give networks of the history as the model of the score sees them."""
        genes = self._history.genes[rows]
        inputs = self._seen(genes)[0]
        if self._strategy.inheritance is None:
            return inputs
        return self._with_ancestry(inputs, genes, self._parents[rows])

    def _with_ancestry(self, inputs: Inputs, genes: Genes, parents: Rows) -> Inputs:
        more = self._strategy.ancestry(genes, parents).astype(np.float32)
        return replace(inputs, numbers=np.hstack([inputs.numbers, more]))

    @staticmethod
    def _model(
        seen: Callable[[Rows], Inputs],
        rows: Rows,
        values: Matrix,
        shaped: Shaped,
        learnt: Learnt,
        chosen: Rows | slice = slice(-EXAMPLES, None),
    ) -> GaussianProcess:
        """Fit a model.

        Args:
            seen: gives networks of the history as the model sees them.
            rows: indices (R,) of networks of the history.
            values: what the model predicts, known of these networks (R,).
            shaped: how values are transformed before.
            learnt: learns the kernel, from all of these networks.
            chosen: which of these networks the model is fitted to.
        """
        kernel = learnt(seen, rows, values, shaped)
        return GaussianProcess(kernel, seen(rows[chosen]), shaped(values)[chosen])

    def _scaled(self, costs: Matrix) -> Matrix:
        """Scale costs (P, C) to 0…1 from the lowest to the highest usual one; at least one column, of zeros."""
        return (costs - self._lowest) / self._range if costs.shape[1] else np.zeros((len(costs), 1))


def _floored(scores: Matrix) -> Matrix:
    """Raise the lowest scores: how bad the worst networks are tells nothing about the best."""
    median = np.median(scores)
    return np.maximum(scores, median - 4 * (np.quantile(scores, 0.75) - median))


def _spread(values: Matrix) -> Rows:
    """Choose at most ``EXAMPLES`` of the points -> indices: half are the best, half an even share of the others."""
    if len(values) <= EXAMPLES:
        return np.arange(len(values))
    best = best_first(values, EXAMPLES // 2)
    others = np.setdiff1d(np.arange(len(values)), best)
    return np.concatenate([best, others[np.linspace(0, len(others) - 1, EXAMPLES - len(best)).astype(np.int64)]])
