"""Sums over the parts of networks: costs, and milliseconds that are predicted part by part.

:class:`PartSums` adds up what a subclass says of each part; :class:`Population` does so for thousands of networks of a
space at once.
"""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from math import prod
from operator import attrgetter
from typing import Any, Generic, Protocol, Self, TypeVar

import numpy as np

from boostformer.architecture import RGB_BANDS, STRIDES, Architecture, Decoder, Stage, stem_size
from boostformer.errors import UserError
from boostformer.parts import DecoderParts, Part, StageParts, decoder_parts, stage_parts, stem_part

_BRANCH = ("norm", "arrangement", "layer_scale")
Listed = Iterable[Part | None]
STAGE_GROUPS: tuple[tuple[tuple[str, ...], Callable[[StageParts], Listed]], ...] = (
    (("width", "embed", "arrangement"), lambda stage: (stage.embed, stage.stage_norm)),
    (("width", "mixer", *_BRANCH, "local_connection"), lambda stage: (stage.mixer,)),
    (("width", "ffn", *_BRANCH), lambda stage: (stage.ffn, stage.layer_norm)),
)
"""Fields of a stage, and the parts whose figures they alone decide."""
_FIELDS = tuple(attrgetter(*names, "depth") for names, _ in STAGE_GROUPS)
LARGEST = float(2**63 - 1025)
"""The largest double below what 64 bits hold."""
EMBED = 0
"""The group that depends on the width of the stage before too, and is there once, not in each layer."""


def fusing(decoder: DecoderParts) -> Listed:
    """Give the parts of the decoder that do not depend on the widths of the stages."""
    return decoder.fusion, decoder.classify


def projection(i: int) -> Callable[[DecoderParts], Listed]:
    """Give the part of the decoder that takes the map of stage ``i``."""
    return lambda decoder: (decoder.projections[i],)


class Summable(Protocol):
    """Anything that can be added, and multiplied by a number of times."""

    def __add__(self, other: Self, /) -> Self: ...
    def __mul__(self, times: int, /) -> Self: ...


T = TypeVar("T", bound=Summable)


class PartSums(ABC, Generic[T]):
    """Sums of the figures of a network's parts, ``deployed`` or as they are trained; sums that repeat are kept."""

    def __init__(self, nothing: T, deployed: bool) -> None:
        self.nothing, self.deployed = nothing, deployed
        self._sums: dict[Any, T] = {}

    @abstractmethod
    def part(self, part: Part) -> T:
        """Give the figure of one part."""

    def columns(self, figure: T) -> tuple[Any, ...]:
        """Turn a figure into the row of a population's table."""
        return (figure,)

    def kept_rows(self, population: str, count: int) -> np.ndarray | None:
        """Give the rows (count, ·) of all tables of a population, if an earlier process has kept them."""
        return None

    def keep_rows(self, population: str, rows: np.ndarray) -> None:
        """Keep the rows of a population for later processes."""

    def pieces(self, arch: Architecture) -> list[T]:
        """List figures that add up to the network's."""
        groups, size, in_width = self._sums, arch.stem_size, arch.bands
        key: Any = (arch.stem, arch.size, arch.bands)
        found = [groups[key] if key in groups else self._remember(key, self.stem(arch))]
        for i, stage in enumerate(arch.stages):
            for number, fields in enumerate(_FIELDS):
                key = (number, i, size, in_width if number == EMBED else 0, fields(stage))
                found.append(groups[key] if key in groups else self._remember(key, self.stage_group(arch, i, number)))
            key = (i, size, stage.width, arch.decoder)
            if key not in groups:
                self._remember(key, self.decoder_group(arch, projection(i)))
            found.append(groups[key])
            in_width = stage.width
        key = (arch.decoder, size, arch.classes)
        found.append(groups[key] if key in groups else self._remember(key, self.decoder_group(arch, fusing)))
        return found

    def stem(self, arch: Architecture) -> T:
        """Give the figure of the stem."""
        return self.part(stem_part(arch, self.deployed))

    def stage_group(self, arch: Architecture, i: int, group: int) -> T:
        """Give the figure of the parts of ``STAGE_GROUPS[group]`` in stage ``i``."""
        stage = stage_parts(arch, i, self.deployed)
        return self._total(STAGE_GROUPS[group][1](stage), 1 if group == EMBED else stage.depth)

    def decoder_group(self, arch: Architecture, group: Callable[[DecoderParts], Listed]) -> T:
        """Give the figure of the parts of the decoder that ``group`` names."""
        return self._total(group(decoder_parts(arch, self.deployed)))

    def _remember(self, key: Any, figure: T) -> T:
        self._sums[key] = figure
        return figure

    def _total(self, listed: Listed, times: int = 1) -> T:
        return sum((self.part(part) * times for part in listed if part is not None), start=self.nothing)


Slots = Mapping[str, Sequence[Any]]


