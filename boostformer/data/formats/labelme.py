"""Labelme's annotations: a JSON file beside each image."""

from __future__ import annotations

import math
from array import array
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from boostformer.data.config import MOST_VALUES, DataConfig, SplitName
from boostformer.data.formats.annotated import (
    Files,
    below,
    checked,
    counted,
    entry,
    in_order,
    names_of_objects,
    ring_of_points,
    said_of_background,
)
from boostformer.data.formats.format import Format, Layout, by_stem, split_folders
from boostformer.data.formats.names import json_of
from boostformer.data.images import IMAGE_SUFFIXES
from boostformer.data.samples import Drawn, Sample
from boostformer.data.shapes import Bitmap, Polygon
from boostformer.errors import UserError

_IGNORED, _OUTSIDE = "__ignore__", "_background_"
_IGNORED_VALUE = MOST_VALUES - 1
_NOT_DRAWN = ("point", "points", "line", "linestrip", "oriented_rectangle")
_CORNERS = 256  # of a circle


class Labelme(Format):
    """``NAME.json`` beside each image, in the folder itself or in ``train/`` and ``val/``.

    Labels, sorted by name, are values 1, 2, …; ``_background_`` and all else is 0, ``__ignore__`` is ignored. Polygons,
    rectangles, circles and masks are drawn in their order.
    """

    kind = "labelme"
    looks = "a JSON file with `shapes` beside each image, in the folder itself or in train/ and val/"

    def recognises(self, root: Path) -> bool:
        return any(map(_is_labelled, _folders(root).values()))

    def read(self, root: Path, config: DataConfig) -> Layout:
        met: Counter[str] = Counter()
        listing = Files()
        parts = {split: _annotated(folder, listing, met) for split, folder in _folders(root).items()}
        labels = {label for images in parts.values() for image in images for label, _ in image.shapes}
        names = sorted(labels - {_IGNORED, _OUTSIDE})
        values = dict(enumerate(names, start=1))
        numbers = {_OUTSIDE: 0, _IGNORED: _IGNORED_VALUE, **{name: value for value, name in values.items()}}
        splits: dict[SplitName, list[Sample]] = {
            split: in_order((image.sample(numbers) for image in images), root) for split, images in parts.items()
        }
        met["images without a shape, which are all background"] = sum(
            not image.shapes for images in parts.values() for image in images
        )
        return Layout(
            root,
            "Labelme's JSON files beside images",
            splits,
            root,
            names_of_objects(names, root),
            frozenset(),
            [*said_of_background(root, config), *counted(root, met)],
            never=frozenset([_IGNORED_VALUE]),
        )


@dataclass(frozen=True)
class _Annotated:
    """An image with the label and shape (of value 0 as yet) of each of its regions."""

    image: Path
    annotation: Path
    size: tuple[int, int] | None
    shapes: list[tuple[str, Polygon | Bitmap]]

    def sample(self, values: Mapping[str, int]) -> Sample:
        shapes = tuple(replace(shape, value=values[label]) for label, shape in self.shapes)
        return Drawn(self.annotation.stem, self.image, self.annotation, shapes, self.size)


def _folders(root: Path) -> dict[SplitName, Path]:
    parts = split_folders(root)
    return parts if any(any(folder.glob("[!.]*.json")) for folder in parts.values()) else {"training": root}


def _is_labelled(folder: Path) -> bool:
    """Tell whether there is a file beside an image of its name, and the first one has shapes."""
    stems = {path.stem for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES}
    first = next((path for path in sorted(folder.glob("[!.]*.json")) if path.stem in stems), None)
    try:
        return first is not None and isinstance(json_of(first).get("shapes"), list)
    except (UserError, AttributeError):
        return False


def _annotated(folder: Path, listing: Files, met: Counter[str]) -> list[_Annotated]:
    files = by_stem(folder, (".json",))
    if not files:
        raise UserError(f"{folder}: has no JSON files")
    found = [_read(path, listing, met) for path in files.values()]
    listing.check_annotated((one.image for one in found), f"any JSON file of {folder}")
    return found


def _read(path: Path, listing: Files, met: Counter[str]) -> _Annotated:
    content = json_of(path)
    named = below(path.parent, entry(content, "imagePath", str, path), path)
    if (image := listing.find(named)) is None:
        raise UserError(f"{path}: there is no {named}, which it says it is of")
    size = None
    if content.get("imageHeight") is not None:
        size = (entry(content, "imageHeight", int, path), entry(content, "imageWidth", int, path))
    shapes: list[tuple[str, Polygon | Bitmap]] = []
    for number, one in enumerate(entry(content, "shapes", list, path)):
        where = f"{path}: shape {number}"
        label, kind = entry(one, "label", str, where), one.get("shape_type") or "polygon"
        if kind in _NOT_DRAWN:
            met[f"'{kind}' shapes, which enclose nothing and are not drawn"] += 1
        else:
            shapes.append((label, _shape(one, kind, where)))
    return _Annotated(image, path, size, shapes)


def _shape(one: dict[str, Any], kind: object, where: str) -> Polygon | Bitmap:
    points = ring_of_points(entry(one, "points", list, where), where)
    if kind == "polygon":
        return Polygon(0, (points,))
    if kind not in ("rectangle", "circle", "mask"):
        raise UserError(f"{where}: `shape_type` {str(kind)[:50]!r} is unknown; known: polygon, rectangle, circle, mask")
    if len(points) != 4:
        raise UserError(f"{where}: a {kind} has 2 points, but this one has {len(points) // 2}")
    x, y, across, down = points
    if kind == "rectangle":
        return Polygon(0, (array("d", [x, y, across, y, across, down, x, down]),))
    if kind == "mask":
        return Bitmap(0, (round(x), round(y)), checked(one.get("mask"), str, f"{where}: `mask`"), deflated=False)
    radius = math.hypot(across - x, down - y)
    turns = [2 * math.pi * corner / _CORNERS for corner in range(_CORNERS)]
    outline = [at for turn in turns for at in (x + radius * math.cos(turn), y + radius * math.sin(turn))]
    return Polygon(0, (array("d", outline),))
