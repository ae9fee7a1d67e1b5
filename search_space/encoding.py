"""How the networks of a space are written down: slots, the choices inside them, and genes.

A *slot* is one field of an architecture ("stages.0.mixer", "decoder.width"); what may stand there
are its *variants*, scalars or complete :class:`BlockSpec` s. A network is one variant for each slot,
so their number is the product of the slots' lengths.

A *choice* is what a search strategy decides. A scalar slot is one choice; a slot of blocks is a
choice of the block and, below it, one for each option of each block, active only when that block is
chosen. What has a single value is no choice. The *genes* of a network are the indices of its
values in all choices, -1 where a choice is inactive.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from boostformer.architecture import BlockSpec, Scalar

INACTIVE = -1


@dataclass(frozen=True, slots=True)
class Choice:
    """A decision between at least two ``values``.

    ``condition`` is None for a choice that is always active; else (name of the block's choice, the
    block that must have been chosen there). Parents stand before their children in a space.
    """

    name: str
    values: tuple[Scalar, ...]
    condition: tuple[str, Scalar] | None = None


@dataclass(frozen=True, slots=True)
class Block:
    """A block by name, with the values of every one of its options, sorted by the option."""

    name: str
    options: tuple[tuple[str, tuple[Scalar, ...]], ...] = ()

    def specs(self) -> list[BlockSpec]:
        """Every complete specification, the last option running fastest."""
        names = [name for name, _ in self.options]
        combinations = itertools.product(*(values for _, values in self.options))
        return [BlockSpec.of(self.name, **dict(zip(names, values, strict=True))) for values in combinations]


Domain = tuple[Scalar, ...] | tuple[Block, ...]
"""What may stand in a slot."""


@dataclass(frozen=True)
class Slot:
    """One field of an architecture and its ``variants``, each with its genes in this slot's choices.

    ``columns`` says where these choices stand among those of the space. A variant's number is
    ``offsets[gene of the block]`` + the sum of ``radices`` times the genes, where the offsets make up
    for the -1 of other blocks' options. ``offsets`` is empty when there is no choice of a block, and
    the radix of that choice itself is 0.
    """

    name: str
    choices: tuple[Choice, ...]
    columns: slice
    variants: tuple[Any, ...]
    genes: tuple[tuple[int, ...], ...]
    radices: tuple[int, ...]
    offsets: tuple[int, ...] = ()

    @cached_property
    def variant_of(self) -> dict[tuple[int, ...], Any]:
        """The variant with these genes."""
        return dict(zip(self.genes, self.variants, strict=True))

    @cached_property
    def genes_of(self) -> dict[Any, tuple[int, ...]]:
        """The genes of this variant."""
        return dict(zip(self.variants, self.genes, strict=True))

    def indices(self, genes: NDArray[np.int16]) -> NDArray[np.int32]:
        """Number of this slot's variant in each row: genes (P, G) -> (P,)."""
        result = np.zeros(len(genes), dtype=np.int32)
        columns = genes[:, self.columns].T
        for column, radix in zip(columns, self.radices, strict=True):
            if radix:
                result += np.multiply(column, radix, dtype=np.int32)
        if self.offsets:
            result += np.array(self.offsets, dtype=np.int32).take(columns[0])
        return result


def make_slots(domains: Iterable[tuple[str, Domain]]) -> tuple[Slot, ...]:
    """The slots of these named domains, their choices laid out one after the other."""
    slots: list[Slot] = []
    start = 0
    for name, domain in domains:
        make = _block_slot if isinstance(domain[0], Block) else _scalar_slot
        slot = make(name, domain, start)
        start = slot.columns.stop
        slots.append(slot)
    return tuple(slots)


def _scalar_slot(name: str, values: tuple[Any, ...], start: int) -> Slot:
    count = len(values)
    choices = (Choice(name, values),) if count > 1 else ()
    return Slot(
        name=name,
        choices=choices,
        columns=slice(start, start + len(choices)),
        variants=values,
        genes=tuple((i,) for i in range(count)) if choices else ((),),
        radices=(1,) * len(choices),
    )


def _block_slot(name: str, blocks: tuple[Any, ...], start: int) -> Slot:
    several = len(blocks) > 1
    choices = [Choice(name, tuple(block.name for block in blocks))] if several else []
    variants: list[BlockSpec] = []
    radices = [0] * several
    own = []  # of each block: (its first variant, how many, its columns)
    for block in blocks:
        specs = block.specs()
        first_column, radix = len(choices), len(specs)
        for option, values in block.options:
            radix //= len(values)
            if len(values) > 1:
                condition = (name, block.name) if several else None
                choices.append(Choice(f"{name}.{block.name}.{option}", values, condition))
                radices.append(radix)
        own.append((len(variants), len(specs), range(first_column, len(choices))))
        variants += specs
    genes = np.full((len(variants), len(choices)), INACTIVE)
    for b, (first, count, columns) in enumerate(own):
        rows = genes[first : first + count]
        if several:
            rows[:, 0] = b
        for column in columns:
            rows[:, column] = np.arange(count) // radices[column] % len(choices[column].values)
    return Slot(
        name=name,
        choices=tuple(choices),
        columns=slice(start, start + len(choices)),
        variants=tuple(variants),
        genes=tuple(tuple(row) for row in genes.tolist()),
        radices=tuple(radices),
        offsets=tuple(int(first - genes[first] @ radices) for first, _, _ in own) if several else (),
    )
