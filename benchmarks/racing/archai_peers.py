"""archai's searches, which refuse networks over budget by themselves and never train one twice."""

from __future__ import annotations

import os
import random
import tempfile
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from archai.discrete_search.algos import EvolutionParetoSearch, MoBananasSearch
from archai.discrete_search.api.archai_model import ArchaiModel
from archai.discrete_search.api.model_evaluator import ModelEvaluator
from archai.discrete_search.api.search_objectives import SearchObjectives
from archai.discrete_search.api.search_space import BayesOptSearchSpace, EvolutionarySearchSpace
from archai.discrete_search.predictors.dnn_ensemble import PredictiveDNNEnsemble
from overrides import overrides

from racing.contest import Contest
from search.strategies.history import Key
from search_space.genes import Genes, GeneSpace, keys

ENDLESS = 10**6
"""Iterations: the contest ends the search."""


class GeneSearchSpace(EvolutionarySearchSpace, BayesOptSearchSpace):
    """A :class:`GeneSpace` as archai sees it: models are genes, and nothing has weights."""

    def __init__(self, space: GeneSpace, seed: int) -> None:
        self._space, self._rng = space, np.random.default_rng(seed)

    @overrides
    def save_arch(self, model: ArchaiModel, file_path: str) -> None:
        """Nothing needs to be kept."""

    @overrides
    def load_arch(self, file_path: str) -> ArchaiModel:
        raise NotImplementedError

    @overrides
    def save_model_weights(self, model: ArchaiModel, file_path: str) -> None:
        """Genes have no weights."""

    @overrides
    def load_model_weights(self, model: ArchaiModel, file_path: str) -> None:
        raise NotImplementedError

    @overrides
    def random_sample(self) -> ArchaiModel:
        return _model(self._space.sample(self._rng, 1))

    @overrides
    def mutate(self, arch: ArchaiModel) -> ArchaiModel:
        return _model(self._space.mutate(_genes(arch), self._rng))

    @overrides
    def crossover(self, arch_list: list[ArchaiModel]) -> ArchaiModel:
        return _model(self._space.crossover(_genes(arch_list[0]), _genes(arch_list[1]), self._rng))

    @overrides
    def encode(self, arch: ArchaiModel) -> np.ndarray:
        return self._space.one_hot(_genes(arch))[0]


def _model(genes: Genes) -> ArchaiModel:
    key = keys(genes)[0]
    return ArchaiModel(arch=key, archid="-".join(map(str, key)))


def _genes(model: ArchaiModel) -> Genes:
    return np.array([model.arch], dtype=np.int16)


class _Evaluator(ModelEvaluator):
    def __init__(self, figure: Callable[[Key], float]) -> None:
        self._figure = figure

    @overrides
    def evaluate(self, arch: ArchaiModel, budget: float | None = None) -> float:
        return self._figure(arch.arch)


def _objectives(contest: Contest) -> SearchObjectives:
    """The accuracy is trained, costs are looked up, and the budget is a constraint."""
    objectives = SearchObjectives()
    objectives.add_objective("miou", _Evaluator(contest.train), higher_is_better=True)
    for column, name in enumerate(contest.landscape.objectives[1:]):
        cost = _Evaluator(lambda key, column=column: float(contest.costs(key)[column]))
        objectives.add_objective(name, cost, higher_is_better=False, compute_intensive=False)
    objectives.add_constraint("budget", _Evaluator(contest.excess), (-np.inf, 0.0))
    return objectives


def _run(search: type[Any], contest: Contest, **settings: Any) -> None:
    """Runs a search without its plots and reports, which would take most of the time."""
    os.environ["TQDM_DISABLE"] = "1"
    with tempfile.TemporaryDirectory() as folder:
        searcher = search(
            GeneSearchSpace(contest.landscape.genes, contest.seed),
            _objectives(contest),
            folder,
            num_iters=ENDLESS,
            clear_evaluated_models=False,
            seed=contest.seed,
            **settings,
        )
        for report in ("save_all_2d_pareto_evolution_plots", "save_search_state", "save_pareto_frontier_models"):
            setattr(searcher.search_state, report, lambda *_, **__: None)
        searcher.search()


def run_evolution(contest: Contest) -> None:
    random.seed(contest.seed)
    _run(EvolutionParetoSearch, contest, save_pareto_model_weights=False)


def run_mobananas(contest: Contest) -> None:
    """With its default ensemble of networks, on the processor."""
    torch.set_num_threads(1)
    torch.manual_seed(contest.seed)
    _run(MoBananasSearch, contest, surrogate_model=PredictiveDNNEnsemble(device="cpu"))
