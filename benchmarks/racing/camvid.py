"""Our own table as a surrogate benchmark: a space of 8·10^14 segmentation networks, accuracy predicted by trees.

Only some hundred of its networks were trained (``data/camvid_b0/README.md``). A model fitted to them predicts the
accuracy of any other, as in NAS-Bench-301 (Zela et al. 2022). The model is of a family that no strategy here uses,
and every race reports how well it predicts networks that it has not seen. Costs are exact.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
from camvid_table import RECIPE, genes_of_networks
from scipy.stats import kendalltau
from sklearn.ensemble import ExtraTreesRegressor, HistGradientBoostingRegressor
from sklearn.model_selection import KFold

from boostformer.errors import UserError
from evaluators.costs.budget import Budget
from evaluators.costs.table import CostTable
from racing.landscape import Floats, Landscape, normal
from search.config.problem import Problem
from search.strategies.history import Key
from search_space import read_space
from search_space.genes import Genes, GeneSpace

ENOUGH = 60
"""Networks that must have been trained before a model is worth racing on."""
REPEATED = 5
"""Networks that must have been trained with several seeds before the noise is measured."""
ASSUMED_NOISE = 0.005
"""Standard deviation of the mIoU between two trainings, until it is measured."""
FOLDS, REPEATS = 5, 3


class Trees:
    """The mean of extremely randomised trees and of boosted trees, each grown from several seeds."""

    def __init__(self) -> None:
        self._models = [
            *(ExtraTreesRegressor(100, min_samples_leaf=2, max_features=0.4, random_state=seed) for seed in range(2)),
            *(
                HistGradientBoostingRegressor(
                    learning_rate=0.05,
                    max_iter=120,
                    max_depth=3,
                    min_samples_leaf=6,
                    max_features=0.3,
                    random_state=seed,
                )
                for seed in range(4)
            ),
        ]

    def fit(self, features: Floats, targets: Floats) -> Trees:
        for model in self._models:
            model.fit(features, targets)
        return self

    def predict(self, features: Floats) -> Floats:
        """(P, F) -> (P,): both kinds count half."""
        forests, boosted = self._models[:2], self._models[2:]
        means = [np.mean([model.predict(features) for model in kind], axis=0) for kind in (forests, boosted)]
        return np.asarray(np.mean(means, axis=0))


class CamVid(Landscape):
    """mIoU of the short proxy training, MACs and parameters (of the folded network); about half fits the budgets."""

    name = "camvid"
    objectives = ("miou", "macs", "params")
    worst = (0.19, 42e6, 0.86e6)
    best = (0.22, 10e6, 0.17e6)

    def __init__(self, folder: Path) -> None:
        space = read_space(folder / "space.yaml")
        budget = Budget(tuple(zip(self.objectives[1:], self.worst[1:], strict=True)))
        self._problem = Problem(space, self.objectives, budget, CostTable())
        rows = {space.decode(genes).id: genes for genes in genes_of_networks(space)}
        scores = _scores(folder / "trainings.jsonl", rows)
        if len(scores) < ENOUGH:
            raise UserError(f"camvid: {len(scores)} networks of {folder} were trained, at least {ENOUGH} are needed")
        genes = np.array([rows[network] for network in scores], dtype=np.int16)
        self._targets = np.array([np.mean(values) for values in scores.values()])
        self._features = self._described(genes)
        self._model = Trees().fit(self._features, self._targets)
        self._noise, self._repeated = _noise(list(scores.values()))

    @property
    def genes(self) -> GeneSpace:  # type: ignore[override]
        return self._problem.genes

    def costs(self, genes: Genes) -> Floats:
        return self._problem.costs(genes)

    def excess(self, genes: Genes) -> Floats:
        return self._problem.excess(genes)

    def fits(self, key: Key) -> bool:
        return self._problem.fits(key)

    def random(self, rng: np.random.Generator, known: Collection[Key]) -> Key:
        return self._problem.random(rng, known)

    def true(self, genes: Genes) -> Floats:
        return self._model.predict(self._described(genes))

    def see(self, genes: Genes, seed: int) -> Floats:
        return self.true(genes) + self._noise * normal(genes, seed)

    def notes(self) -> str:
        """How far the model can be trusted: on networks that it was not fitted to, by repeated cross-validation."""
        taus, shares = [], []
        for repeat in range(REPEATS):
            predicted = np.empty_like(self._targets)
            for fit, rest in KFold(FOLDS, shuffle=True, random_state=repeat).split(self._features):
                model = Trees().fit(self._features[fit], self._targets[fit])
                predicted[rest] = model.predict(self._features[rest])
            taus.append(float(kendalltau(predicted, self._targets).statistic))
            shares.append(1 - float(np.var(self._targets - predicted) / np.var(self._targets)))
        measured = (
            f"measured on {self._repeated} networks" if self._repeated >= REPEATED else "assumed, not yet measured"
        )
        return (
            f"a model of {len(self._targets)} trained networks: cross-validated Kendall tau {np.mean(taus):.2f}, "
            f"R2 {np.mean(shares):.2f}; mIoU varies by {self._targets.std():.4f} between networks and by "
            f"{self._noise:.4f} between trainings of one ({measured})"
        )

    def _described(self, genes: Genes) -> Floats:
        """(P, G) -> (P, F): choices one-hot, and counted over the stages; numbers as such; logarithms of the costs."""
        one_hot = self.genes.one_hot(genes)
        numeric = [
            (column, np.array([*choice.values, 0], dtype=np.float64))  # the last is found by -1
            for column, choice in enumerate(self.genes.choices)
            if not any(isinstance(value, str | bool) for value in choice.values)
        ]
        numbers = [values[genes[:, column]] for column, values in numeric]
        return np.column_stack([one_hot, one_hot @ self._kinds, *numbers, np.log(self.costs(genes))]).astype(np.float64)

    @cached_property
    def _kinds(self) -> Floats:
        """(values, kinds): which values of which choices are the same one in different stages."""
        values = [
            (choice.name.split(".", 2)[-1], value) if choice.name.startswith("stages.") else None
            for choice in self.genes.choices
            for value in choice.values
        ]
        kinds = list(dict.fromkeys(kind for kind in values if kind))
        member = np.zeros((len(values), len(kinds)))
        for row, kind in enumerate(values):
            if kind:
                member[row, kinds.index(kind)] = 1
        return member


def _scores(file: Path, known: Collection[str]) -> dict[str, list[float]]:
    """The mIoU of each short training, by network."""
    scores = defaultdict(list)
    for line in file.read_text().split("\n")[:-1] if file.exists() else []:
        training = json.loads(line)
        if training["id"] not in known:
            raise UserError(f"{file}: network {training['id']} is not one of the table's; the space has changed")
        if training["iterations"] == RECIPE["iterations"] and "miou" in training:
            scores[training["id"]].append(training["miou"])
    return scores


def _noise(scores: Sequence[Sequence[float]]) -> tuple[float, int]:
    """The standard deviation between trainings of one network, pooled, and of how many networks."""
    repeated = [values for values in scores if len(values) > 1]
    if len(repeated) < REPEATED:
        return ASSUMED_NOISE, len(repeated)
    squares = sum(float(np.var(values, ddof=1)) * (len(values) - 1) for values in repeated)
    return float(np.sqrt(squares / sum(len(values) - 1 for values in repeated))), len(repeated)
