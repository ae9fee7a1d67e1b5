"""Shapes that annotations are made of, and how each is drawn into a mask."""

from __future__ import annotations

import base64
import binascii
import zlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from boostformer.data.images import png_of
from boostformer.errors import UserError

Mask = NDArray[np.uint16]


class Shape(ABC):
    """A region of one mask ``value``."""

    value: int

    @abstractmethod
    def draw(self, mask: Mask, scale: tuple[float, float], source: object) -> None:
        """Give the shape's pixels its value.

        Coordinates times ``scale`` (x, y) are pixels. Whatever the annotation says, no more memory is taken than the
        mask has. UserError names the ``source`` of a shape that cannot be drawn.
        """

    @abstractmethod
    def content(self) -> bytes:
        """Write out all that the shape is."""


@dataclass(frozen=True)
class Polygon(Shape):
    """An outline with holes: ``rings`` are lists of x, y, by default of pixels, whose corners are whole numbers.

    Several rings are filled by the even-odd rule. A pixel is inside when its centre is: of a rectangle with whole
    corners (x, y) and (x + w, y + h) those are w times h pixels.
    """

    value: int
    rings: tuple[Sequence[float], ...]

    def draw(self, mask: Mask, scale: tuple[float, float], source: object) -> None:
        fill(mask, [np.asarray(ring, np.float64).reshape(-1, 2) * scale for ring in self.rings], self.value)

    def content(self) -> bytes:
        rings = [np.asarray(ring, np.float64).tobytes() for ring in self.rings]
        return repr((type(self).__name__, self.value, [len(ring) for ring in rings])).encode() + b"".join(rings)


@dataclass(frozen=True)
class PixelPolygon(Polygon):
    """An outline with holes whose numbers are pixels, not their corners.

    The outline's own pixels belong to it: from 2 to 4 are 3 pixels. Those of the holes' outlines do not.
    """

    def draw(self, mask: Mask, scale: tuple[float, float], source: object) -> None:
        rings = [np.floor(np.asarray(ring, np.float64)).astype(np.int32).reshape(-1, 2) for ring in self.rings]
        drawn = np.zeros(mask.shape, np.uint8)
        for number, ring in enumerate(ring for ring in rings if len(ring)):
            cv2.fillPoly(drawn, [ring], float(number == 0))
        mask[drawn > 0] = self.value


@dataclass(frozen=True)
class Runs(Shape):
    """Lengths of runs, by turns outside and inside, that fill a ``box`` (left, top, width, height) row by row.

    With ``by_column`` they fill it column by column. The lengths add up to the box's pixels.
    """

    value: int
    box: tuple[int, int, int, int]
    counts: Sequence[int]
    by_column: bool = False

    def draw(self, mask: Mask, scale: tuple[float, float], source: object) -> None:
        left, top, width, height = self.box
        counts = np.asarray(self.counts, np.int64)
        if not (0 <= left <= left + width <= mask.shape[1] and 0 <= top <= top + height <= mask.shape[0]):
            raise UserError(f"{source}: a region of {width}x{height} at {left}, {top} leaves the image")
        if (counts < 0).any() or (counts > mask.size).any() or counts.sum() != width * height:
            raise UserError(f"{source}: the runs of a region do not add up to its {width}x{height} pixels")
        filled = np.repeat(np.arange(len(counts)) % 2 == 1, counts)
        inside = filled.reshape((height, width), order="F" if self.by_column else "C")
        mask[top : top + height, left : left + width][inside] = self.value

    def content(self) -> bytes:
        counts = np.asarray(self.counts, np.int64).tobytes()
        return repr((type(self).__name__, self.value, self.box, len(counts), self.by_column)).encode() + counts


