"""`SearchSpace`: a finite set of networks that can be counted, enumerated, sampled and encoded."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
import math
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from operator import attrgetter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from boostformer.architecture import RGB_BANDS, STRIDES, Architecture, BlockSpec, Decoder, Stage
from boostformer.errors import UserError
from search_space.encoding import Block, Choice, Domain, Slot, make_slots
from search_space.genes import Genes, GeneSpace
from search_space.legality import illegal

STAGE_FIELDS = tuple(field.name for field in dataclasses.fields(Stage))
DECODER_FIELDS = tuple(field.name for field in dataclasses.fields(Decoder))
SLOT_NAMES = (
    "stem",
    *(f"stages.{i}.{field}" for i in range(len(STRIDES)) for field in STAGE_FIELDS),
    *(f"decoder.{field}" for field in DECODER_FIELDS),
)
"""The free fields of an architecture, in the order of its fields."""

FORMAT_VERSION = 1
"""Version of the YAML form of a space."""

_stage_fields, _decoder_fields = attrgetter(*STAGE_FIELDS), attrgetter(*DECODER_FIELDS)


@dataclass(frozen=True)
class SearchSpace:
    """All networks that have one of the allowed values in each slot.

    Spaces that are read are checked; a space that is made by hand must allow legal combinations only.

    Attributes:
        size: (H, W) of the input images.
        classes: number of classes.
        domains: the allowed scalars or blocks of each of :data:`SLOT_NAMES`.
        bands: of the input images.
        within_reach: paths such as "stages.0.mixer.mhsa" of blocks that no search would try by itself, but which this
            space may hold, because a network that it is made around has them.
    """

    size: tuple[int, int]
    classes: int
    domains: dict[str, Domain]
    bands: int = RGB_BANDS
    within_reach: tuple[str, ...] = ()

    # What may be chosen

    @cached_property
    def layout(self) -> tuple[Slot, ...]:
        """The slots, in the order of :data:`SLOT_NAMES`."""
        return make_slots((name, self.domains[name]) for name in SLOT_NAMES)

    @cached_property
    def slots(self) -> dict[str, tuple[Any, ...]]:
        """The variants of each slot: scalars, or complete :class:`BlockSpec` s."""
        return {slot.name: slot.variants for slot in self.layout}

    @cached_property
    def choices(self) -> tuple[Choice, ...]:
        """Every choice of the space, parents before their children: G of them."""
        return tuple(choice for slot in self.layout for choice in slot.choices)

    @cached_property
    def genes(self) -> GeneSpace:
        """The choices as strategies see them, for whole populations of networks as arrays."""
        return GeneSpace(self.choices)

    @cached_property
    def _draws(self) -> tuple[tuple[list[float], tuple[Any, ...]], ...]:
        """For each slot its variants, and the thresholds by which a uniform number becomes the number of a variant."""
        ends = (list(itertools.accumulate(_probabilities(self.domains[name]))) for name in SLOT_NAMES)
        return tuple((end[:-1], slot.variants) for end, slot in zip(ends, self.layout, strict=True))

    @property
    def count(self) -> int:
        """Exact number of networks."""
        return math.prod(len(slot.variants) for slot in self.layout)

    def __iter__(self) -> Iterator[Architecture]:
        """Yield every network once, the decoder's width running fastest."""
        return map(self._assemble, itertools.product(*(slot.variants for slot in self.layout)))

    def __contains__(self, arch: object) -> bool:
        """Tell whether this network, with all options spelled out, is one of the space."""
        return isinstance(arch, Architecture) and self._outside(arch) is None

    # Drawing

    def sample(self, rng: np.random.Generator) -> Architecture:
        """Draw a network: in each slot every block is equally likely, and so is every variant of the block."""
        draws = zip(self._draws, rng.random(len(self._draws)).tolist(), strict=True)
        return self._assemble([variants[bisect_right(thresholds, u)] for (thresholds, variants), u in draws])

    # Writing down

    def encode(self, archs: Iterable[Architecture]) -> NDArray[np.int16]:
        """Give the genes (P, G) of these networks; :class:`UserError` for one outside the space."""
        rows = [self._genes(arch) for arch in archs]
        return np.array(rows, dtype=np.int16).reshape(len(rows), len(self.choices))

    def decode(self, row: Sequence[int] | NDArray[np.int16]) -> Architecture:
        """Give the network with these genes (G,); ValueError when they are no network's."""
        genes = tuple(row.tolist() if isinstance(row, np.ndarray) else row)
        if len(genes) != len(self.choices):
            raise ValueError(f"{len(genes)} genes given, the space has {len(self.choices)} choices")
        try:
            return self._assemble([slot.variant_of[genes[slot.columns]] for slot in self.layout])
        except KeyError as error:
            raise ValueError(f"genes {genes} are no network's: {error} belongs to no variant") from None

    def _genes(self, arch: Architecture) -> list[int]:
        if reason := self._outside(arch):
            raise UserError(f"architecture {arch.id} is outside the search space: {reason}")
        fields = zip(self.layout, slot_values(arch), strict=True)
        return [gene for slot, value in fields for gene in slot.genes_of[value]]

    def _outside(self, arch: Architecture) -> str | None:
        """Give the reason why this network is not in the space, or None if it is."""
        for name in ("size", "classes", "bands"):
            if getattr(arch, name) != getattr(self, name):
                return f"{name} {getattr(arch, name)}, the space has {getattr(self, name)}"
        for slot, value in zip(self.layout, slot_values(arch), strict=True):
            if value not in slot.genes_of:
                if isinstance(value, BlockSpec):
                    return f"{slot.name} {value.to_dict()} is not among its {len(slot.variants)} variants"
                return f"{slot.name} {value}, allowed: {', '.join(map(str, slot.variants))}"
        return None

    def _assemble(self, values: Sequence[Any]) -> Architecture:
        """Make the network with these values in the slots."""
        n = len(STAGE_FIELDS)
        stages = tuple([Stage(*values[i : i + n]) for i in range(1, 1 + len(STRIDES) * n, n)])
        decoder = Decoder(*values[1 + len(STRIDES) * n :])
        return Architecture(stages, decoder, self.classes, self.size, values[0], self.bands)

    # Keeping

    def replace(
        self, *, size: tuple[int, int] | None = None, classes: int | None = None, bands: int | None = None
    ) -> SearchSpace:
        """Give the same choices for another input size (H, W), number of classes or of bands.

        Raises :class:`UserError` for a block that is illegal at that size.
        """
        for path, reason in illegal(self.domains, size or self.size, bands or self.bands, self.within_reach):
            height, width = size or self.size
            raise UserError(f"at {height}x{width}: {path}: {reason}")
        return dataclasses.replace(
            self, size=size or self.size, classes=classes or self.classes, bands=bands or self.bands
        )

    def to_dict(self) -> dict[str, Any]:
        """Give the YAML form, everything spelled out; :func:`search_space.space_from_dict` reads it back."""

        def listed(domain: Domain) -> Any:
            if isinstance(domain[0], Block):
                return {b.name: {k: list(v) for k, v in b.options} for b in domain if isinstance(b, Block)}
            return list(domain)

        height, width = self.size
        return {
            "version": FORMAT_VERSION,
            "size": f"{height}x{width}",
            "classes": self.classes,
            **({"bands": self.bands} if self.bands != RGB_BANDS else {}),  # as an architecture does
            **({"within_reach": list(self.within_reach)} if self.within_reach else {}),
            "stem": listed(self.domains["stem"]),
            "stages": [
                {field: listed(self.domains[f"stages.{i}.{field}"]) for field in STAGE_FIELDS}
                for i in range(len(STRIDES))
            ],
            "decoder": {field: listed(self.domains[f"decoder.{field}"]) for field in DECODER_FIELDS},
        }

    @cached_property
    def fingerprint(self) -> str:
        """Twelve hex digits of the content's hash: equal for equal spaces with the same order of values."""
        canonical = json.dumps(self.to_dict(), separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()[:12]


def _probabilities(domain: Domain) -> list[float]:
    """Give the probability of each variant: blocks are equally likely, and so are the variants of one block."""
    counts = [len(block.specs()) if isinstance(block, Block) else 1 for block in domain]
    return [1 / len(domain) / count for count in counts for _ in range(count)]


def slot_values(arch: Architecture) -> list[Any]:
    """Give what a network has in each of the slots, in the order of :data:`SLOT_NAMES`."""
    stages = [value for stage in arch.stages for value in _stage_fields(stage)]
    return [arch.stem, *stages, *_decoder_fields(arch.decoder)]


def slot_indices(space: SearchSpace, genes: Genes) -> dict[str, NDArray[np.int32]]:
    """Give, by the names of the slots, the number of each network's variant (P,), from their genes (P, G).

    ``space.slots[name][slot_indices(space, genes)[name][p]]`` is that field of network ``p``.
    """
    return {slot.name: slot.indices(genes) for slot in space.layout}
