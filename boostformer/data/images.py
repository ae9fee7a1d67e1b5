"""Image files: the one place that opens them, for the formats that Pillow reads by itself.

Left to choose, Pillow goes by a file's content, not its name, and starts a foreign program for some: Ghostscript, which
runs what is written in the file, for an EPS file named ``street.jpg``.
"""

from __future__ import annotations

import functools
import io
import logging
import struct
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from boostformer.errors import UserError

Array = NDArray[np.uint8]

IMAGE_FORMATS = ("JPEG", "PNG", "BMP", "GIF", "PPM", "TIFF", "WEBP")
MASK_FORMATS = ("PNG",)
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp", ".webp")
"""Names of files in a data set's folders that are taken for images."""

_SAMPLES_PER_PIXEL = 277  # TIFF's tag
_ORIENTATION, _ON_ITS_SIDE = 0x0112, (5, 6, 7, 8)  # EXIF's tag, and values by which width and height change places
_CONVERTIBLE = ("1", "L", "P", "RGB", "CMYK", "YCbCr", "LAB", "HSV")
_FORMS = {"1": "black and white", "L": "grey", "P": "palette"} | dict.fromkeys(
    ("I", "I;16", "I;16L", "I;16B", "I;16N"), "grey of 16 bits"
)
_ALPHA = ("LA", "PA", "RGBA", "La", "RGBa")


def read_image(path: Path) -> Array:
    """Read the image file as uint8 (h, w, 3) RGB, the way up that its EXIF orientation says.

    Grey levels of 16 bits are scaled linearly from 0…65535 to 0…255. Raises :class:`UserError`, naming the file, when
    it is missing, damaged, of another format, or holds what RGB would lose: transparency, more bands or frames, numbers
    without a known range.
    """
    with _opened(path, IMAGE_FORMATS) as image:
        _refuse_frames_and_bands(path, image)
        return _rgb(path, _upright(image), image.format)


def image_size(path: Path) -> tuple[int, int]:
    """The (h, w) that :func:`read_image` would give, from the file's head; errors alike."""
    with _opened(path, IMAGE_FORMATS) as image:
        turned = image.getexif().get(_ORIENTATION, 1) in _ON_ITS_SIDE
        return (image.width, image.height) if turned else (image.height, image.width)


def image_form(path: Path) -> str:
    """Word the bands of the image file as it is stored: ``RGB``, ``grey``, ``grey of 16 bits``; errors alike."""
    with _opened(path, IMAGE_FORMATS) as image:
        bands = getattr(image, "tag_v2", {}).get(_SAMPLES_PER_PIXEL, 1)
        if bands > len(image.getbands()):
            return f"{bands} bands"
        return _FORMS.get(image.mode, image.mode)


def read_mask(path: Path) -> NDArray[np.integer]:
    """The mask file of class numbers, a PNG, as unsigned integers (h, w), unchanged; errors as :func:`read_image`.

    Colours are refused unless red, green and blue are equal everywhere: then they are the number.
    """
    with _opened(path, MASK_FORMATS) as image:
        mask = np.array(image)
    if mask.ndim == 3:
        bands = mask[..., : mask.shape[2] - (mask.shape[2] in (2, 4))]  # transparency says nothing of classes
        if (bands != bands[..., :1]).any():
            counts = Counter(map(tuple, bands[::4, ::4].reshape(-1, bands.shape[2]).tolist()))
            some = ", ".join(f"'#{bytes(colour).hex()}'" for colour, _ in counts.most_common(3))
            raise UserError(
                f"{path}: a mask has one channel of class numbers, but this one is painted in colours, such as {some}; "
                "say which is which in the run file's data: `colours: {'#804080': road, …}`"
            )
        mask = bands[..., 0]
    return mask.astype(np.uint8) if mask.dtype == bool else mask


def read_colours(path: Path) -> Array:
    """The mask file, a PNG, as RGB colours (h, w, 3): those of its palette, if it has one; errors alike."""
    with _opened(path, MASK_FORMATS) as image:
        return np.array(image.convert("RGB"))


def is_painted(path: Path) -> bool:
    """Tell whether a mask file, a PNG, has colours: of its own or of a palette; errors alike."""
    with _opened(path, MASK_FORMATS) as image:
        return image.mode in ("P", "PA", "RGB", "RGBA")


def read_palette(path: Path) -> Array:
    """The palette of a mask file that :func:`read_mask` has read, as colours (n, 3); of one without any, n is 0."""
    with Image.open(path, formats=MASK_FORMATS) as image:
        return np.array(image.getpalette("RGB") or [], np.uint8).reshape(-1, 3)