@dataclass(frozen=True)
class Bitmap(Shape):
    """A PNG in base64, ``deflated`` or not, whose opaque or else non-zero pixels lie at ``origin`` (left, top)."""

    value: int
    origin: tuple[int, int]
    data: str
    deflated: bool

    def draw(self, mask: Mask, scale: tuple[float, float], source: object) -> None:
        most = 5 * mask.size + (1 << 16)  # bytes of a PNG as large as the mask, if nothing in it were compressed
        try:
            data = base64.b64decode(self.data, validate=True)
            if self.deflated:
                stream = zlib.decompressobj()
                data = stream.decompress(data, most)
                if not stream.eof:
                    raise UserError(f"{source}: a bitmap is cut off, or larger than its image")
        except (binascii.Error, ValueError, zlib.error) as error:
            raise UserError(f"{source}: a bitmap is damaged ({error})") from None
        pixels = png_of(data, source, mask.shape)
        inside = (pixels if pixels.ndim == 2 else pixels[..., -1 if pixels.shape[2] in (2, 4) else 0]) > 0
        left, top = self.origin
        rows, columns = (slice(max(0, -start), None) for start in (top, left))
        place = mask[max(0, top) : max(0, top + len(inside)), max(0, left) : max(0, left + inside.shape[1])]
        part = inside[rows, columns][: place.shape[0], : place.shape[1]]
        place[part] = self.value

    def content(self) -> bytes:
        return repr((type(self).__name__, self.value, self.origin, self.data, self.deflated)).encode()


_AT_ONCE = 1 << 18  # crossings of edges and rows that are worked on together


def fill(mask: Mask, rings: Sequence[NDArray[np.float64]], value: int) -> None:
    """Give the pixels whose centres are inside the rings a value.

    Args:
        mask: (h, w), changed in place.
        rings: each (n, 2) of x, y in pixels, whose corners are whole numbers; together by the even-odd rule.
        value: the mask value.
    """
    height, width = mask.shape
    rings = [ring for ring in rings if len(ring) >= 3]
    if not rings:
        return
    start, end = np.concatenate(rings), np.concatenate([part for ring in rings for part in (ring[1:], ring[:1])])
    down = (start[:, 1] <= end[:, 1])[:, None]  # an edge that two shapes share is computed alike for both
    start, end = np.where(down, start, end), np.where(down, end, start)
    # An edge crosses the centre lines of the rows from first to before last.
    first, last = (np.ceil(ends[:, 1] - 0.5).clip(0, height).astype(np.int64) for ends in (start, end))
    crossed = np.flatnonzero(last > first)
    if not crossed.size:
        return
    start, end, first, last = start[crossed], end[crossed], first[crossed], last[crossed]
    top, bottom = int(first.min()), int(last.max())
    columns = np.ceil(np.concatenate([start[:, 0], end[:, 0]]) - 0.5).clip(0, width)
    left, right = int(columns.min()), int(columns.max())
    slope = (end[:, 0] - start[:, 0]) / (end[:, 1] - start[:, 1])
    # Each crossing turns inside to outside, or back, for all pixels to its right.
    turns = np.zeros((bottom - top, right - left + 1), np.uint8)
    counts = last - first
    ends = np.cumsum(counts)
    done = 0
    while done < len(ends):
        before = int(ends[done - 1]) if done else 0
        until = max(done + 1, int(np.searchsorted(ends, before + _AT_ONCE, side="right")))
        edges = np.repeat(np.arange(done, until), counts[done:until])
        rows = first[edges] + np.arange(before, before + len(edges)) - (ends - counts)[edges]
        x = start[edges, 0] + (rows + 0.5 - start[edges, 1]) * slope[edges]
        columns = np.ceil(x - 0.5).clip(left, right).astype(np.int64)
        np.bitwise_xor.at(turns.reshape(-1), (rows - top) * turns.shape[1] + columns - left, 1)
        done = until
    inside = np.bitwise_xor.accumulate(turns, axis=1)[:, :-1].view(bool)
    mask[top:bottom, left:right][inside] = value
