"""Rank correlation of models of the score on networks that they have not seen, by how many networks they have.

``python benchmarks/surrogates.py [--tx2 CSV]`` compares our Gaussian process with a ridge regression, extremely
randomised trees and a small neural network, on the landscapes of the race and on the trained networks of
`data/camvid_b0`; there also with zero-cost proxies as features (--zero-cost, some minutes). All see the same noisy
scores of the same random networks within budget. The correlation (Kendall's tau-b) is with the true scores, or in the
table with the scores of the other networks.
"""

from __future__ import annotations

import os

os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")

import argparse
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
from machine import processor, versions
from racing.landscape import Floats, Landscape
from racing.landscapes import landscape
from scipy.stats import kendalltau
from sklearn.ensemble import ExtraTreesRegressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import RidgeCV
from sklearn.neural_network import MLPRegressor
from sklearn.preprocessing import StandardScaler
from zero_cost import zero_cost_proxies

from boostformer.errors import UserError
from search.strategies.gaussian_process import GaussianProcess, learn_kernel
from search.strategies.kernel import Inputs
from search_space.genes import Genes, GeneSpace

HERE = Path(__file__).parent
SEEN, UNSEEN, REPEATS = (25, 50, 100, 200), 1000, 10

Model = Callable[[GeneSpace, Inputs, Floats, Inputs], Floats]
"""(space, networks, their scores, other networks) -> what these will score."""


def gaussian_process(space: GeneSpace, known: Inputs, scores: Floats, others: Inputs) -> Floats:
    return GaussianProcess(learn_kernel(space, known, scores), known, scores).predict(others)[0]


def ridge(_: GeneSpace, known: Inputs, scores: Floats, others: Inputs) -> Floats:
    return np.asarray(RidgeCV(np.logspace(-3, 3, 13)).fit(_flat(known), scores).predict(_flat(others)))


def trees(_: GeneSpace, known: Inputs, scores: Floats, others: Inputs) -> Floats:
    forest = ExtraTreesRegressor(200, max_features=0.5, min_samples_leaf=2, random_state=0)
    return np.asarray(forest.fit(_flat(known), scores).predict(_flat(others)))


def network(_: GeneSpace, known: Inputs, scores: Floats, others: Inputs) -> Floats:
    """The mean of five, each of two hidden layers, stopped early."""
    warnings.simplefilter("ignore", ConvergenceWarning)
    scale = StandardScaler().fit(scores[:, None])
    found = []
    for seed in range(5):
        one = MLPRegressor(
            hidden_layer_sizes=(64, 64), alpha=0.1, learning_rate_init=5e-3, max_iter=300, random_state=seed
        )
        one.fit(_flat(known), scale.transform(scores[:, None])[:, 0])
        found.append(one.predict(_flat(others)))
    return np.asarray(np.mean(found, axis=0))


MODELS: dict[str, Model] = {
    "Gaussian process": gaussian_process,
    "ridge": ridge,
    "extra trees": trees,
    "neural networks": network,
}


def _flat(inputs: Inputs) -> Floats:
    return np.hstack([inputs.one_hot, inputs.numbers]).astype(np.float64)


def inputs_of(space: GeneSpace, genes: Genes, costs: Floats, more: Floats | None = None) -> Inputs:
    numbers = np.log(costs) if more is None else np.hstack([np.log(costs), more])
    spread = numbers.std(axis=0)
    return Inputs.of(space, genes, (numbers - numbers.mean(axis=0)) / np.where(spread > 0, spread, 1))


def _floored(scores: Floats) -> Floats:
    """As our strategy sees them: how bad the worst are tells nothing about the best."""
    middle = np.median(scores)
    return np.maximum(scores, middle - 4 * (np.quantile(scores, 0.75) - middle))


def on_landscape(found: Landscape, model: Model, count: int) -> tuple[list[float], float]:
    """Kendall's tau of each repeat, and seconds for one fit and prediction."""
    taus, began = [], time.perf_counter()
    for repeat in range(REPEATS):
        rng = np.random.default_rng(repeat)
        genes = found.genes.sample(rng, 40 * (count + UNSEEN))
        genes = np.unique(genes[found.excess(genes) <= 0], axis=0)
        genes = genes[rng.permutation(len(genes))][: count + UNSEEN]
        inputs, rows = inputs_of(found.genes, genes, found.costs(genes)), np.arange(len(genes))
        seen = found.see(genes[:count], repeat)
        predicted = model(found.genes, inputs[rows[:count]], _floored(seen), inputs[rows[count:]])
        taus.append(float(kendalltau(predicted, found.true(genes[count:])).statistic))
    return taus, (time.perf_counter() - began) / REPEATS


def on_table(space: GeneSpace, inputs: Inputs, scores: Floats, model: Model, count: int) -> list[float]:
    """The same where every network was trained once: fitted on some, compared with the others."""
    taus = []
    for repeat in range(REPEATS):
        order = np.random.default_rng(repeat).permutation(len(scores))
        known, others = order[:count], order[count:]
        predicted = model(space, inputs[known], scores[known], inputs[others])
        taus.append(float(kendalltau(predicted, scores[others]).statistic))
    return taus


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tx2", type=Path, default=HERE.parent.parent / "shared" / "bench" / "nb201_cifar10_tx2.csv")
    parser.add_argument("--zero-cost", action="store_true", help="with zero-cost proxies as features too")
    options = parser.parse_args()
    print(f"{processor()}; {versions('numpy', 'scipy', 'scikit-learn')}; {REPEATS} repeats")
    for name in ("tx2", "h", "pairwise"):
        try:
            found = landscape(name, options.tx2, HERE / "data" / "camvid_b0")
        except UserError as error:
            print(f"{name} is left out: {error}")
            continue
        for title, model in MODELS.items():
            cells, seconds = [], 0.0
            for count in SEEN:
                taus, seconds = on_landscape(found, model, count)
                cells.append(f"{np.mean(taus):.3f} ±{np.std(taus):.3f}")
            print(f"{name:<14}{title:<18}{'  '.join(cells)}  {1000 * seconds:.0f} ms with {SEEN[-1]}", flush=True)
    _table(options.zero_cost)


def _table(with_proxies: bool) -> None:
    from camvid_table import trained

    space, genes, costs, scores = trained()
    described = {"": inputs_of(space.genes, genes, costs)}
    if with_proxies:
        proxies = zero_cost_proxies([space.decode(row) for row in genes])
        for name, values in proxies.items():
            print(f"camvid table  {name}: tau {kendalltau(values, scores).statistic:.3f} with the score")
        described[" with zero-cost"] = inputs_of(space.genes, genes, costs, np.column_stack([*proxies.values()]))
    for extra, inputs in described.items():
        for title, model in MODELS.items():
            counts = [count for count in SEEN if count <= 0.8 * len(scores)]
            cells = [
                f"{np.mean(taus):.3f} ±{np.std(taus):.3f}"
                for taus in (on_table(space.genes, inputs, scores, model, count) for count in counts)
            ]
            print(f"camvid table  {title + extra:<34}{'  '.join(cells)}", flush=True)
    for name, values in zip(("macs", "params"), costs.T, strict=True):
        print(f"camvid table  {name} alone: tau {kendalltau(values, scores).statistic:.3f}")


if __name__ == "__main__":
    main()
