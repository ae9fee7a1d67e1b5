"""The true front of a landscape: exact where all networks can be listed, else the best that a long evolution finds."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from moocore import is_nondominated, pareto_rank

from racing.landscape import Landscape
from racing.score import hypervolume
from search_space.genes import Genes

FRONTS = Path(__file__).parent.parent / "data" / "race" / "fronts.json"
POPULATION, GENERATIONS, RESTARTS = 3000, 100, 2
CHUNK = 100_000


@dataclass(frozen=True)
class Front:
    """The hypervolume of the true front, of how many networks, how it was found, and the landscape's notes."""

    hypervolume: float
    size: int
    how: str
    notes: str = ""


def true_front(landscape: Landscape) -> Front:
    """Read from ``FRONTS``, where it is noted once it is known; computing it takes minutes."""
    known = json.loads(FRONTS.read_text()) if FRONTS.exists() else {}
    key = f"{landscape.name} {landscape.fingerprint()}"
    if key not in known:
        print(f"{landscape.name}: looking for its true front, once", flush=True)
        found = replace(_listed(landscape) if landscape.listed else _evolved(landscape), notes=landscape.notes())
        kept = {other: front for other, front in known.items() if other.split()[0] != landscape.name}
        FRONTS.parent.mkdir(parents=True, exist_ok=True)
        FRONTS.write_text(json.dumps(kept | {key: vars(found)}, indent=2, sort_keys=True) + "\n")
        return found
    return Front(**known[key])


def _values(landscape: Landscape, genes: Genes) -> np.ndarray:
    parts = [genes[i : i + CHUNK] for i in range(0, len(genes), CHUNK)]
    return np.concatenate([landscape.minimised(landscape.true(part), landscape.costs(part)) for part in parts])


def _listed(landscape: Landscape) -> Front:
    genes = landscape.all()
    genes = genes[landscape.excess(genes) <= 0]
    values = _values(landscape, genes)
    values = values[is_nondominated(values)]
    return Front(hypervolume(values), len(values), f"all {len(genes)} networks within budget")


def _evolved(landscape: Landscape) -> Front:
    """Evolution on the true values with an archive of everything that was ever on the front, from several seeds."""
    best = np.empty((0, len(landscape.objectives)))
    for seed in range(RESTARTS):
        rng = np.random.default_rng(seed)
        genes = landscape.genes.sample(rng, 20 * POPULATION)
        genes = genes[landscape.excess(genes) <= 0]
        values = _values(landscape, genes)
        for _ in range(GENERATIONS):
            mother, father = (genes[rng.integers(len(genes), size=POPULATION)] for _ in range(2))
            children = landscape.genes.crossover(mother, father, rng)
            children = np.where(rng.random(POPULATION)[:, None] < 0.5, children, mother)
            children = landscape.genes.mutate(children, rng, rng.geometric(0.5, POPULATION))
            children = children[landscape.excess(children) <= 0]
            genes = np.concatenate([genes, children])
            genes, rows = np.unique(genes, axis=0, return_index=True)
            values = np.concatenate([values, _values(landscape, children)])[rows]
            order = np.argsort(pareto_rank(values) + rng.random(len(values)))[:POPULATION]
            front = is_nondominated(values)  # never lost, however many
            keep = np.union1d(order, np.flatnonzero(front))
            genes, values = genes[keep], values[keep]
        best = np.concatenate([best, values])
        best = best[is_nondominated(best)]
        print(f"{landscape.name}: seed {seed}: {hypervolume(values):.5f}, together {hypervolume(best):.5f}", flush=True)
    networks = RESTARTS * GENERATIONS * POPULATION
    return Front(
        hypervolume(best), len(best), f"best known: evolution over {networks:,} networks with their true values"
    )
