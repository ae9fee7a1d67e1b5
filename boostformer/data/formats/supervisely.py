"""Supervisely's projects: ``meta.json`` and data sets of images with a JSON file each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from boostformer.data.config import SPLITS, DataConfig, SplitName
from boostformer.data.formats.annotated import (
    checked,
    counted,
    entry,
    in_order,
    names_of_objects,
    part_of,
    ring_of_points,
    said_of_background,
    size_of,
)
from boostformer.data.formats.format import Format, Layout, by_stem
from boostformer.data.formats.names import json_of
from boostformer.data.images import IMAGE_SUFFIXES
from boostformer.data.samples import Drawn, Sample
from boostformer.data.shapes import Bitmap, PixelPolygon, Shape
from boostformer.errors import UserError

_META = "meta.json"


class Supervisely(Format):
    """``meta.json`` and ``DATASET/{img,ann}/``, with ``NAME.jpg.json`` for each ``NAME.jpg``.

    Classes are values 1, 2, … in the order of ``meta.json``, all else is 0. Data sets that are called like parts are
    those; if none is, all are for training. Polygons, rectangles and bitmaps are drawn in their order.
    """

    kind = "supervisely"
    looks = "meta.json with data sets in folders that have img/ and ann/"

    def recognises(self, root: Path) -> bool:
        return (root / _META).is_file() and bool(_datasets(root))

    def read(self, root: Path, config: DataConfig) -> Layout:
        meta = root / _META
        if not meta.is_file():
            raise UserError(f"{meta}: no such file in the project")
        classes = entry(json_of(meta), "classes", list, meta)
        names = [entry(one, "title", str, f"{meta}: class {number}") for number, one in enumerate(classes)]
        if not names or len(set(names)) < len(names):
            raise UserError(f"{meta}: `classes` must have titles of their own, but got {str(names)[:100]}")
        values = {name: value for value, name in enumerate(names, start=1)}
        met: Counter[str] = Counter()
        parts: dict[SplitName, list[Sample]] = {}
        folders = _datasets(root)
        for folder in folders:
            parts.setdefault(_part(folder, folders), []).extend(_samples(root, folder, values, met))
        return Layout(
            root,
            f"Supervisely's project ({', '.join(f'{folder.relative_to(root)}/' for folder in folders)})",
            {split: in_order(parts[split], root) for split in SPLITS if split in parts},
            meta,
            names_of_objects(names, meta),
            frozenset(),
            [*said_of_background(root, config), *counted(root, met)],
        )


def _datasets(root: Path) -> list[Path]:
    return sorted(path for path in root.iterdir() if (path / "img").is_dir() and (path / "ann").is_dir())


def _part(folder: Path, folders: list[Path]) -> SplitName:
    split = part_of(folder.name)
    if split is None and any(part_of(other.name) for other in folders):
        raise UserError(f"{folder}: is of no part, though others are; call it train, val or test")
    return split or "training"


def _samples(root: Path, folder: Path, values: Mapping[str, int], met: Counter[str]) -> Iterator[Sample]:
    annotations = by_stem(folder / "ann", (".json",))
    for image in by_stem(folder / "img", IMAGE_SUFFIXES).values():
        # Earlier exports leave the image's suffix out.
        path = annotations.pop(image.name, None) or annotations.pop(image.stem, None)
        if path is None:
            raise UserError(f"{image}: the image has no {folder / 'ann' / image.name}.json")
        content = json_of(path)
        size = size_of(entry(content, "size", dict, path), path)
        shapes: list[Shape] = []
        for number, one in enumerate(entry(content, "objects", list, path)):
            shapes += _shapes(one, values, f"{path}: object {number}", met)
        met["images without an object, which are all background"] += not shapes
        yield Drawn(image.relative_to(root).with_suffix("").as_posix(), image, path, tuple(shapes), size)
    for path in annotations.values():
        raise UserError(f"{path}: has no image in {folder / 'img'}")


def _shapes(one: Any, values: Mapping[str, int], where: str, met: Counter[str]) -> Iterator[Shape]:
    title, kind = entry(one, "classTitle", str, where), entry(one, "geometryType", str, where)
    if title not in values:
        raise UserError(f"{where}: its class '{title[:50]}' is not in {_META}")
    if kind == "bitmap":
        bitmap = entry(one, "bitmap", dict, where)
        origin = entry(bitmap, "origin", list, where)
        left, top = map(int, ring_of_points([origin], where))
        yield Bitmap(values[title], (left, top), entry(bitmap, "data", str, where), deflated=True)
    elif kind in ("polygon", "rectangle"):
        points = entry(one, "points", dict, where)
        outline = ring_of_points(entry(points, "exterior", list, where), where)
        if kind == "rectangle":
            if len(outline) != 4:
                raise UserError(f"{where}: a rectangle has 2 points, but this one has {len(outline) // 2}")
            x, y, across, down = outline
            outline = ring_of_points([[x, y], [across, y], [across, down], [x, down]], where)
        holes = checked(points.get("interior", []), list, f"{where}: `interior`")
        yield PixelPolygon(values[title], (outline, *(ring_of_points(hole, where) for hole in holes)))
    else:
        met[f"'{kind[:50]}' objects, which enclose nothing and are not drawn"] += 1
