"""Likeness of networks: how far their choices are apart, and the network of a space that is most like another."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from boostformer.architecture import Architecture, BlockSpec
from search_space.encoding import INACTIVE
from search_space.genes import Genes, GeneSpace
from search_space.space import SearchSpace, slot_values

OPTION = 0.5
"""What another value of a block's option weighs, where another block or width weighs 1."""


def apart(space: GeneSpace, one: Genes, others: Genes) -> NDArray[np.float64]:
    """Share of the choices in which networks differ, (…, G) and (…, G) -> (…): 0 for equal ones, at most 1.

    Where two have different blocks, their options do not count.
    """
    found = np.zeros(np.broadcast_shapes(one.shape[:-1], others.shape[:-1]))
    for column, parent in enumerate(space.parents):
        a, b = one[..., column], others[..., column]
        differs = (a != b) & (a != INACTIVE) & (b != INACTIVE)
        found += differs * (1.0 if parent is None else OPTION)
    return found / max(1.0, sum(1.0 if parent is None else OPTION for parent in space.parents))


def distances(space: GeneSpace, one: Genes, others: Genes) -> NDArray[np.float64]:
    """Give how far :func:`apart` each network is from each other one, (P, G) and (Q, G) -> (P, Q)."""
    return apart(space, one[:, None], others[None])


def nearer(space: GeneSpace, one: Genes, goal: Genes) -> Genes:
    """Give networks (N, G) with one more choice of ``goal`` than ``one`` has, both (G,); a block with its options."""
    found = []
    for column in range(len(space.parents)):
        if one[column] == goal[column] or INACTIVE in (one[column], goal[column]):
            continue
        row, changed = one.copy(), {column}
        for below, above in enumerate(space.parents):  # options stand behind their block
            if below == column or (above is not None and above[0] in changed):
                row[below] = goal[below]
                changed.add(below)
        found.append(row)
    return np.array(found, dtype=np.int16).reshape(-1, len(space.parents))


def nearest_genes(space: SearchSpace, arch: Architecture) -> tuple[int, ...]:
    """Give the genes of the network in the space that is most like ``arch``, which may lie outside of it.

    In each slot it has the same block where there is one, else the first, and the nearest of the numbers.
    """
    return tuple(
        gene
        for slot, wanted in zip(space.layout, slot_values(arch), strict=True)
        for gene in slot.genes[min(range(len(slot.variants)), key=lambda i: _unlike(slot.variants[i], wanted))]
    )


def _unlike(value: Any, wanted: Any) -> tuple[float, ...]:
    """Grade how unlike two variants of a slot are."""
    if value == wanted:
        return (0.0, 0.0)
    if isinstance(value, BlockSpec) and isinstance(wanted, BlockSpec):
        if value.name != wanted.name:
            return (2.0, 0.0)
        own, other = dict(value.options), dict(wanted.options)
        return (1.0, sum(_apart(own[name], other.get(name)) for name in own))
    return (1.0, _apart(value, wanted))


def _apart(value: Any, wanted: Any) -> float:
    numbers = all(isinstance(v, int | float) and not isinstance(v, bool) for v in (value, wanted))
    return abs(value - wanted) if numbers else float(value != wanted)
