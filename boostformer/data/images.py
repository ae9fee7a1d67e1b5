"""Image files: the one place that opens them, for the formats that Pillow reads by itself.

Left to choose, Pillow goes by a file's content, not its name, and starts a foreign program for some: Ghostscript, which
runs what is written in the file, for an EPS file named ``street.jpg``.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from boostformer.errors import UserError

Array = NDArray[np.uint8]

IMAGE_FORMATS = ("JPEG", "PNG", "BMP", "GIF", "PPM", "TIFF", "WEBP")
MASK_FORMATS = ("PNG",)


def read_image(path: Path) -> Array:
    """The image file as uint8 (h, w, 3) RGB.

    Raises :class:`UserError`, naming the file, when it is missing, damaged, or of another format.
    """
    return _decoded(path, IMAGE_FORMATS, "RGB")


def read_mask(path: Path) -> NDArray[np.integer]:
    """The single-channel mask file, a PNG, as integers (h, w), unchanged; errors as :func:`read_image`."""
    mask = _decoded(path, MASK_FORMATS, None)
    if mask.ndim != 2:
        raise UserError(f"{path}: a mask has one channel of class numbers, but this has {mask.shape[2]}")
    return mask.astype(np.uint8) if mask.dtype == bool else mask


def read_palette(path: Path) -> Array:
    """The palette of a mask file that :func:`read_mask` has read, as colours (n, 3); of one without any, n is 0."""
    with Image.open(path, formats=MASK_FORMATS) as image:
        return np.array(image.getpalette("RGB") or [], np.uint8).reshape(-1, 3)


def stamp(path: Path) -> str:
    """Make a line that changes when the file does: its path, size and time of change. OSError when it is missing."""
    status = path.stat()
    return f"{path.resolve()} {status.st_size} {status.st_mtime_ns}"


def _decoded(path: Path, formats: tuple[str, ...], mode: str | None) -> NDArray:
    # Pillow, because OpenCV returns a truncated JPEG half grey without complaint.
    try:
        with Image.open(path, formats=formats) as image:
            return np.array(image.convert(mode) if mode else image)
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file") from error
    except UnidentifiedImageError as error:
        raise UserError(f"{path}: damaged, or not an image of a format that is read: {', '.join(formats)}") from error
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UserError(f"{path}: damaged or truncated image ({error})") from error
