"""Samples of a data set on disk: an image with the mask values of its pixels, wherever those come from."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from boostformer.data.bands import RGB, ImageReading
from boostformer.data.colours import Colours
from boostformer.data.content import digest_of_files
from boostformer.data.images import Array, image_size, read_colours, read_image, read_mask, read_palette, stamp
from boostformer.data.shapes import Shape
from boostformer.errors import UserError


class Sample(ABC):
    """One image of a data set and its mask; both are read whenever they are asked for."""

    name: str
    """Unique in its split."""
    image_path: Path

    @property
    @abstractmethod
    def source(self) -> Path:
        """The file that messages about the mask name."""

    @abstractmethod
    def files(self) -> tuple[Path, ...]:
        """List the files that belong to this sample alone."""

    def image(self, reading: ImageReading = RGB) -> Array:
        """Read the image, uint8 (h, w, bands)."""
        return read_image(self.image_path, reading)

    @abstractmethod
    def mask(self) -> NDArray[np.integer]:
        """Read or draw the mask values (h, w), unsigned."""

    def palette(self) -> Array:
        """Give the colours (n, 3) of mask values 0…n-1, where the mask has any."""
        return np.empty((0, 3), np.uint8)

    def key(self) -> str:
        """Write out all that the mask is made of beside :meth:`files`; never where something lies."""
        return ""

    def digest(self) -> bytes:
        """Digest all that the sample is made of, wherever it lies."""
        files = digest_of_files(*self.files())
        return hashlib.sha256(files + self.key().encode()).digest() if self.key() else files

    def stamps(self) -> list[str]:
        """Make lines of which one changes when the sample does."""
        return [*map(stamp, self.files()), *([self.key()] if self.key() else [])]


@dataclass(frozen=True)
class WithMask(Sample):
    """An image and the PNG of its mask, two files of equal shape."""

    name: str
    image_path: Path
    mask_path: Path

    @property
    def source(self) -> Path:
        return self.mask_path

    def files(self) -> tuple[Path, ...]:
        return self.image_path, self.mask_path


@dataclass(frozen=True)
class MaskFile(WithMask):
    """A mask of class numbers, or painted in ``colours``."""

    colours: Colours | None = None

    def mask(self) -> NDArray[np.integer]:
        if self.colours is None:
            return read_mask(self.mask_path)
        return self.colours.values(read_colours(self.mask_path), self.mask_path)

    def palette(self) -> Array:
        if self.colours is None:
            return read_palette(self.mask_path)
        return np.array(self.colours.colours, ">u4").view(np.uint8).reshape(-1, 4)[:, 1:]

    def key(self) -> str:
        return "" if self.colours is None else repr(self.colours.colours)


@dataclass(frozen=True)
class Panoptic(WithMask):
    """A mask of segments, numbered R + 256 G + 65536 B; ``values`` has the mask value of each segment.

    Pixels of segment 0 have value 0.
    """

    values: dict[int, int]

    def mask(self) -> NDArray[np.integer]:
        pixels = read_colours(self.mask_path).astype(np.uint32)
        numbers, places = np.unique(pixels[..., 0] | pixels[..., 1] << 8 | pixels[..., 2] << 16, return_inverse=True)
        if strange := [int(number) for number in numbers if number and int(number) not in self.values]:
            raise UserError(f"{self.mask_path}: segment {strange[0]} is not listed among the image's segments")
        table = np.array([self.values.get(int(number), 0) for number in numbers], np.uint16)
        return table[places.reshape(pixels.shape[:2])]

    def key(self) -> str:
        return repr(sorted(self.values.items()))


@dataclass(frozen=True)
class Drawn(Sample):
    """An image and ``shapes`` that are drawn in their order, later ones above; all else has value 0.

    ``shape`` is the (h, w) that the annotations claim, if they claim any. With ``relative`` coordinates are shares of
    the width and height, else pixels.
    """

    name: str
    image_path: Path
    annotation: Path
    shapes: tuple[Shape, ...]
    shape: tuple[int, int] | None = None
    relative: bool = False

    @property
    def source(self) -> Path:
        return self.annotation

    def files(self) -> tuple[Path, ...]:
        return (self.image_path,)

    def mask(self) -> NDArray[np.integer]:
        height, width = image_size(self.image_path)
        if self.shape not in (None, (height, width)):
            claimed = f"{self.shape[1]}x{self.shape[0]}"
            raise UserError(
                f"{self.annotation}: says that {self.image_path.name} is {claimed}, but it is {width}x{height}"
            )
        mask = np.zeros((height, width), np.uint16)
        scale = (width, height) if self.relative else (1, 1)
        for shape in self.shapes:
            shape.draw(mask, scale, f"{self.annotation}: {self.image_path.name}")
        return mask

    def key(self) -> str:
        digest = hashlib.sha256(repr(self.relative).encode())
        for shape in self.shapes:
            digest.update(shape.content())
        return digest.hexdigest()
