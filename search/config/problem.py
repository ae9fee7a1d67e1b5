"""What a strategy is asked to solve: a space, objectives and budgets, with exact costs at hand."""

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
from evaluators.costs.populations import Population
from evaluators.costs.table import CostTable
from evaluators.latency.additive import Additive
from search.strategies.base import Exhausted, Key
from search_space import SearchSpace, slot_indices
from search_space.genes import Genes, GeneSpace, keys

DRAWS = 4096
"""Networks that are drawn and costed at once."""
ENUMERABLE = 20_000
"""Spaces of up to so many networks are listed when drawing finds nothing new."""

Costs = NDArray[Any]
"""(P, 3) integers as :meth:`Population.figures` gives them, or with milliseconds (P, 4) in float64, exact to 2^53."""


@dataclass(frozen=True)
class Problem:
    """The search's networks, what to optimise, and what they may cost: the ``Candidates`` of its strategy.

    ``latency`` predicts or estimates the milliseconds of any network. Without it they are known only of networks
    that were measured, and asked for as an argument; ``None`` means not known, and violates no budget.
    """

    space: SearchSpace
    objectives: tuple[str, ...]
    budget: Budget
    table: CostTable
    latency: Additive | None = None

    def violations(self, arch: Architecture, latency_ms: float | None = None) -> dict[str, float]:
        """How far over each limit, as a share of it: at most 0 fits."""
        return self.budget.violations(self.table.cost(arch), self._milliseconds(arch, latency_ms))

    def key(self, arch: Architecture) -> Key:
        """What strategies know this network by."""
        return keys(self.space.encode([arch]))[0]

    @property
    def genes(self) -> GeneSpace:
        return self.space.genes

    def fits(self, key: Key) -> bool:
        return self.affords(self.space.decode(key))

    def affords(self, arch: Architecture, latency_ms: float | None = None) -> bool:
        """Whether the network is within the budgets, so far as is known."""
        return self.budget.fits(self.table.cost(arch), self._milliseconds(arch, latency_ms))

    def costs(self, genes: Genes) -> NDArray[np.float64]:
        figures = self._costs_of_genes(genes)
        unknown = np.full(len(genes), np.nan)
        columns = [
            unknown if name == "latency_ms" and self.latency is None else _COLUMNS[name](figures)
            for name in self.objectives
            if name != "miou"
        ]
        return np.column_stack(columns).astype(np.float64) if columns else np.empty((len(genes), 0))

    def excess(self, genes: Genes) -> NDArray[np.float64]:
        return self._excess(self._costs_of_genes(genes))

    def values(self, arch: Architecture, miou: float, latency_ms: float | None = None) -> list[float]:
        """The objectives' values in their natural units; NaN for a latency that is not known."""
        cost = self.table.cost(arch)
        ms = self._milliseconds(arch, latency_ms)
        known = {"miou": miou, "params": cost.params, "macs": cost.macs, "latency_ms": np.nan if ms is None else ms}
        return [float(known[name]) for name in self.objectives]

    def _milliseconds(self, arch: Architecture, latency_ms: float | None) -> float | None:
        return self.latency.milliseconds(arch) if self.latency and latency_ms is None else latency_ms

    @property
    def _limits(self) -> list[tuple[str, float]]:
        """Those that can be told of any network."""
        return [(name, limit) for name, limit in self.budget.limits if name != "latency_ms" or self.latency]

    def share(self, draws: int = 25 * DRAWS) -> float:
        """Share of random draws that fit the budgets, estimated."""
        genes = self.space.genes.sample(np.random.default_rng(0), draws)
        return float((self.excess(genes) <= 0).mean())

    def random(self, rng: np.random.Generator, known: Collection[Key]) -> Key:
        """Drawn by rejection. Where next to nothing fits, a random network is mended instead, choice by choice."""
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
        """Raises :class:`UserError`, saying what the smallest network costs, when no network fits."""
        rng = np.random.default_rng(0)
        try:
            self.random(rng, ())
        except Exhausted:
            pass
        else:
            return
        needs = []
        for name, limit in self._limits:
            found = [self._descend(_COLUMNS[name], rng) for _ in range(4)]
            least = min(
                _COLUMNS[name](self._figures({t.name: v[[i]] for i, t in enumerate(self.space.layout)})).item()
                for v in found
            )
            needs.append(
                f"{least:,.4g} {name} (limit {limit:,.4g})"
                if name == "latency_ms"
                else f"{least:,.0f} {name} (limit {limit:,})"
            )
        # Each of these may be another network, when the limits pull in different directions.
        raise UserError(f"budgets: no network of the space fits; the smallest found have {', '.join(needs)}")

    # Populations, as NumPy arrays

    @cached_property
    def _population(self) -> Population:
        return Population(self.table, self.space.slots, self.space.size, self.space.classes)

    @cached_property
    def _population_latency(self) -> Population | None:
        if self.latency is None:
            return None
        return Population(self.latency, self.space.slots, self.space.size, self.space.classes)

    def _costs_of_genes(self, genes: NDArray[np.int16]) -> Costs:
        return self._figures(slot_indices(self.space, genes))

    def _figures(self, indices: dict[str, NDArray[Any]]) -> Costs:
        costs = self._population.figures(indices)
        if self.latency is None or self._population_latency is None:
            return costs
        return np.hstack([costs, self._population_latency.figures(indices) + self.latency.overhead_ms])

    def _excess(self, costs: Costs) -> NDArray[np.float64]:
        """The worst violation of each network: costs -> (P,), at most 0 where it fits."""
        worst = np.full(len(costs), -np.inf)
        for name, limit in self._limits:
            np.maximum(worst, _COLUMNS[name](costs) / limit - 1, out=worst)
        return worst

    def _key(self, variants: NDArray[np.int64]) -> Key:
        """The network with these variants in the slots (S,)."""
        pairs = zip(self.space.layout, variants.tolist(), strict=True)
        return tuple(gene for slot, number in pairs for gene in slot.genes[number])

    def _descend(
        self,
        measure: Callable[[Costs], NDArray[Any]],
        rng: np.random.Generator,
        stop: float = -np.inf,
    ) -> NDArray[np.int64]:
        """From a random network down ``measure``, one slot after the other, until none helps or ``stop``."""
        layout = self.space.layout
        variants = np.array([rng.integers(len(slot.variants)) for slot in layout])
        best = np.inf
        while True:
            before = best
            for s in rng.permutation(len(layout)):
                rows = np.repeat(variants[None], len(layout[s].variants), axis=0)
                rows[:, s] = np.arange(len(rows))
                values = measure(self._figures({t.name: rows[:, i] for i, t in enumerate(layout)}))
                if values.min() < best:
                    variants, best = rows[values.argmin()], values.min()
                if best <= stop:
                    return variants
            if best >= before:
                return variants


_COLUMNS: dict[str, Callable[[Costs], Costs]] = {
    "params": lambda costs: costs[:, 0],
    "macs": lambda costs: costs[:, 1] + costs[:, 2],
    "latency_ms": lambda costs: costs[:, 3],
}
"""A limit's values from the columns of ``Costs``."""
