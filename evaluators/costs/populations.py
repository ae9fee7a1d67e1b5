"""Sums over the parts of networks: costs, and milliseconds that are predicted part by part.

:class:`PartSums` adds up what a subclass says of each part; :class:`Population` does so for thousands of networks of a
space at once.
"""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from math import prod
from operator import attrgetter
from typing import Any, Generic, Protocol, Self, TypeVar

import numpy as np

from boostformer.architecture import STRIDES, Architecture, Decoder, Stage, stem_size
from boostformer.parts import Part, decoder_parts, stage_parts, stem_part

_BRANCH = ("norm", "arrangement", "layer_scale")
STAGE_GROUPS = (
    (("width", "embed", "arrangement"), frozenset({"embed", "stage_norm"})),
    (("width", "mixer", *_BRANCH, "local_connection"), frozenset({"mixer"})),
    (("width", "ffn", *_BRANCH), frozenset({"ffn", "norm"})),
)
"""Fields of a stage, and the roles of :func:`boostformer.parts.stage_parts` whose figures they alone decide."""
_FIELDS = tuple(attrgetter(*names, "depth") for names, _ in STAGE_GROUPS)
FUSING = frozenset({"fusion", "classify"})
"""The roles of the decoder that do not depend on the widths of the stages."""
_EMBED = 0
"""The group that depends on the width of the stage before too, and is there once, not in each layer."""


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
        groups, size, in_width = self._sums, arch.stem_size, 3
        key: Any = (arch.stem, arch.size)
        found = [groups[key] if key in groups else self._remember(key, self.stem(arch))]
        for i, stage in enumerate(arch.stages):
            for number, fields in enumerate(_FIELDS):
                key = (number, i, size, in_width if number == _EMBED else 0, fields(stage))
                found.append(groups[key] if key in groups else self._remember(key, self.stage_group(arch, i, number)))
            key = (i, size, stage.width, arch.decoder)
            if key not in groups:
                self._remember(key, self.decoder_roles(arch, {f"project{i}"}))
            found.append(groups[key])
            in_width = stage.width
        key = (arch.decoder, size, arch.classes)
        found.append(groups[key] if key in groups else self._remember(key, self.decoder_roles(arch, FUSING)))
        return found

    def stem(self, arch: Architecture) -> T:
        """Give the figure of the stem."""
        return self.part(stem_part(arch.stem, arch.size, self.deployed))

    def stage_group(self, arch: Architecture, i: int, group: int) -> T:
        """Give the figure of the roles of ``STAGE_GROUPS[group]`` in stage ``i``."""
        in_size = arch.stem_size if i == 0 else arch.map_sizes()[i - 1]
        in_width = 3 if i == 0 else arch.stages[i - 1].width
        listed = stage_parts(arch.stages[i], in_width, STRIDES[i], in_size, self.deployed)
        return self._total(listed, STAGE_GROUPS[group][1])

    def decoder_roles(self, arch: Architecture, roles: Collection[str]) -> T:
        """Give the figure of these roles of :func:`boostformer.parts.decoder_parts`."""
        widths = tuple(stage.width for stage in arch.stages)
        return self._total(decoder_parts(arch.decoder, widths, arch.map_sizes(), arch.classes, self.deployed), roles)

    def _remember(self, key: Any, figure: T) -> T:
        self._sums[key] = figure
        return figure

    def _total(self, parts: Iterable[tuple[str, Part, int]], roles: Collection[str]) -> T:
        total = self.nothing
        for role, part, times in parts:
            if role in roles:
                total = total + self.part(part) * times
        return total


Slots = Mapping[str, Sequence[Any]]


class Population:
    """Figures of whole populations at once, as sums of NumPy gathers: costs, or milliseconds.

    Args:
        sums: the figure of each part.
        slots: the variants of each slot of a space: of ``stages.0.mixer`` block specs, …, of ``decoder.width`` widths.
        size: (H, W) of the input.
        classes: number of labels.
    """

    def __init__(self, sums: PartSums[Any], slots: Slots, size: tuple[int, int], classes: int) -> None:
        self.slots = slots
        self._first = _first(slots, size, classes)
        groups = list(self._groups(sums))
        counts = [prod(len(slots[name]) for name in names) for names, _, _ in groups]
        population = f"{sums.deployed} {size} {classes} {dict(slots)}"
        rows = sums.kept_rows(population, sum(counts))
        if rows is None:
            found = (self._rows(names, figure) for names, figure, _ in groups)
            rows = np.array([sums.columns(figure) for figure in itertools.chain.from_iterable(found)])
            sums.keep_rows(population, rows)
        tables = np.split(rows, np.cumsum(counts)[:-1])
        self._lookups = [(names, table, times) for (names, _, times), table in zip(groups, tables, strict=True)]

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
                if group == _EMBED and i > 0:
                    names.append(f"stages.{i - 1}.width")
                times = None if group == _EMBED else f"stages.{i}.depth"
                yield names + stem, partial(sums.stage_group, i=i, group=group), times
            names = [f"stages.{i}.width", "decoder.width", "decoder.fusion"]
            yield names + stem, partial(sums.decoder_roles, roles={f"project{i}"}), None
        yield ["decoder.width", "decoder.fusion", *stem], partial(sums.decoder_roles, roles=FUSING), None

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
        for names, table, times in self._lookups:
            row = indices[names[0]].astype(np.int32)
            for name in names[1:]:
                row = row * len(self.slots[name]) + indices[name]
            found = table.take(row, axis=0)
            if times is not None:
                found *= np.array(self.slots[times]).take(indices[times])[:, None]
            total = found if total is None else np.add(total, found, out=total)
        assert total is not None
        return total


def _first(slots: Slots, size: tuple[int, int], classes: int) -> Architecture:
    """Make the network with the first variant in every slot, and one layer in each stage."""
    values = {name: variants[0] for name, variants in slots.items()}

    def fields(prefix: str) -> dict[str, Any]:
        return {name.removeprefix(prefix): value for name, value in values.items() if name.startswith(prefix)}

    stages = tuple(Stage(**fields(f"stages.{i}.") | {"depth": 1}) for i in range(len(STRIDES)))
    return Architecture(stages, Decoder(**fields("decoder.")), classes, size, values["stem"])
