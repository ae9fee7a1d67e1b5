"""Masks that are painted in colours: which colour is which mask value."""

from __future__ import annotations

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
    wide = pixels.astype(np.uint32)
    return (wide[..., 0] << 16 | wide[..., 1] << 8 | wide[..., 2]).astype(np.uint32, copy=False)


@dataclass(frozen=True)
class Colours:
    """Mask values of colours: ``colours[i]``, as 0xRRGGBB, is value ``i``."""

    colours: tuple[int, ...]

    def values(self, pixels: NDArray[np.uint8], source: Path) -> NDArray[np.uint16]:
        """Give the mask values (h, w) of RGB pixels (h, w, 3); UserError names a colour that has none."""
        packed = packed_colours(pixels)
        known = np.array(self.colours, np.uint32)
        order = np.argsort(known)
        place = np.searchsorted(known[order], packed).clip(max=len(known) - 1)
        values = order[place].astype(np.uint16)
        if (strange := known[values] != packed).any():
            raise UserError(f"{source}: {_strange(packed, strange)}; known: {_listed(self.colours)}")
        return values


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
