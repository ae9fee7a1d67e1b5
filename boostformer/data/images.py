"""Image files: the one place that opens them, for the formats that Pillow reads by itself.

Left to choose, Pillow goes by a file's content, not its name, and starts a foreign program for some: Ghostscript, which
runs what is written in the file, for an EPS file named ``street.jpg``.
"""

from __future__ import annotations

import io
import struct
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from boostformer.data.bands import (
    MOST_PIXELS,
    RGB,
    Array,
    ImageReading,
    array_file,
    check_pixels,
    chosen,
    eight_bits,
    is_array,
    is_tiff,
    save_as_rgb,
    say_scaled,
    tiff_file,
    tiff_shape,
    upright,
)
from boostformer.errors import UserError
from boostformer.files import check_regular
from boostformer.shown import number_of

IMAGE_FORMATS = ("JPEG", "PNG", "BMP", "GIF", "PPM", "TIFF", "WEBP")
MASK_FORMATS = ("PNG",)
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp", ".webp")
"""Names of files in a data set's folders that are taken for images."""

# Our own bound is lower and refuses; Pillow's only warns, once more.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)

_BITS_PER_SAMPLE, _SAMPLES_PER_PIXEL = 258, 277  # TIFF's tags
_ORIENTATION, _ON_ITS_SIDE = 0x0112, (5, 6, 7, 8)  # EXIF's tag, and values by which width and height change places
_CONVERTIBLE = ("1", "L", "P", "RGB", "CMYK", "YCbCr", "LAB", "HSV")
_FORMS = {"1": "black and white", "L": "grey", "P": "palette"} | dict.fromkeys(
    ("I", "I;16", "I;16L", "I;16B", "I;16N"), "grey of 16 bits"
)
_ALPHA = ("LA", "PA", "RGBA", "La", "RGBa")


def read_image(path: Path, reading: ImageReading = RGB) -> Array:
    """Read the image file as uint8 (h, w, 3) RGB, or (h, w, bands), the way up that its EXIF orientation says.

    Numbers of 16 bits are scaled linearly from 0…65535 to 0…255, unless ``reading`` says otherwise. Raises
    :class:`UserError`, naming the file, when it is missing, damaged, of another format, has other bands than are asked
    for, or holds what RGB would lose: transparency, more bands or frames, numbers without a known range.
    """
    if reading != RGB or is_array(path):
        return eight_bits(path, chosen(path, _stored(path), reading), reading.levels)
    with _opened(path, IMAGE_FORMATS) as image:
        _refuse_frames_and_bands(path, image)
        return _rgb(path, _upright(image), image.format)


def image_size(path: Path) -> tuple[int, int]:
    """The (h, w) that :func:`read_image` would give, from the file's head; errors alike."""
    with file_errors(path):
        if is_array(path):
            return array_file(path).shape[:2]
        if _is_foreign_tiff(path):
            return tiff_shape(path)[:2]
    with _opened(path, IMAGE_FORMATS) as image:
        # Of a TIFF Pillow gives the size as it is once it is turned.
        with _stumbling():
            turned = image.format != "TIFF" and image.getexif().get(_ORIENTATION, 1) in _ON_ITS_SIDE
        return (image.width, image.height) if turned else (image.height, image.width)


def image_form(path: Path) -> str:
    """Word the bands of the image file as it is stored: ``RGB``, ``grey``, ``grey of 16 bits``; errors alike."""
    with file_errors(path):
        if is_array(path) or _is_foreign_tiff(path):
            return f"{array_file(path).shape[2] if is_array(path) else tiff_shape(path)[2]} bands"
    with _opened(path, IMAGE_FORMATS) as image:
        bands = getattr(image, "tag_v2", {}).get(_SAMPLES_PER_PIXEL, 1)
        if bands > len(image.getbands()):
            return f"{number_of(bands, 'band')}"
        return _FORMS.get(image.mode, image.mode)


def read_mask(path: Path) -> NDArray[np.integer]:
    """The mask file of class numbers, a PNG, as unsigned integers (h, w), unchanged; errors as :func:`read_image`.

    Colours are refused unless red, green and blue are equal everywhere: then they are the number.
    """
    with _opened(path, MASK_FORMATS) as image:
        _load(image)
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
        _load(image)
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
    """Raise UserError for what is missing, neither file nor folder, or may not be read; it names what was tried."""
    try:
        with suppress(OSError):  # which the block says itself
            check_regular(path)
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
            check_pixels(path, image.height, image.width)
            yield image
    except UnidentifiedImageError as error:
        if "TIFF" in formats:
            _refuse_foreign_tiff(path)
        raise UserError(f"{path}: damaged, or not an image of a format that is read: {', '.join(formats)}") from error
    except Image.DecompressionBombError as error:
        most = MOST_PIXELS // 10**6
        raise UserError(f"{path}: has more pixels than the {most} million that are read; make it smaller") from error
    except (OSError, SyntaxError, ValueError) as error:
        raise UserError(f"{path}: damaged or truncated image ({error})") from error


