"""Optuna's samplers behind our filter."""

from __future__ import annotations

import warnings

import optuna
from optuna.distributions import CategoricalDistribution
from optuna.samplers import BaseSampler, NSGAIISampler, TPESampler
from optuna.trial import create_trial

from racing.contest import Contest
from racing.filtered import run_filtered
from search.strategies.history import Key
from search_space.encoding import INACTIVE

BUDGET = "budget"


class _Study:
    """A study in memory whose parameters are the active choices."""

    def __init__(self, contest: Contest, sampler: BaseSampler) -> None:
        self._contest = contest
        directions = ["maximize" if name == "miou" else "minimize" for name in contest.landscape.objectives]
        self._study = optuna.create_study(directions=directions, sampler=sampler)
        self._choices = contest.landscape.genes.choices
        self._parents = contest.landscape.genes.parents

    def ask(self) -> Key:
        self._trial = self._study.ask()
        genes: list[int] = []
        for choice, parent in zip(self._choices, self._parents, strict=True):
            active = parent is None or genes[parent[0]] == parent[1]
            indices = range(len(choice.values))
            genes.append(self._trial.suggest_categorical(choice.name, indices) if active else INACTIVE)
        return tuple(genes)

    def tell(self, key: Key, miou: float | None) -> None:
        self._trial.set_constraint(BUDGET, self._contest.excess(key))
        self._study.tell(self._trial, self._values(key, miou or 0.0))

    def add(self, key: Key, miou: float) -> None:
        active = [(choice, gene) for choice, gene in zip(self._choices, key, strict=True) if gene != INACTIVE]
        trial = create_trial(
            values=self._values(key, miou),
            params={choice.name: gene for choice, gene in active},
            distributions={choice.name: CategoricalDistribution(range(len(choice.values))) for choice, _ in active},
            constraints={BUDGET: self._contest.excess(key)},
        )
        self._study.add_trial(trial)

    def _values(self, key: Key, miou: float) -> list[float]:
        return [miou, *self._contest.costs(key).tolist()]


def run_nsga2(contest: Contest) -> None:
    """As it is by default: population 50."""
    run_filtered(contest, _Study(contest, NSGAIISampler(seed=contest.seed)))


def run_tpe(contest: Contest) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        sampler = TPESampler(seed=contest.seed, multivariate=True, group=True)
    run_filtered(contest, _Study(contest, sampler))
