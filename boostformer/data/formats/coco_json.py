"""COCO's JSON files: images, categories, and runs as its tools write them."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from boostformer.data.config import SplitName
from boostformer.data.formats.annotated import Files, below, checked, entry, size_of
from boostformer.data.formats.format import SPLIT_NAMES
from boostformer.data.formats.names import json_of
from boostformer.data.shapes import Runs
from boostformer.errors import UserError


@dataclass(frozen=True)
class CocoImage:
    """One of a file's images, and its ``size`` (h, w) if that is told."""

    file_name: str
    size: tuple[int, int] | None

    @property
    def name(self) -> str:
        """The file's name without its suffix."""
        return PurePosixPath(self.file_name.replace("\\", "/")).with_suffix("").as_posix()


@dataclass(frozen=True)
class CocoFile:
    """Content of a file: images by id, names and parents of categories by id, and annotations as they are."""

    path: Path
    images: dict[int | str, CocoImage]
    categories: dict[int, str]
    parents: dict[int, object]
    annotations: list[Any]

    def image_of(self, annotation: dict[str, Any], where: str) -> int | str:
        """Give the id of an annotation's image."""
        number = annotation.get("image_id")
        if not isinstance(number, (int, str)) or number not in self.images:
            raise UserError(f"{where}: `image_id` {str(number)[:50]} is none of the file's images")
        return number


def read_coco(path: Path) -> CocoFile:
    """Read a file and check its images and categories; UserError names it and the entry."""
    content = json_of(path)
    lists = [entry(content, key, list, path) for key in ("images", "categories", "annotations")]
    images: dict[int | str, CocoImage] = {}
    for place, one in enumerate(lists[0]):
        where = f"{path}: image {place}"
        number = checked(one, dict, where).get("id")
        if not isinstance(number, (int, str)) or number in images:
            raise UserError(f"{where}: `id` must be a number of its own, but got {str(number)[:50]}")
        size = size_of(one, where) if "height" in one or "width" in one else None
        images[number] = CocoImage(entry(one, "file_name", str, where), size)
    categories: dict[int, str] = {}
    parents: dict[int, object] = {}
    for place, one in enumerate(lists[1]):
        where = f"{path}: category {place}"
        key, name = entry(one, "id", int, where), entry(one, "name", str, where).strip()
        if key in categories or not name:
            raise UserError(f"{where}: must have an `id` of its own and a name, but got {key} and {name!r}")
        categories[key], parents[key] = name, one.get("supercategory")
    if not categories:
        raise UserError(f"{path}: has no categories")
    return CocoFile(path, images, categories, parents, lists[2])


def joined_categories(files: Iterable[CocoFile]) -> dict[int, str]:
    """Join the names of all parts; UserError when two files call one id differently."""
    names: dict[int, str] = {}
    for file in files:
        for number, name in file.categories.items():
            if names.setdefault(number, name) != name:
                raise UserError(f"{file.path}: category {number} is '{name}', but '{names[number]}' in another part")
    return names


def image_places(root: Path, split: SplitName, file: CocoFile, files: Files) -> dict[int | str, Path]:
    """Find the images of a part, by their ids; all are in the first of the usual folders that has the first one."""
    if not file.images:
        raise UserError(f"{file.path}: lists no image")
    first = next(iter(file.images.values())).file_name
    folders = list(dict.fromkeys(_folders(root, split, file.path)))
    folder = next((one for one in folders if files.find(below(one, first, file.path))), None)
    if folder is None:
        tried = ", ".join(f"{one.relative_to(root)}/" for one in folders)
        raise UserError(f"{file.path}: its image {first[:200]} is in none of {tried}")
    places = {}
    for number, image in file.images.items():
        place = below(folder, image.file_name, file.path)
        if (found := files.find(place)) is None:
            raise UserError(f"{place}: no such file, but {file.path.name} lists it")
        places[number] = found
    return places


def _folders(root: Path, split: SplitName, path: Path) -> Iterator[Path]:
    if path.parent not in (root, root / "annotations"):
        yield path.parent
    for name in (path.stem.rpartition("_")[2], path.stem, *SPLIT_NAMES[split]):
        yield from (root / name, root / "images" / name)
    yield from (root / "images", root)


def runs_of(region: dict[str, Any], value: int, size: tuple[int, int] | None, where: str) -> Runs:
    """Read an object's runs, compressed to text or a list of numbers; ``size`` (h, w) is its image's, if told."""
    shape = entry(region, "size", list, where)
    if (
        len(shape) != 2
        or not all(type(one) is int and one > 0 for one in shape)
        or tuple(shape) != (size or tuple(shape))
    ):
        raise UserError(f"{where}: the runs' `size` must be [height, width] of the image, but got {str(shape)[:50]}")
    counts = region.get("counts")
    if isinstance(counts, str):
        numbers = _decompressed(counts, where)
    else:
        try:
            numbers = np.array(array("q", checked(counts, list, f"{where}: `counts`")), np.int64)
        except (TypeError, OverflowError):
            raise UserError(f"{where}: `counts` must be text or whole numbers") from None
    height, width = shape
    if (numbers < 0).any() or (numbers > height * width).any() or numbers.sum() != height * width:
        raise UserError(f"{where}: the runs do not add up to the {width}x{height} pixels of their `size`")
    return Runs(value, (0, 0, width, height), array("q", numbers.tobytes()), by_column=True)


def _decompressed(text: str, where: str) -> NDArray[np.int64]:
    """Read runs as text: each number in 5 bits a character, the lowest first; from the 4th on differences.

    Not by pycocotools: it reads past the end of malformed text, and gives pixels that no run reaches any value.
    """
    codes = np.frombuffer(text.encode("ascii", "replace"), np.uint8).astype(np.int64) - 48
    last = np.flatnonzero(codes & 32 == 0)  # bit 5 says that the number goes on
    start = np.concatenate([[0], last[:-1] + 1]) if last.size else last
    whole = last.size and last[-1] == len(codes) - 1 and (last - start <= 6).all()
    if not whole or codes.min() < 0 or codes.max() > 63:
        raise UserError(f"{where}: the runs {text[:20]!r} are not as COCO's tools write them")
    place = 5 * (np.arange(len(codes)) - np.repeat(start, last - start + 1))
    counts = np.add.reduceat((codes & 31) << place, start)
    counts -= np.where(codes[last] & 16, 1 << (place[last] + 5), 0)  # bit 4 of the last one is the sign
    counts[1::2], counts[2::2] = counts[1::2].cumsum(), counts[2::2].cumsum()
    return counts
