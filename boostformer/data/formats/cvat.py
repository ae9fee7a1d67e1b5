"""CVAT's own XML of annotated images, "CVAT for images 1.1"."""

from __future__ import annotations

import re
from array import array
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import NoReturn
from xml.etree import ElementTree

from boostformer.data.config import SPLITS, DataConfig, SplitName
from boostformer.data.formats.annotated import (
    Files,
    below,
    counted,
    in_order,
    names_of_objects,
    part_of,
    ring_of_points,
    said_of_background,
)
from boostformer.data.formats.format import Format, Layout
from boostformer.data.samples import Drawn, Sample
from boostformer.data.shapes import Polygon, Runs, Shape
from boostformer.errors import UserError

_FILE = "annotations.xml"
_NOT_DRAWN = ("box", "ellipse", "polyline", "points", "cuboid", "skeleton")
_AT_ONCE = 1 << 16


class Cvat(Format):
    """``annotations.xml`` with images in ``images/``; an image's ``subset`` is its part.

    Labels are values 1, 2, … in the order of the file's list, all else is 0. Polygons and masks are drawn in their
    order of z; boxes and other shapes are not, which a remark counts.
    """

    kind = "cvat"
    looks = "annotations.xml ('CVAT for images 1.1') with images/"

    def recognises(self, root: Path) -> bool:
        if not (root / _FILE).is_file():
            return False
        with (root / _FILE).open("rb") as stream:
            return b"<annotations" in stream.read(1 << 12)

    def read(self, root: Path, config: DataConfig) -> Layout:
        path = root / _FILE
        content = _parsed(path)
        names = content.labels or sorted({label for image in content.images for _, label, _ in image.shapes})
        values = {name: value for value, name in enumerate(names, start=1)}
        listing, everything = Files(), list[Path]()
        parts: dict[SplitName, list[Sample]] = {}
        for image in content.images:
            split, place = _part(image, path), _place(root, image, listing, path)
            everything.append(place)
            name = PurePosixPath(image.name).with_suffix("").as_posix()
            sample = Drawn(name, place, path, tuple(_valued(image, values, path)), image.size)
            parts.setdefault(split, []).append(sample)
        listing.check_annotated(everything, path)
        splits = {split: in_order(parts[split], path) for split in SPLITS if split in parts}
        met = {f"<{tag}> shapes, which are no masks and not drawn": count for tag, count in content.others.items()}
        met["images without a shape, which are all background"] = sum(not image.shapes for image in content.images)
        return Layout(
            root,
            f"CVAT's annotations of images ({_FILE})",
            splits,
            path,
            names_of_objects(names, path),
            frozenset(),
            [*said_of_background(root, config), *counted(root, met)],
        )


@dataclass
class _Image:
    """An image of the file, with the z order, label and shape (of value 0 as yet) of each of its regions."""

    name: str
    size: tuple[int, int]
    subset: str
    shapes: list[tuple[float, str, Polygon | Runs]] = field(default_factory=list)


class _Content:
    """Content of the file, taken from its tags as they come, so that it is never in memory as a tree."""

    def __init__(self, path: Path) -> None:
        self.labels: list[str] = []
        self.images: list[_Image] = []
        self.others: Counter[str] = Counter()
        self._path, self._tags, self._text = path, list[str](), ""

    def doctype(self, name: str, public: str | None, system: str | None) -> NoReturn:
        raise UserError(f"{self._path}: has a DOCTYPE, which CVAT does not write; take it out")

    def start(self, tag: str, given: dict[str, str]) -> None:
        self._tags.append(tag)
        self._text = ""
        if self._tags[:1] != ["annotations"]:
            raise UserError(f"{self._path}: begins with <{tag[:50]}>, but CVAT's file with <annotations>")
        if tag == "track":
            raise UserError(f"{self._path}: is of a video; export it as 'CVAT for images 1.1'")
        if self._tags == ["annotations", "image"]:
            where = f"{self._path}: <image>"
            size = (_whole(given, "height", where), _whole(given, "width", where))
            self.images.append(_Image(_given(given, "name", where), size, given.get("subset", "")))
        elif len(self._tags) == 3 and self._tags[1] == "image":
            self._shape(tag, given, self.images[-1])

    def data(self, text: str) -> None:
        if self._tags[-1] == "name":
            self._text += text

    def end(self, tag: str) -> None:
        if self._tags[-3:] == ["labels", "label", "name"] and self._tags[1] == "meta":
            name = self._text.strip()
            if name and name not in self.labels:
                self.labels.append(name)
        self._tags.pop()

    def close(self) -> _Content:
        return self

    def _shape(self, tag: str, given: dict[str, str], image: _Image) -> None:
        where = f"{self._path}: {image.name}: <{tag[:50]}>"
        if tag in _NOT_DRAWN:
            self.others[tag] += 1
        elif tag in ("polygon", "mask"):
            order = _whole(given, "z_order", where) if "z_order" in given else 0
            shape = _polygon(given, where) if tag == "polygon" else _mask(given, image.size, where)
            image.shapes.append((order, _given(given, "label", where), shape))
        elif tag != "tag":  # a label of the whole image
            raise UserError(f"{where}: is no shape that is known: polygon, mask, {', '.join(_NOT_DRAWN)}")


