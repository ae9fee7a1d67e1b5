"""`Problem`: the networks of a search, its objectives and budgets, with exact costs at hand."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from boostformer.architecture import Architecture
from boostformer.errors import UserError
from evaluators.costs.budget import Budget
from evaluators.costs.counting import Cost
from evaluators.costs.memory import PeakPopulation, Peaks
from evaluators.costs.populations import Population
from evaluators.costs.table import CostTable
from evaluators.latency.additive import Additive
from results.summary import human
from results.trial import MIOU, megabytes, weights_mb
from search_space import SearchSpace, slot_indices
from search_space.genes import Genes, GeneSpace, keys

DRAWS = 4096
"""Number of networks that are drawn and costed at once."""
ENUMERABLE = 20_000
"""Largest space that is listed in full when drawing finds nothing new, in networks."""

Key = tuple[int, ...]
"""The genes of one network: its identity to strategies."""
Figures = dict[str, NDArray[Any]]
"""Costs of P networks by name, each of shape (P,): integers, or milliseconds in float64."""


class Exhausted(Exception):
    """The space holds no further network within the budgets, as far as could be found."""


@dataclass(frozen=True)
class Problem:
    """A search space with objectives and budgets: the ``Candidates`` of a strategy.

    Attributes:
        space: the networks.
        objectives: names, ``miou`` among them.
        budget: limits on costs.
        table: costs of a network's parts, counted as the budgets mean them.
        latency: predicts or estimates the milliseconds of any network. Without it they are known only of networks
            that were measured; an unknown latency violates no budget.
    """

    space: SearchSpace
    objectives: tuple[str, ...]
    budget: Budget
    table: CostTable
    latency: Additive | None = None

    @cached_property
    def peaks(self) -> Peaks:
        """Peak memory of a network's activations."""
        return Peaks(deployed=self.table.deployed)

    def key(self, arch: Architecture) -> Key:
        """Return the genes by which strategies know this network."""
        return keys(self.space.encode([arch]))[0]

    @property
    def genes(self) -> GeneSpace:
        return self.space.genes

    def fits(self, key: Key) -> bool:
        """Tell whether the network with these genes is within the budgets."""
        return self.affords(self.space.decode(key))

    def affords(self, arch: Architecture, latency_ms: float | None = None) -> bool:
        """Tell whether the network is within the budgets, as far as known; ``latency_ms`` is its measured latency."""
        return self.budget.fits(self._known(arch, latency_ms))

    def _known(self, arch: Architecture, latency_ms: float | None = None) -> dict[str, Any]:
        """Give what a network costs of all that is limited; None for a latency that only measuring tells."""
        if latency_ms is None and self.latency is not None:
            latency_ms = self.latency.milliseconds(arch)
        names = [name for name, _ in self.budget.limits]
        return {
            name: latency_ms if name == "latency_ms" else figure_of(arch, name, self.table, self.peaks)
            for name in names
        }

    def activations(self, arch: Architecture) -> int | None:
        """Give the peak memory of a network's activations in bytes, where it is limited."""
        return self.peaks.peak(arch) if any(name == "activations_mb" for name, _ in self.budget.limits) else None

    def excesses(self, arch: Architecture) -> str:
        """Say which budgets a network is over, as far as known; empty where it is within them."""
        cost = self.table.cost(arch)
        ms = None if self.latency is None else self.latency.milliseconds(arch)
        figures = {name: (_figure(cost, name, ms), limit) for name, limit in self.budget.limits}
        over = {name: pair for name, pair in figures.items() if pair[0] is not None and pair[0] > pair[1]}
        return ", ".join(
            f"{name} {human(name, value)} of {human(name, limit)}" for name, (value, limit) in over.items()
        )

    def costs(self, genes: Genes) -> NDArray[np.float64]:
        """Return the costs among the objectives, (P, G) -> (P, C), in their order; NaN where only measuring tells."""
        figures = self._figures(slot_indices(self.space, genes))
        unknown = np.full(len(genes), np.nan)
        columns = [figures.get(name, unknown) for name in self.objectives if name != MIOU]
        return np.column_stack(columns).astype(np.float64) if columns else np.empty((len(genes), 0))

    def excess(self, genes: Genes) -> NDArray[np.float64]:
        """Return the worst violation of a budget as a share of it, (P, G) -> (P,); at most 0 where the network fits."""
        return self._excess(self._figures(slot_indices(self.space, genes)))

    @property
    def _limits(self) -> list[tuple[str, float]]:
        """The limits that can be checked for any network, without measuring."""
        return [(name, limit) for name, limit in self.budget.limits if name != "latency_ms" or self.latency]

    def share(self, draws: int = 25 * DRAWS) -> float:
        """Estimate the share of random draws that fit the budgets."""
        genes = self.space.genes.sample(np.random.default_rng(0), draws)
        return float((self.excess(genes) <= 0).mean())

    def random(self, rng: np.random.Generator, known: Collection[Key]) -> Key:
        """Draw a network within the budgets that is not ``known``; raises :class:`Exhausted`.

        Draws are rejected until one fits. Where next to nothing fits, a random network is mended choice by choice.
        """
        for draws in (64, DRAWS, DRAWS, DRAWS, DRAWS):
            genes = self.space.genes.sample(rng, draws)
            for key in keys(genes[self.excess(genes) <= 0]):
                # Milliseconds added up in another order may differ in their last bits, so one by one counts.
                if key not in known and self.fits(key):
                    return key
        if self.space.count <= ENUMERABLE:
            listed = (self.key(arch) for arch in self.space if self.affords(arch))
            fitting = [key for key in listed if key not in known]
            if fitting:
                return fitting[rng.integers(len(fitting))]
            raise Exhausted(f"all networks of the space that fit the budgets are known ({len(known)} tried)")
        for _ in range(20):
            key = self._key(self._descend(self._excess, rng, stop=0.0))
            if key not in known and self.fits(key):
                return key
        raise Exhausted("no further network within the budgets was found")

    def check_reachable(self) -> None:
        """Raise :class:`UserError`, saying what the smallest network costs, when no network fits."""
        rng = np.random.default_rng(0)
        try:
            self.random(rng, ())
        except Exhausted:
            pass
        else:
            return
        needs = []
        for name, limit in self._limits:
            found = [self._descend(lambda figures, name=name: figures[name], rng) for _ in range(4)]  # type: ignore[misc]
            least = min(self._figures(_rows(self.space, v[None]))[name].item() for v in found)
            needs.append(
                f"{least:,.4g} {name} (limit {limit:,.4g})"
                if name.endswith(("_ms", "_mb"))
                else f"{least:,.0f} {name} (limit {limit:,})"
            )
        # Each minimum may be of another network, when the limits pull in different directions.
        raise UserError(f"budgets: no network of the space fits; the smallest found have {', '.join(needs)}")

    # Populations, as NumPy arrays

    @cached_property
    def _population(self) -> Population:
        return Population(self.table, self.space.slots, self.space.size, self.space.classes, self.space.bands)

    @cached_property
    def _population_peaks(self) -> PeakPopulation:
        return PeakPopulation(self.peaks, self.space.slots, self.space.size, self.space.classes, self.space.bands)

    @cached_property
    def _population_latency(self) -> Population | None:
        if self.latency is None:
            return None
        return Population(self.latency, self.space.slots, self.space.size, self.space.classes, self.space.bands)

    def _figures(self, indices: dict[str, NDArray[Any]]) -> Figures:
        """Return the costs used by objectives and budgets, for networks given by the variants in their slots."""
        cost = Cost(*self._population.figures(indices).T)  # its sums work on arrays as on numbers
        latency = None
        if self.latency is not None and self._population_latency is not None:
            latency = self._population_latency.figures(indices)[:, 0] + self.latency.overhead_ms
        asked = {"params", *self.objectives, *(name for name, _ in self.budget.limits)} - {MIOU}
        figures = {
            name: megabytes(self._population_peaks.figures(indices)[:, 0])
            if name == "activations_mb"
            else _figure(cost, name, latency)
            for name in asked
        }
        return {name: values for name, values in figures.items() if values is not None}

    def _excess(self, figures: Figures) -> NDArray[np.float64]:
        """Return the worst violation of each network (P,): at most 0 where it fits, -inf without limits."""
        shares = [figures[name] / limit - 1 for name, limit in self._limits]
        return np.maximum.reduce(shares) if shares else np.full(len(figures["params"]), -np.inf)

    def _key(self, variants: NDArray[np.int64]) -> Key:
        """Return the genes of the network with these variants in the slots (S,)."""
        pairs = zip(self.space.layout, variants.tolist(), strict=True)
        return tuple(gene for slot, number in pairs for gene in slot.genes[number])

    def _descend(
        self,
        measure: Callable[[Figures], NDArray[Any]],
        rng: np.random.Generator,
        stop: float = -np.inf,
    ) -> NDArray[np.int64]:
        """Lower ``measure`` from a random network, slot after slot, until no change helps or ``stop`` says so."""
        layout = self.space.layout
        variants = np.array([rng.integers(len(slot.variants)) for slot in layout])
        best = np.inf
        while True:
            before = best
            for s in rng.permutation(len(layout)):
                rows = np.repeat(variants[None], len(layout[s].variants), axis=0)
                rows[:, s] = np.arange(len(rows))
                values = measure(self._figures(_rows(self.space, rows)))
                if values.min() < best:
                    variants, best = rows[values.argmin()], values.min()
                if best <= stop:
                    return variants
            if best >= before:
                return variants


def _rows(space: SearchSpace, variants: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
    """Select the variants (P, S) by slot, as :func:`search_space.slot_indices` returns them."""
    return {slot.name: variants[:, i] for i, slot in enumerate(space.layout)}


def _figure(cost: Cost, name: str, latency: Any = None) -> Any:
    """Return one cost by its name, of one network or of a population; None for an unknown latency."""
    if name == "weights_mb":
        return weights_mb(cost.params)
    return latency if name == "latency_ms" else getattr(cost, name)


def figure_of(arch: Architecture, name: str, table: CostTable, peaks: Peaks | None = None) -> Any:
    """Give what can be told of a network's structure: one cost by its name.

    Args:
        arch: the network.
        name: of a cost that is no latency.
        table: counts costs, of the trained or the deployed network.
        peaks: tells the peak memory of the same; by default it is made.
    """
    if name == "activations_mb":
        return megabytes((peaks or Peaks(deployed=table.deployed)).peak(arch))
    return _figure(table.cost(arch), name)
