"""NNI's tuners behind our filter, in process. They know a single objective: an augmented Chebyshev scalarisation."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
from nni.algorithms.hpo.evolution_tuner import EvolutionTuner
from nni.algorithms.hpo.tpe_tuner import TpeTuner
from nni.tuner import Tuner

from racing.contest import Contest
from racing.filtered import run_filtered
from search.strategies.history import Key
from search_space.encoding import INACTIVE
from search_space.genes import GeneSpace

AUGMENTATION = 0.05
"""Weight of the sum beside the worst objective, as in ParEGO (Knowles 2006)."""


def nested_space(space: GeneSpace, parent: tuple[int, int] | None = None) -> dict[str, Any]:
    """NNI's search space of the choices under ``parent``: the options of a value are nested in it."""
    tree: dict[str, Any] = {}
    for column, choice in enumerate(space.choices):
        if space.parents[column] != parent:
            continue
        below = [nested_space(space, (column, gene)) for gene in range(len(choice.values))]
        values: list[Any] = list(range(len(choice.values)))
        if any(below):
            values = [{"_name": str(gene)} | options for gene, options in enumerate(below)]
        tree[choice.name] = {"_type": "choice", "_value": values}
    return tree


def key_of(space: GeneSpace, parameters: dict[str, Any]) -> Key:
    """The genes of what a tuner proposes from the :func:`nested_space`."""
    columns = {choice.name: column for column, choice in enumerate(space.choices)}
    genes = [INACTIVE] * len(columns)

    def walk(tree: dict[str, Any]) -> None:
        for name, value in tree.items():
            if name == "_name":
                continue
            nested = isinstance(value, dict)
            genes[columns[name]] = int(value["_name"] if nested else value)
            if nested:
                walk(value)

    walk(parameters)
    return tuple(genes)


class _Tuner:
    """A tuner that runs one trial at a time and maximises the reward."""

    def __init__(self, contest: Contest, tuner: Tuner) -> None:
        self._contest, self._tuner, self._trial = contest, tuner, -1

    def ask(self) -> Key:
        self._trial += 1
        ignored = {"st_callback": lambda *_: None}
        self._parameters = self._tuner.generate_multiple_parameters([self._trial], **ignored)[0]
        return key_of(self._contest.landscape.genes, self._parameters)

    def tell(self, key: Key, miou: float | None) -> None:
        reward = -2 - self._contest.excess(key) if miou is None else self._reward(key, miou)
        self._tuner.receive_trial_result(self._trial, self._parameters, reward)
        self._tuner.trial_end(self._trial, True)

    def add(self, key: Key, miou: float) -> None:
        """NNI's tuners have no use for results they did not ask for, or cannot import them while they run."""

    def _reward(self, key: Key, miou: float) -> float:
        landscape = self._contest.landscape
        values = landscape.minimised(np.array([miou]), self._contest.costs(key)[None])[0]
        return -float(values.max() + AUGMENTATION * values.sum())


def run_tpe(contest: Contest) -> None:
    tuner = TpeTuner("maximize", seed=contest.seed)
    tuner.update_search_space(nested_space(contest.landscape.genes))
    run_filtered(contest, _Tuner(contest, tuner))


def run_evolution(contest: Contest) -> None:
    """As it is by default: population 32. It takes no seed, so its generators are set from outside."""
    tuner = EvolutionTuner("maximize")
    tuner.update_search_space(nested_space(contest.landscape.genes))
    random.seed(contest.seed)
    tuner.random_state = np.random.RandomState(contest.seed)  # noqa: NPY002 (what NNI calls)
    tuner.population = []
    for _ in range(tuner.population_size):
        tuner._random_generate_individual()
    run_filtered(contest, _Tuner(contest, tuner))
