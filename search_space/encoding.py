"""The encoding of a space's networks: slots, their variants, choices and genes.

A *slot* is one field of an architecture ("stages.0.mixer", "decoder.width"). Its *variants* are the scalars or the
complete :class:`BlockSpec` s that may stand there. A network has one variant in each slot, so the number of networks
is the product of the numbers of variants.

A *choice* is one decision of a search strategy, between at least two values. A slot of scalars is one choice. A slot of
blocks is a choice of the block and, for each block, a choice for each of its options, which is active only when that
block is chosen. The *genes* of a network are the indices of its values in all choices, -1 where a choice is inactive.
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

    ``condition`` is None for a choice that is always active, else the name of the block's choice and the block that
    makes this choice active. In a space parents stand before their children.
    """

    name: str
    values: tuple[Scalar, ...]
    condition: tuple[str, Scalar] | None = None


@dataclass(frozen=True, slots=True)
class Block:
    """A block by name, with the allowed values of each of its options, sorted by the options' names."""

    name: str
    options: tuple[tuple[str, tuple[Scalar, ...]], ...] = ()

    def specs(self) -> list[BlockSpec]:
        """List every complete specification, the last option running fastest."""
        names = [name for name, _ in self.options]
        combinations = itertools.product(*(values for _, values in self.options))
        return [BlockSpec.of(self.name, **dict(zip(names, values, strict=True))) for values in combinations]


Domain = tuple[Scalar, ...] | tuple[Block, ...]
"""The scalars or blocks that may stand in a slot."""


@dataclass(frozen=True)
class Slot:
    """One field of an architecture, with its variants and choices.

    The number of a variant is ``offsets[gene of the block]`` plus the sum of its genes times ``radices``.

    Attributes:
        name: the field, such as "stages.0.mixer".
        choices: the choices of this slot, L of them.
        columns: where these choices stand among all choices of the space.
        variants: scalars or complete block specifications, V of them.
        genes: of each variant, its genes (L,) in this slot's choices.
        radices: (L,) by how much one step of a gene raises the number of the variant; 0 for the choice of the block.
        offsets: of each block, the number of its first variant, made up for the -1 of other blocks' options; empty
            where there is no choice of a block.
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
        """The variants by their genes."""
        return dict(zip(self.genes, self.variants, strict=True))

    @cached_property
    def genes_of(self) -> dict[Any, tuple[int, ...]]:
        """The genes by their variant."""
        return dict(zip(self.variants, self.genes, strict=True))

    def indices(self, genes: NDArray[np.int16]) -> NDArray[np.int32]:
        """Give the number of this slot's variant (P,) in each row of the space's genes (P, G)."""
        result = np.zeros(len(genes), dtype=np.int32)
        columns = genes[:, self.columns].T
        for column, radix in zip(columns, self.radices, strict=True):
            if radix:
                result += np.multiply(column, radix, dtype=np.int32)
        if self.offsets:
            result += np.array(self.offsets, dtype=np.int32).take(columns[0])
        return result


def make_slots(domains: Iterable[tuple[str, Domain]]) -> tuple[Slot, ...]:
    """Make the slots of these named domains, their choices laid out one after the other."""
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
    own = []  # for each block: number of its first variant, how many it has, columns of its choices
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
