"""Scan of a data set's masks: pixels by value, and the palettes' colours, found once and cached."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from boostformer.data.colours import colour_code, packed_colours
from boostformer.data.config import MOST_VALUES
from boostformer.data.faults import Fault, refuse
from boostformer.data.images import Array
from boostformer.data.reading import read_each
from boostformer.data.samples import Sample
from boostformer.errors import UserError
from boostformer.shown import number_of


@dataclass(frozen=True)
class MaskScan:
    """Values that occur in the masks of ``samples``: ``counts[i]`` pixels of ``values[i]`` in mask ``masks[i]``.

    ``shapes`` (n, 2) are the masks' heights and widths; ``colours`` are those that masks have for values that occur, as
    ``#rrggbb``.
    """

    samples: Sequence[Sample]
    masks: NDArray[np.int64]
    values: NDArray[np.int64]
    counts: NDArray[np.int64]
    shapes: NDArray[np.int64]
    colours: Mapping[int, str] = field(default_factory=dict)

    @cached_property
    def total(self) -> NDArray[np.int64]:
        """Pixels by value (65536), over all masks."""
        return np.bincount(self.values, self.counts, MOST_VALUES).astype(np.int64)

    @cached_property
    def occurring(self) -> list[int]:
        """Values that occur, in order."""
        return [int(value) for value in np.flatnonzero(self.total)]

    def masks_with(self, value: int) -> int:
        """Count the masks in which a value occurs."""
        return int((self.values == value).sum())

    def first_with(self, value: int) -> Path:
        """Find the first mask in which a value occurs."""
        return self.samples[int(self.masks[self.values == value].min())].source

    def describe(self, value: int) -> str:
        """Word how often a value occurs, and where first."""
        pixels, masks = int(self.total[value]), self.masks_with(value)
        plural = [f"{number_of(n, word)}" for n, word in ((pixels, "pixel"), (masks, "mask"))]
        return f"{value} in {plural[0]} of {plural[1]}, first {self.first_with(value).name}"

    def and_also(self, other: MaskScan) -> MaskScan:
        """Join the scans of two parts."""
        masks = np.concatenate([self.masks, other.masks + len(self.samples)])
        values, counts = (np.concatenate(pair) for pair in ((self.values, other.values), (self.counts, other.counts)))
        shapes = np.concatenate([self.shapes, other.shapes])
        colours = {**other.colours, **self.colours}
        return MaskScan([*self.samples, *other.samples], masks, values, counts, shapes, colours)


def scan_masks(samples: Sequence[Sample], cache: Path | None) -> MaskScan:
    """Count the values of all masks, or take the counts from the cache.

    Raises UserError, which names the file, for a mask that is damaged or has values above 65535, and when a palette
    gives an index another colour than an earlier mask does: then the indices are no classes. Where faults are
    collected, the scan is of the masks that can be read.
    """
    samples, rows = read_each(
        samples, "values and colours of masks", ("values", "counts", "palettes", "shapes"), _row, cache
    )
    values = [row[0].view(np.int64) for row in rows]
    masks = np.repeat(np.arange(len(rows)), [len(found) for found in values])
    counts, shapes = (_joined([row[kind].view(np.int64) for row in rows]) for kind in (1, 3))
    colours = _colours(samples, values, [row[2].reshape(-1, 3) for row in rows])
    return MaskScan(samples, masks, _joined(values), counts, shapes.reshape(-1, 2), colours)


def _joined(arrays: Sequence[NDArray[np.int64]]) -> NDArray[np.int64]:
    return np.concatenate(arrays) if arrays else np.empty(0, np.int64)


def _row(sample: Sample) -> tuple[Array, Array, Array, Array]:
    """The values of one mask, their counts, its palette if it has one, and its shape; each flat and as bytes."""
    mask = sample.mask()
    if (highest := int(mask.max(initial=0))) >= MOST_VALUES:
        raise UserError(f"{sample.source}: label {highest} is too high; allowed: 0…{MOST_VALUES - 1}")
    counts = np.bincount(mask.ravel())
    values = np.flatnonzero(counts)
    shape = np.array(mask.shape, np.int64).view(np.uint8)
    return values.view(np.uint8), counts[values].view(np.uint8), sample.palette().ravel(), shape


def _colours(
    samples: Sequence[Sample], values: Sequence[NDArray[np.int64]], palettes: Sequence[Array]
) -> dict[int, str]:
    """Give the colours of the values that occur, where masks have any; refuse masks that differ in one."""
    known, owner = np.zeros((MOST_VALUES, 3), np.uint8), np.full(MOST_VALUES, -1)
    faults = []
    for number, palette in enumerate(palettes):
        used = values[number][values[number] < len(palette)]
        before = used[owner[used] >= 0]
        differ = before[(known[before] != palette[before]).any(axis=1)]
        if differ.size:
            value = int(differ[0])
            first = f"{_hex(known[value])} in {samples[owner[value]].source.name}"
            said = f"the palette's colour of {value} is {_hex(palette[value])}, but {first}"
            remedy = (
                "each mask numbers its colours in its own way, so the numbers are no classes; say which colour is "
                "which, `colours: {'#804080': road, …}` in the run file's data, or save all masks with one palette"
            )
            faults.append(Fault(str(samples[number].source), said, remedy))
        new = used[owner[used] < 0]
        known[new], owner[new] = palette[new], number
    refuse(faults)
    return {int(value): _hex(known[value]) for value in np.flatnonzero(owner >= 0)}


def _hex(colour: Array) -> str:
    return colour_code(int(packed_colours(colour)))