def _stored(path: Path) -> NDArray[Any]:
    """All bands (h, w, n) of an image file, of the type that they are stored in, but for a palette's colours."""
    with file_errors(path):
        if is_array(path):
            return array_file(path)
        if _is_foreign_tiff(path):
            return tiff_file(path)
    with _opened(path, IMAGE_FORMATS) as image:
        _refuse_frames(path, image)
        bands, deep = len(image.getbands()), image.mode == "F" or image.mode.startswith("I;16")
        if image.format == "TIFF":
            bits = image.tag_v2.get(_BITS_PER_SAMPLE, (1,))  # type: ignore[attr-defined]
            if image.tag_v2.get(_SAMPLES_PER_PIXEL, 1) != bands or (max(bits) > 8 and not deep):  # type: ignore[attr-defined]
                return tiff_file(path)
        if image.format == "PNG" and bands > 1 and _png_bits(path) == 16:
            _load(image)  # which says what is damaged
            return _deep_png(path, bands, image.getexif().get(_ORIENTATION, 1))
        image = _upright(image)
        if image.mode in ("P", "PA"):
            image = image.convert("RGBA" if image.mode == "PA" or "transparency" in image.info else "RGB")
        array = np.array(image)
        if image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PPM"):
            array = array.astype(np.uint16)
        return array if array.ndim == 3 else array[..., None]


def _png_bits(path: Path) -> int:
    with path.open("rb") as stream:
        return stream.read(25)[24]


def _deep_png(path: Path, bands: int, orientation: int) -> NDArray[Any]:
    """Read colours of 16 bits, of which Pillow keeps 8."""
    array = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_UNCHANGED)
    assert array is not None, "Pillow has read it"
    order = {2: [0, 3], 3: [2, 1, 0], 4: [2, 1, 0, 3]}[bands]
    return upright(array[..., order], orientation)


def _is_foreign_tiff(path: Path) -> bool:
    """Tell whether a file is a TIFF that Pillow does not know, as of more bands."""
    if not is_tiff(path):
        return False
    try:
        Image.open(path, formats=("TIFF",)).close()
    except UnidentifiedImageError:
        return True
    except (Image.DecompressionBombError, OSError, SyntaxError, ValueError):
        pass  # said when it is opened
    return False


def _refuse_foreign_tiff(path: Path) -> None:
    has = 0
    with suppress(UserError, OSError):
        has = tiff_shape(path)[2] if is_tiff(path) else 0
    if has > 1:
        raise UserError(f"{path}: has {number_of(has, 'band')}, of which none would be read; {save_as_rgb(has)}")


def _refuse_frames(path: Path, image: Image.Image) -> None:
    with _stumbling():
        frames = getattr(image, "n_frames", 1)
    if frames > 1 and image.format != "MPO":  # a camera's JPEG, with previews behind the photo
        raise UserError(f"{path}: holds {number_of(frames, 'image')}; save the one that is meant as a file of its own")


def _refuse_frames_and_bands(path: Path, image: Image.Image) -> None:
    _refuse_frames(path, image)
    tags = getattr(image, "tag_v2", {})
    bands, read = tags.get(_SAMPLES_PER_PIXEL, 1), len(image.getbands())
    if bands > read:
        raise UserError(f"{path}: has {number_of(bands, 'band')}, of which {read} would be read; {save_as_rgb(bands)}")


@contextmanager
def _stumbling() -> Iterator[None]:
    """Raise ValueError for whatever Pillow stumbles over in a damaged file, such as a TIFF whose offset is a float.

    Only for calls of Pillow: in our own code these are bugs.
    """
    try:
        yield
    except (TypeError, LookupError, AttributeError, ArithmeticError, struct.error) as error:
        raise ValueError(str(error)) from error


def _load(image: Image.Image) -> None:
    with _stumbling():
        image.load()


def _upright(image: Image.Image) -> Image.Image:
    _load(image)
    try:
        return ImageOps.exif_transpose(image)
    except (SyntaxError, ValueError, KeyError, TypeError, struct.error):
        return image  # malformed EXIF says nothing, to viewers neither


def _rgb(path: Path, image: Image.Image, file_format: str | None) -> Array:
    if image.mode in _ALPHA or "transparency" in image.info:
        # Only what is opaque everywhere means the same without its alpha.
        whole = None if image.mode.startswith("I") else np.array(image.convert("RGBA"))
        if whole is None or whole[..., 3].min() < 255:
            bands = len(image.getbands()) if image.mode in _ALPHA else 4
            raise UserError(
                f"{path}: has transparent pixels, or a fourth band that is no colour; save it as RGB without them, or "
                f"say `bands: {bands}` in the run file's data to read it as it is"
            )
        return np.ascontiguousarray(whole[..., :3])
    if image.mode.startswith("I;16") or (image.mode == "I" and file_format == "PPM"):
        say_scaled(path.parent)
        levels = np.array(image, np.uint32)
        grey = ((levels + 128) // 257).astype(np.uint8)
        return np.repeat(grey[..., None], 3, axis=2)
    if image.mode not in _CONVERTIBLE:
        raise UserError(
            f"{path}: pixels of mode '{image.mode}' have no known range; save it with 8 or 16 bits, or say "
            "`levels: [low, high]` in the run file's data"
        )
    return np.array(image.convert("RGB"))
