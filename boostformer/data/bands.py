"""Bands of image files as they are stored, any number of 8 bits, 16 bits or floating point, and their way to 8 bits."""

from __future__ import annotations

import functools
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from boostformer.errors import UserError
from boostformer.shown import number_of

Array = NDArray[np.uint8]
Levels = tuple[float, float]

MOST_PIXELS = 64_000_000
"""Pixels of the largest image that is read: some 200 MB of colours, and each core holds a few such images."""
FULL: Levels = (0, 65535)
"""Numbers of 16 bits that become 0…255, unless told."""
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_TURNS = {5: (-1, True), 6: (-1, False), 7: (1, True), 8: (1, False)}


@dataclass(frozen=True)
class ImageReading:
    """Choice of the bands of an image file that are read, and of the numbers that become 0…255.

    Attributes:
        bands: "rgb", for which grey becomes three equal bands, or exactly so many as the file has.
        levels: the lowest and the highest number, of images with more than 8 bits; what is beyond them is cut off.
    """

    bands: Literal["rgb"] | int = "rgb"
    levels: Levels | None = None

    @property
    def count(self) -> int:
        """Count the bands that an image has once it is read."""
        return 3 if self.bands == "rgb" else int(self.bands)

    def __str__(self) -> str:
        return f"bands: {self.bands}" + (f", levels: {list(self.levels)}" if self.levels else "")


RGB = ImageReading()


def is_tiff(path: Path) -> bool:
    """Tell from its first bytes whether the file is a TIFF."""
    with path.open("rb") as stream:
        return stream.read(4) in _TIFF


def is_array(path: Path) -> bool:
    """Tell whether the file is an array of NumPy, by its name."""
    return path.suffix.lower() == ".npy"


def check_pixels(path: Path, height: int, width: int) -> None:
    """Raise UserError for an image of more than :data:`MOST_PIXELS`, before any of them is decoded."""
    if height * width > MOST_PIXELS:
        raise UserError(
            f"{path}: has {height}x{width} pixels, more than the {MOST_PIXELS // 10**6} million that are read; make it "
            "smaller, or cut it into tiles"
        )


def array_file(path: Path) -> NDArray[Any]:
    """Map the array (h, w, bands) of a ``.npy`` file."""
    with _damage_of(path):
        array: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    if array.ndim == 2:
        array = array[..., None]
    if array.ndim != 3 or not array.size:
        raise UserError(f"{path}: an array of shape {array.shape}; allowed: (height, width, bands)")
    check_pixels(path, *array.shape[:2])
    return array


def tiff_shape(path: Path) -> tuple[int, int, int]:
    """Read the (h, w, bands) of a TIFF as it stands upright, from its head."""
    with _tiff_page(path) as page:
        shape = page.imagelength, page.imagewidth
        height, width = shape[::-1] if _orientation(page) in _TURNS else shape
        return height, width, page.samplesperpixel


def tiff_file(path: Path) -> NDArray[Any]:
    """Read the bands (h, w, bands) of a TIFF of any type and arrangement."""
    with _tiff_page(path) as page:
        check_pixels(path, page.imagelength, page.imagewidth)
        array = page.asarray()
        if page.samplesperpixel > 1 and page.axes.startswith("S"):
            array = np.moveaxis(array, 0, -1)
        array = array.reshape(page.imagelength, page.imagewidth, page.samplesperpixel)
        return upright(array, _orientation(page))


@contextmanager
def _tiff_page(path: Path) -> Iterator[Any]:
    import tifffile

    with _damage_of(path), tifffile.TiffFile(path) as file:
        whole = [
            page for page in (page.aspage() for page in file.pages) if not page.subfiletype & 0b101
        ]  # neither a preview nor a mask
        if len(whole) != 1:
            raise UserError(f"{path}: holds {len(whole)} images; save the one that is meant as a file of its own")
        yield whole[0]


@contextmanager
def _damage_of(path: Path) -> Iterator[None]:
    try:
        yield
    except (UserError, FileNotFoundError, IsADirectoryError, PermissionError):
        raise
    except Exception as error:  # whatever a reader raises on a damaged file
        reason = " ".join(str(error).split())[:200]
        if "imagecodecs" in reason:
            raise UserError(
                f"{path}: is compressed as needs another package ({reason}); pip install 'boostformer[tiff]', "
                "or save it with deflate or without compression"
            ) from error
        raise UserError(f"{path}: damaged or truncated image ({reason})") from error


