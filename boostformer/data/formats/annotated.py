"""Common ground of layouts with annotation files: checked entries, places of images, the background."""

from __future__ import annotations

import os
import re
import reprlib
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

import numpy as np

from boostformer.data.config import MOST_VALUES, DataConfig, SplitName
from boostformer.data.formats.format import SPLIT_NAMES
from boostformer.data.images import IMAGE_SUFFIXES
from boostformer.data.samples import Sample
from boostformer.errors import UserError
from boostformer.files import composed

T = TypeVar("T")
BACKGROUND = "background"
FARTHEST = 1e6
"""Pixels from the corner that no coordinate may exceed: no image that is read is so wide."""
_LONGEST = 1000  # characters of a file's name with its folders
_KINDS = {str: "text", int: "a whole number", list: "a list […]", dict: "an object {…}", float: "a number"}


def part_of(name: str) -> SplitName | None:
    """Tell which part a file or folder is of by a word in its name, as of ``instances_train2017``; None for no part."""
    words = re.findall("[a-z]+", name.casefold())
    found = [split for split, names in SPLIT_NAMES.items() if any(word in names for word in words)]
    return found[0] if len(found) == 1 else None


def entry(record: Any, key: str, kind: type[T], where: object) -> T:
    """Take what must be of a kind out of an object of an annotation file; UserError begins with ``where``."""
    record = checked(record, dict, where)
    if key not in record:
        raise UserError(f"{where}: has no `{key}`, which must be {_KINDS[kind]}")
    return checked(record[key], kind, f"{where}: `{key}`")


def checked(value: Any, kind: type[T], where: object) -> T:
    """Give the value if it is of a kind; UserError begins with ``where``."""
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise UserError(f"{where} must be {_KINDS[kind]}, but got {reprlib.repr(value)}")
    return value


def size_of(record: Any, where: object) -> tuple[int, int]:
    """Take (h, w) out of an object with ``height`` and ``width``."""
    height, width = (entry(record, key, int, where) for key in ("height", "width"))
    if height < 1 or width < 1:
        raise UserError(f"{where}: is {width}x{height} pixels; allowed: sizes from 1")
    return height, width


def ring(numbers: Any, where: object, least: float = -FARTHEST, most: float = FARTHEST) -> array[float]:
    """Read x, y, x, y, …; UserError begins with ``where``.

    Args:
        numbers: a list of numbers.
        where: whose outline it is.
        least: the lowest coordinate that is allowed.
        most: the highest.
    """
    try:
        found = array("d", checked(numbers, list, where))
    except (TypeError, OverflowError):
        raise UserError(f"{where}: coordinates must be numbers, but got {reprlib.repr(numbers)}") from None
    values = np.frombuffer(found)
    if not ((values >= least) & (values <= most)).all():
        strange = next(value for value in found if not least <= value <= most)
        raise UserError(f"{where}: {strange} is no coordinate; allowed: {least:g}…{most:g}")
    if len(found) % 2:
        raise UserError(f"{where}: has {len(found)} coordinates, but they must be pairs of x and y")
    return found


def ring_of_points(points: Any, where: object) -> array[float]:
    """Read [[x, y], …] as :func:`ring` does."""
    flat = []
    for point in checked(points, list, where):
        if not isinstance(point, list) or len(point) != 2:
            raise UserError(f"{where}: a point must be [x, y], but got {reprlib.repr(point)}")
        flat += point
    return ring(flat, where)


def area(numbers: Sequence[float]) -> float:
    """Compute the area inside x, y, x, y, …"""
    x, y = np.asarray(numbers, np.float64).reshape(-1, 2).T
    return abs(float(x[:-1] @ y[1:] - x[1:] @ y[:-1] + x[-1] * y[0] - x[0] * y[-1])) / 2


def below(folder: Path, name: str, where: object) -> Path:
    """Give the file that annotations name, which must lie below ``folder``."""
    parts = PurePosixPath(name.replace("\\", "/")).parts
    if not parts or ".." in parts or parts[0] == "/" or re.match("[A-Za-z]:", name):
        raise UserError(f"{where}: {name[:200]!r} leaves the data set; allowed: names of files below {folder}")
    if "\0" in name or len(name) > _LONGEST:
        raise UserError(f"{where}: {name[:200]!r} is no file's name; allowed: up to {_LONGEST} characters")
    return folder.joinpath(*parts)


class Files:
    """Names of files in folders, each of which is listed once."""

    def __init__(self) -> None:
        self._names = cache(_names)

    def find(self, path: Path) -> Path | None:
        """Give the file that ``path`` names, maybe with other code points for its letters; None if there is none."""
        name = self._names(path.parent).get(composed(path.name))
        return None if name is None else path.with_name(name)

    def first(self, paths: Iterable[Path]) -> Path | None:
        """Give the first of ``paths`` that there is."""
        return next((found for found in map(self.find, paths) if found is not None), None)

    def check_annotated(self, images: Iterable[Path], by: object) -> None:
        """Raise UserError for an image beside ``images`` that is none of them."""
        listed = set(images)
        for folder in sorted({path.parent for path in listed}):
            for name in sorted(self._names(folder).values()):
                path = folder / name
                if path.suffix.lower() in IMAGE_SUFFIXES and not name.startswith(".") and path not in listed:
                    raise UserError(f"{path}: the image is not in {by}; annotate it, or take it out of the folder")


def _names(folder: Path) -> dict[str, str]:
    try:
        with os.scandir(folder) as entries:
            return {composed(one.name): one.name for one in entries if one.is_file()}
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:  # a name that is too long, for one
        raise UserError(f"{folder}: cannot be listed ({error.strerror})") from None


def in_order(samples: Iterable[Sample], where: object) -> list[Sample]:
    """Sort samples by their names; UserError when two have one, or there is none."""
    found: dict[str, Sample] = {}
    for sample in samples:
        if sample.name in found:
            raise UserError(f"{where}: two images are called '{sample.name}'; give one of them another name")
        found[sample.name] = sample
    if not found:
        raise UserError(f"{where}: lists no image")
    return [found[name] for name in sorted(found)]


def names_of_objects(names: Sequence[str], where: object) -> dict[int, str]:
    """Number the classes of objects from 1; 0 is all that is outside of them."""
    if len(names) > MOST_VALUES - 3:
        raise UserError(f"{where}: names {len(names)} classes; allowed: {MOST_VALUES - 3}")
    return {0: BACKGROUND, **dict(enumerate(names, start=1))}


def said_of_background(root: Path, config: DataConfig) -> Iterator[str]:
    """Say that what is outside of all objects is a class, unless the person said what it is."""
    told = config.background is not None or (config.ignore is not None and {0, BACKGROUND} & set(config.ignore))
    if not told and not isinstance(config.classes, Mapping):
        yield f"{root}: what is outside of all shapes is the class '{BACKGROUND}'; `ignore: [0]` makes it no class"


def counted(root: Path, what: Mapping[str, int]) -> Iterator[str]:
    """Say how often each thing was met, if it was: ``{"'point' shapes, which are not drawn": 3}``."""
    yield from (f"{root}: {text}: {count:,}" for text, count in what.items() if count)
