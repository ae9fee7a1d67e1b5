"""Masks that are painted in colours: which colour is which mask value."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from boostformer.errors import UserError

_CODE = re.compile(r"#?([0-9a-fA-F]{6})")


def parse_colour(text: object) -> int:
    """Read ``#804080`` as 0x804080; ValueError for anything else."""
    found = _CODE.fullmatch(text.strip()) if isinstance(text, str) else None
    if found is None:
        raise ValueError(f"{text!r} is no colour; write it as '#804080', in quotes")
    return int(found[1], 16)


def colour_code(colour: int) -> str:
    """Word a colour, 0xRRGGBB, as run files have it."""
    return f"#{colour:06x}"


def packed_colours(pixels: NDArray[np.uint8]) -> NDArray[np.uint32]:
    """Make one number 0xRRGGBB of each pixel of an RGB array ``(…, 3)``."""
    padded = np.zeros((*pixels.shape[:-1], 4), np.uint8)  # as bytes of little-endian numbers: quicker than shifting
    padded[..., :3] = pixels[..., ::-1]
    return padded.view("<u4")[..., 0]


@dataclass(frozen=True)
class Colours:
    """Mask values of colours: ``colours[i]``, as 0xRRGGBB, is value ``i``."""

    colours: tuple[int, ...]

    def values(self, pixels: NDArray[np.uint8], source: Path) -> NDArray[np.uint16]:
        """Give the mask values (h, w) of RGB pixels (h, w, 3); UserError names a colour that has none."""
        packed = packed_colours(pixels)
        values = _table(self.colours).take(packed)
        if not values.all():
            raise UserError(f"{source}: {_strange(packed, values == 0)}; known: {_listed(self.colours)}")
        values -= 1
        return values


@functools.lru_cache(maxsize=2)
def _table(colours: tuple[int, ...]) -> NDArray[np.uint16]:
    """Make a table of all 2^24 colours: one more than the value of each, and 0 of unknown ones."""
    table = np.zeros(1 << 24, np.uint16)  # of its 32 MB only pages that are written to take memory
    for value, colour in reversed([*enumerate(colours, start=1)]):  # of a colour named twice the first counts
        table[colour] = value
    return table


def _strange(packed: NDArray[np.uint32], strange: NDArray[np.bool_]) -> str:
    found, counts = np.unique(packed[strange], return_counts=True)
    first = int(found[counts.argmax()])
    row, column = (int(i) for i in np.argwhere(packed == first)[0])
    more = f" and {len(found) - 1} other colours" if len(found) > 1 else ""
    said = f"colour {colour_code(first)} ({int(counts.max())} pixels, first at column {column}, row {row}){more}"
    blurred = "; a lossy or smoothed mask must be saved anew without it" if len(found) > 16 else ""
    return f"{said} names no class{blurred}"


def _listed(colours: Iterable[int], most: int = 8) -> str:
    codes = [colour_code(colour) for colour in colours]
    return ", ".join(codes[:most]) + (f" and {len(codes) - most} more" if len(codes) > most else "")