def png_of(data: bytes, source: object, most: tuple[int, ...]) -> Array:
    """The PNG in ``data``, of ``most`` (h, w) pixels, as it is: (h, w) or (h, w, bands).

    UserError, beginning with ``source``, when it is damaged or larger.
    """
    try:
        with Image.open(io.BytesIO(data), formats=MASK_FORMATS) as image:
            if image.height > most[0] or image.width > most[1]:
                size, allowed = f"{image.width}x{image.height}", f"{most[1]}x{most[0]}"
                raise UserError(f"{source}: a bitmap of {size} pixels is larger than its image, {allowed}")
            return np.array(image.convert("RGBA") if image.mode == "P" else image)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UserError(f"{source}: a bitmap is damaged ({error})") from None


def stamp(path: Path) -> str:
    """Make a line that changes when the file does: its path, size and time of change. UserError when it is missing."""
    with file_errors(path):
        status = path.stat()
    return f"{path.resolve()} {status.st_size} {status.st_mtime_ns}"


@contextmanager
def file_errors(path: Path) -> Iterator[None]:
    """Raise UserError for a file or folder that is missing or may not be read; it names the one that was tried."""
    try:
        yield
    except FileNotFoundError as error:
        missing = f"a link to {path.readlink()}, which is missing" if path.is_symlink() else "no such file"
        raise UserError(f"{path}: {missing}") from error
    except IsADirectoryError as error:
        raise UserError(f"{path}: a folder, not a file") from error
    except PermissionError as error:
        raise UserError(f"{error.filename or path}: no permission to read it") from error


@contextmanager
def _opened(path: Path, formats: tuple[str, ...]) -> Iterator[Image.Image]:
    # Pillow, because OpenCV returns a truncated JPEG half grey without complaint.
    try:
        with file_errors(path), Image.open(path, formats=formats) as image:
            yield image
    except UnidentifiedImageError as error:
        raise UserError(f"{path}: damaged, or not an image of a format that is read: {', '.join(formats)}") from error
    except Image.DecompressionBombError as error:
        most = 2 * (Image.MAX_IMAGE_PIXELS or 0) // 10**6
        raise UserError(f"{path}: has more than {most} megapixels, the most that are read; make it smaller") from error
    except (OSError, SyntaxError, ValueError) as error:
        raise UserError(f"{path}: damaged or truncated image ({error})") from error


def _refuse_frames_and_bands(path: Path, image: Image.Image) -> None:
    frames = getattr(image, "n_frames", 1)
    if frames > 1 and image.format != "MPO":  # a camera's JPEG, with previews behind the photo
        raise UserError(f"{path}: holds {frames} images; save the one that is meant as a file of its own")
    tags = getattr(image, "tag_v2", {})
    bands, read = tags.get(_SAMPLES_PER_PIXEL, 1), len(image.getbands())
    if bands > read:
        raise UserError(f"{path}: has {bands} bands, of which {read} would be read; save it as RGB or grey")


def _upright(image: Image.Image) -> Image.Image:
    image.load()
    try:
        return ImageOps.exif_transpose(image)
    except (SyntaxError, ValueError, KeyError, TypeError, struct.error):
        return image  # malformed EXIF says nothing, to viewers neither


def _rgb(path: Path, image: Image.Image, file_format: str | None) -> Array:
    if image.mode in _ALPHA or "transparency" in image.info:
        # Only what is opaque everywhere means the same without its alpha.
        whole = None if image.mode.startswith("I") else np.array(image.convert("RGBA"))
        if whole is None or whole[..., 3].min() < 255:
            raise UserError(
                f"{path}: has transparent pixels, or a fourth band that is no colour; save it as RGB without them"
            )
        return np.ascontiguousarray(whole[..., :3])
    if image.mode.startswith("I;16") or (image.mode == "I" and file_format == "PPM"):
        _say_scaled(path.parent)
        levels = np.array(image, np.uint32)
        grey = ((levels + 128) // 257).astype(np.uint8)
        return np.repeat(grey[..., None], 3, axis=2)
    if image.mode not in _CONVERTIBLE:
        raise UserError(f"{path}: pixels of mode '{image.mode}' have no known range; save it with 8 or 16 bits")
    return np.array(image.convert("RGB"))


@functools.cache
def _say_scaled(folder: Path) -> None:
    """Say it once for a folder: images with fewer bits used, such as 12, become dark."""
    logging.getLogger(__name__).warning("%s: grey levels of 16 bits, 0…65535, are scaled to 0…255", folder)
