"""Scan of a data set's masks: pixels by value, and the palettes' colours, found once and cached."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from boostformer.data.cache import packed
from boostformer.data.images import Array, read_mask, read_palette, stamp
from boostformer.errors import UserError

VALUES = 256
_COUNT_BYTES = 8 * VALUES


@dataclass(frozen=True)
class MaskScan:
    """The masks ``paths`` with their ``counts`` (masks, 256) of pixels by value."""

    paths: Sequence[Path]
    counts: NDArray[np.int64]

    @property
    def total(self) -> NDArray[np.int64]:
        """Pixels by value, over all masks."""
        return self.counts.sum(axis=0)

    def first_with(self, value: int) -> Path:
        """Find the first mask in which a value occurs."""
        return self.paths[int(np.flatnonzero(self.counts[:, value])[0])]

    def describe(self, value: int) -> str:
        """Word how often a value occurs, and where first."""
        pixels, masks = int(self.total[value]), int((self.counts[:, value] > 0).sum())
        plural = [f"{n} {word}{'s' * (n != 1)}" for n, word in ((pixels, "pixel"), (masks, "mask"))]
        return f"{value} in {plural[0]} of {plural[1]}, first {self.first_with(value).name}"


def scan_masks(paths: Sequence[Path], cache: Path | None) -> MaskScan:
    """Count the values of all masks, or take the counts from the cache.

    Raises UserError, which names the file, for a mask that is damaged or has values above 255, and when a palette gives
    an index another colour than an earlier mask does: then the indices are no classes.
    """
    if cache is None:
        with ThreadPoolExecutor() as pool:
            rows: Sequence[Array] = list(pool.map(_row, paths))
    else:
        found = packed(
            cache, ["values of masks", *map(stamp, paths)], ["values"], len(paths), lambda i: (_row(paths[i]),)
        )
        rows = found["values"]
    counts = np.array([row[:_COUNT_BYTES].view(np.int64) for row in rows]).reshape(-1, VALUES)
    _check_palettes(paths, counts, [row[_COUNT_BYTES:].reshape(-1, 3) for row in rows])
    return MaskScan(paths, counts)


def _row(path: Path) -> Array:
    """The counts of one mask, then its palette if it has one, as bytes."""
    mask = read_mask(path)
    if (highest := int(mask.max(initial=0))) >= VALUES:
        raise UserError(f"{path}: label {highest} is too high; allowed: 0…{VALUES - 1}")
    counts = np.bincount(mask.ravel(), minlength=VALUES).astype(np.int64)
    return np.concatenate([counts.view(np.uint8), read_palette(path).ravel()])


def _check_palettes(paths: Sequence[Path], counts: NDArray[np.int64], palettes: Sequence[Array]) -> None:
    known = np.zeros((VALUES, 3), np.uint8)
    owner = np.full(VALUES, -1)
    for number, palette in enumerate(palettes):
        used = np.flatnonzero(counts[number, : len(palette)])
        before = used[owner[used] >= 0]
        differ = before[(known[before] != palette[before]).any(axis=1)]
        if differ.size:
            value = int(differ[0])
            first = f"{_hex(known[value])} in {paths[owner[value]].name}"
            raise UserError(
                f"{paths[number]}: the palette's colour of {value} is {_hex(palette[value])}, but {first}: each mask "
                "numbers its colours in its own way, so the numbers are no classes; save all masks with one palette, "
                "or as grey images of class numbers"
            )
        new = used[owner[used] < 0]
        known[new], owner[new] = palette[new], number


def _hex(colour: Array) -> str:
    return "#" + bytes(colour.tolist()).hex()