def _parsed(path: Path) -> _Content:
    content = _Content(path)
    parser = ElementTree.XMLParser(target=content)  # noqa: S314  expat fetches nothing and refuses entities that grow
    try:
        with path.open("rb") as stream:
            while data := stream.read(_AT_ONCE):
                parser.feed(data)
        parser.close()
    except ElementTree.ParseError as error:
        raise UserError(f"{path}: is no XML ({error})") from None
    except (OSError, LookupError, ValueError) as error:  # of an encoding, too
        raise UserError(f"{path}: cannot be read ({error})") from None
    if not content.images:
        raise UserError(f"{path}: has no images")
    return content


def _given(given: dict[str, str], key: str, where: str) -> str:
    if not given.get(key):
        raise UserError(f"{where}: has no `{key}`")
    return given[key]


def _whole(given: dict[str, str], key: str, where: str) -> int:
    text = _given(given, key, where)
    if not re.fullmatch(r"-?[0-9]{1,9}", text):
        raise UserError(f"{where}: `{key}` must be a whole number, but got {text[:50]!r}")
    return int(text)


def _polygon(given: dict[str, str], where: str) -> Polygon:
    text = _given(given, "points", where)
    try:
        points = [[float(number) for number in pair.split(",")] for pair in text.split(";")]
    except ValueError:
        raise UserError(f"{where}: `points` must be 'x,y;x,y;…', but got {text[:50]!r}") from None
    return Polygon(0, (ring_of_points(points, where),))


def _mask(given: dict[str, str], size: tuple[int, int], where: str) -> Runs:
    left, top, width, height = (_whole(given, key, where) for key in ("left", "top", "width", "height"))
    text = _given(given, "rle", where)
    try:
        counts = array("i", map(int, text.split(",")))
    except (ValueError, OverflowError):
        raise UserError(f"{where}: `rle` must be whole numbers, '3, 5, …', but got {text[:50]!r}") from None
    if not (0 <= left < left + width <= size[1] and 0 <= top < top + height <= size[0]):
        raise UserError(f"{where}: {width}x{height} pixels at {left}, {top} leave the image of {size[1]}x{size[0]}")
    if min(counts) < 0 or sum(counts) != width * height:
        raise UserError(f"{where}: `rle` does not add up to its {width}x{height} pixels")
    return Runs(0, (left, top, width, height), counts)


def _valued(image: _Image, values: Mapping[str, int], path: Path) -> Iterator[Shape]:
    """Give an image's shapes the values of their labels, in their order of z."""
    for _, label, shape in sorted(image.shapes, key=lambda one: one[0]):
        if label not in values:
            raise UserError(f"{path}: {image.name}: the label '{label[:50]}' is not in the file's list of labels")
        yield replace(shape, value=values[label])


def _place(root: Path, image: _Image, listing: Files, path: Path) -> Path:
    folders = [root / "images", root]
    if image.subset:
        folders.insert(0, below(root / "images", image.subset, path))
    places = [below(folder, image.name, path) for folder in folders]
    if (found := listing.first(places)) is None:
        tried = ", ".join(f"{folder.relative_to(root)}/" for folder in folders)
        raise UserError(f"{path}: its image {image.name[:200]} is in none of {tried}")
    return found


def _part(image: _Image, path: Path) -> SplitName:
    if image.subset.casefold() in ("", "default"):
        return "training"
    if (split := part_of(image.subset)) is None:
        raise UserError(
            f"{path}: {image.name}: is of the subset '{image.subset[:50]}'; allowed: Train, Validation, Test"
        )
    return split