def _orientation(page: Any) -> int:
    tag = page.tags.get("Orientation")
    return int(tag.value) if tag is not None else 1


def upright(array: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Turn and mirror (h, w, bands) as EXIF's tag says."""
    if orientation in (2, 4):
        return np.flip(array, 1 if orientation == 2 else 0)
    if orientation == 3:
        return np.rot90(array, 2)
    if orientation not in _TURNS:
        return array
    quarters, mirrored = _TURNS[orientation]
    turned = np.rot90(array, quarters)
    return np.flip(turned, 1) if mirrored else turned


def chosen(path: Path, array: NDArray[Any], reading: ImageReading) -> NDArray[Any]:
    """Give the bands (h, w, n) that ``reading`` asks for, of all that a file has; UserError when it has others."""
    has, asked = array.shape[2], reading.bands
    if asked == "rgb":
        if has in (1, 3):
            return np.broadcast_to(array, (*array.shape[:2], 3))
        raise UserError(f"{path}: has {number_of(has, 'band')}; {save_as_rgb(has)}")
    if has == asked:
        return array
    if asked == 1 and has == 3:
        if (array == array[..., :1]).all():
            return array[..., :1]
        raise UserError(
            f"{path}: is in colour, but grey is read (`bands: 1`); save it as grey, or say `bands: rgb` in the run "
            "file's data"
        )
    raise UserError(
        f"{path}: has {number_of(has, 'band')}, but `bands: {asked}` are read; save it with {asked}, or say "
        f"`bands: {has}` in the run file's data"
    )


def save_as_rgb(has: int) -> str:
    """Word what to do with an image of so many bands where RGB is read."""
    return f"save it as RGB or grey, or say `bands: {has}` in the run file's data to read it as it is"


def eight_bits(path: Path, array: NDArray[Any], levels: Levels | None) -> Array:
    """Scale numbers linearly to 0…255, rounded, those from ``levels``; 8 bits are kept as they are.

    UserError for numbers without a known range and none given, for those that are none, and for 8 bits with levels.
    """
    if array.dtype in (np.uint8, np.bool_):
        if levels is not None:
            raise UserError(f"{path}: has 8 bits, but `levels` in the run file's data are of images with more")
        return np.ascontiguousarray(array, np.uint8) * (255 if array.dtype == np.bool_ else 1)
    if levels is None:
        if array.dtype != np.uint16:
            raise UserError(
                f"{path}: numbers of type {array.dtype} have no known range; say `levels: [low, high]` in the run "
                "file's data, or save it with 8 or 16 bits"
            )
        say_scaled(path.parent)
    low, high = levels or FULL
    if array.dtype == np.uint16:  # a table is exact and quick
        return _scaled(np.arange(65536), low, high)[array]
    if array.dtype.kind not in "fiu":
        raise UserError(f"{path}: numbers of type {array.dtype} are no image; allowed: whole ones and floats")
    if array.dtype.kind == "f" and np.isnan(array).any():
        raise UserError(f"{path}: has pixels that are no number (NaN); save it with a number in their place")
    return np.dstack([_scaled(array[..., band], low, high) for band in range(array.shape[2])])


def _scaled(numbers: NDArray[Any], low: float, high: float) -> Array:
    share = (numbers.astype(np.float64) - low) / (high - low)
    return np.floor(np.clip(share, 0, 1) * 255 + 0.5).astype(np.uint8)


@functools.cache
def say_scaled(folder: Path) -> None:
    """Say it once for a folder: images with fewer bits used, such as 12, become dark."""
    logging.getLogger(__name__).warning("%s: grey levels of 16 bits, 0…65535, are scaled to 0…255", folder)


def reading_in(provenance: Mapping[str, Any], bands: int) -> ImageReading:
    """Give how the images were read that a network of so many bands was trained on, so far as its provenance says."""
    data = provenance.get("data")
    said = data if isinstance(data, dict) else {}
    levels = said.get("levels")
    return ImageReading(said.get("bands", "rgb" if bands == 3 else bands), tuple(levels) if levels else None)