class Population:
    """Figures of whole populations at once, as sums of NumPy gathers: costs, or milliseconds.

    Args:
        sums: the figure of each part.
        slots: the variants of each slot of a space: of ``stages.0.mixer`` block specs, …, of ``decoder.width`` widths.
        size: (H, W) of the input.
        classes: number of labels.
        bands: of the input.
    """

    def __init__(
        self, sums: PartSums[Any], slots: Slots, size: tuple[int, int], classes: int, bands: int = RGB_BANDS
    ) -> None:
        self.slots = slots
        self._first = _first(slots, size, classes, bands)
        groups = list(self._groups(sums))
        counts = [prod(len(slots[name]) for name in names) for names, _, _ in groups]
        population = f"{sums.deployed} {size} {classes} {bands} {dict(slots)}"
        rows = sums.kept_rows(population, sum(counts))
        if rows is None:
            found = (self._rows(names, figure) for names, figure, _ in groups)
            columns = [sums.columns(figure) for figure in itertools.chain.from_iterable(found)]
            check_countable(max(map(max, columns)))
            rows = np.array(columns)
            sums.keep_rows(population, rows)
        tables = np.split(rows, np.cumsum(counts)[:-1])
        self._lookups = [(names, table, times) for (names, _, times), table in zip(groups, tables, strict=True)]
        check_countable(sum(float(table.max()) * self._most(times) for _, table, times in self._lookups))

    def _most(self, times: str | None) -> int:
        return 1 if times is None else max(self.slots[times])

    def _groups(self, sums: PartSums[Any]) -> Iterator[tuple[list[str], Callable[[Architecture], Any], str | None]]:
        """Yield slots, the figure that they alone decide, and the slot by whose value it is multiplied, if any."""
        yield ["stem"], sums.stem, None
        # Where no stem changes the image's size, the figures behind it do not depend on it. It runs fastest, since the
        # modules are the same behind all stems and only the sizes of their maps differ.
        sizes = {stem_size(self._first.size, stem) for stem in self.slots["stem"]}
        stem = ["stem"] if len(sizes) > 1 else []
        for i in range(len(STRIDES)):
            for group, (fields, _) in enumerate(STAGE_GROUPS):
                names = [f"stages.{i}.{field}" for field in fields]
                if group == EMBED and i > 0:
                    names.append(f"stages.{i - 1}.width")
                times = None if group == EMBED else f"stages.{i}.depth"
                yield names + stem, partial(sums.stage_group, i=i, group=group), times
            names = [f"stages.{i}.width", "decoder.width", "decoder.fusion"]
            yield names + stem, partial(sums.decoder_group, group=projection(i)), None
        yield ["decoder.width", "decoder.fusion", *stem], partial(sums.decoder_group, group=fusing), None

    def _rows(self, names: list[str], figure: Callable[[Architecture], Any]) -> Iterator[Any]:
        """Yield the figure with every combination of the variants of these slots, the last slot running fastest."""
        for values in itertools.product(*(self.slots[name] for name in names)):
            yield figure(self._architecture(dict(zip(names, values, strict=True))))

    def _architecture(self, chosen: Mapping[str, Any]) -> Architecture:
        """Make a network with these values, the first variant in every other slot, and one layer in each stage."""
        fields: dict[str, dict[str, Any]] = {}
        for name, value in chosen.items():
            place, _, field = name.rpartition(".")
            fields.setdefault(place, {})[field] = value
        stages = list(self._first.stages)
        for i in range(len(stages)):
            if found := fields.get(f"stages.{i}"):
                stages[i] = replace(stages[i], **found)
        decoder = replace(self._first.decoder, **fields.get("decoder", {}))
        return replace(self._first, stages=tuple(stages), decoder=decoder, **fields.get("", {}))

    def figures(self, indices: Mapping[str, np.ndarray]) -> np.ndarray:
        """Sum up P networks, from the number of the variant (P,) in every slot.

        Gives (P, ·) the columns of a figure: of costs the three integers of ``Cost``, of latency the milliseconds.
        """
        total: np.ndarray | None = None
        for found, times in self.gathered(indices):
            if times is not None:
                found *= np.array(self.slots[times]).take(indices[times])[:, None]
            total = found if total is None else np.add(total, found, out=total)
        assert total is not None
        return total

    def gathered(self, indices: Mapping[str, np.ndarray]) -> Iterator[tuple[np.ndarray, str | None]]:
        """Yield (P, ·) the columns of each group's figure, and the slot by whose value it is multiplied, if any.

        The groups come in the order of :meth:`PartSums.pieces`.
        """
        for names, table, times in self._lookups:
            row = indices[names[0]].astype(np.int32)
            for name in names[1:]:
                row = row * len(self.slots[name]) + indices[name]
            yield table.take(row, axis=0), times


def check_countable(figure: float) -> None:
    """Raise :class:`UserError` for a figure that the arrays of populations, and databases, have no room for."""
    if figure > LARGEST:
        raise UserError(
            f"a network of so many multiply-adds ({figure:.1e}) cannot be counted, at most {LARGEST:.1e} are allowed; "
            "choose a smaller size, or attention to fewer keys"
        )


def _first(slots: Slots, size: tuple[int, int], classes: int, bands: int) -> Architecture:
    """Make the network with the first variant in every slot, and one layer in each stage."""
    values = {name: variants[0] for name, variants in slots.items()}

    def fields(prefix: str) -> dict[str, Any]:
        return {name.removeprefix(prefix): value for name, value in values.items() if name.startswith(prefix)}

    stages = tuple(Stage(**fields(f"stages.{i}.") | {"depth": 1}) for i in range(len(STRIDES)))
    return Architecture(stages, Decoder(**fields("decoder.")), classes, size, values["stem"], bands)
