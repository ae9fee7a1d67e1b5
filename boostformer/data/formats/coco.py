"""COCO's annotations of objects: outlines and runs in one JSON file for each part."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from boostformer.data.config import MOST_VALUES, SPLITS, DataConfig, SplitName
from boostformer.data.formats.annotated import (
    Files,
    area,
    counted,
    entry,
    in_order,
    names_of_objects,
    part_of,
    ring,
    said_of_background,
)
from boostformer.data.formats.coco_json import CocoFile, CocoImage, image_places, joined_categories, read_coco, runs_of
from boostformer.data.formats.format import Format, Layout
from boostformer.data.samples import Drawn, Sample
from boostformer.data.shapes import Polygon, Shape
from boostformer.errors import UserError

CROWD = MOST_VALUES - 1
_OTHERS = ("panoptic", "stuff", "captions", "person_keypoints", "image_info")
_SINGLE = ("annotations/instances_default.json", "annotations.json", "instances_default.json", "_annotations.coco.json")
_ROBOFLOW = "_annotations.coco.json"


class Coco(Format):
    """Images with objects in ``annotations/instances_{train2017,val2017}.json``.

    So are other ``annotations/*{train,val,test}*.json``; Roboflow's ``{train,valid,test}/_annotations.coco.json`` with
    images beside; and as CVAT writes it, one ``annotations/instances_default.json`` without parts. Images are in
    ``train2017/``, ``images/train2017/``, ``images/`` and the like.

    Categories are values 1, 2, … in the order of their ids, all else is 0. Larger objects are drawn first; crowds
    lie below all and are ignored.
    """

    kind = "coco"
    looks = "annotations/instances_{train2017,val2017}.json with images; Roboflow's train/_annotations.coco.json"

    def recognises(self, root: Path) -> bool:
        found = _by_part(root)
        return all(len(files) == 1 for files in found.values()) if found else _single(root) is not None

    def read(self, root: Path, config: DataConfig) -> Layout:
        files = {split: read_coco(path) for split, path in _files(root).items()}
        names = joined_categories(files.values())
        met: Counter[str] = Counter()
        remarks = list(said_of_background(root, config))
        if (parent := _only_a_parent(files, names)) is not None:
            remarks.append(
                f"{root}: '{names.pop(parent)}' is left out: it is the parent of all others, and nothing is of it"
            )
        values = {number: value for value, number in enumerate(sorted(names), start=1)}
        listing, everything = Files(), list[Path]()
        splits: dict[SplitName, list[Sample]] = {}
        for split, file in files.items():
            shapes = _shapes(file, values, met)
            places = image_places(root, split, file, listing)
            met["images without an object, which are all background"] += sum(not shapes[key] for key in file.images)
            samples: list[Sample] = [
                Drawn(image.name, places[key], file.path, tuple(shapes[key]), image.size)
                for key, image in file.images.items()
            ]
            splits[split] = in_order(samples, file.path)
            everything += places.values()
        told = " and ".join(str(file.path.relative_to(root)) for file in files.values())
        listing.check_annotated(everything, told)
        return Layout(
            root,
            f"COCO's annotations of objects ({told})",
            splits,
            next(iter(files.values())).path,
            names_of_objects([names[number] for number in sorted(names)], root),
            frozenset(),
            [*remarks, *counted(root, met)],
            never=frozenset([CROWD]),
        )


def _by_part(root: Path) -> dict[SplitName, list[Path]]:
    """Find files of parts: only ``instances``, if some are called so; several of one part may be there."""
    found = sorted((root / "annotations").glob("[!.]*.json"))
    found = [path for path in found if path.stem.startswith("instances_")] or [
        path for path in found if not path.stem.startswith(_OTHERS)
    ]
    found = found or sorted(root.glob(f"*/{_ROBOFLOW}"))
    parts: dict[SplitName, list[Path]] = {}
    for path in found:
        if split := part_of(path.parent.name if path.name == _ROBOFLOW else path.stem):
            parts.setdefault(split, []).append(path)
    return parts


def _single(root: Path) -> Path | None:
    return next((root / name for name in _SINGLE if (root / name).is_file()), None)


def _files(root: Path) -> dict[SplitName, Path]:
    parts = _by_part(root)
    for split, found in parts.items():
        if len(found) > 1:
            raise UserError(f"{found[0]}: and {found[1].name} are both for {split}; take one of them out")
    if parts:
        return {split: parts[split][0] for split in SPLITS if split in parts}
    if (single := _single(root)) is None:
        raise UserError(f"{root}: found neither annotations/instances_*.json nor {_ROBOFLOW} in train/")
    return {"training": single}


def _only_a_parent(files: Mapping[SplitName, CocoFile], names: Mapping[int, str]) -> int | None:
    """Find the category 0 that Roboflow adds as the parent of all others, if nothing is of it."""
    parents = {parent for file in files.values() for number, parent in file.parents.items() if number}
    if 0 not in names or parents != {names[0]}:
        return None
    annotations = (one for file in files.values() for one in file.annotations)
    used = any(isinstance(one, dict) and one.get("category_id") == 0 for one in annotations)
    return None if used else 0


def _shapes(file: CocoFile, values: Mapping[int, int], met: Counter[str]) -> dict[int | str, list[Shape]]:
    """Give the shapes of each image, crowds first, then the larger ones first."""
    found: dict[int | str, list[tuple[bool, float, list[Shape]]]] = {key: [] for key in file.images}
    for number, one in enumerate(file.annotations):
        where = f"{file.path}: annotation {one.get('id', number) if isinstance(one, dict) else number}"
        category = entry(one, "category_id", int, where)
        if category not in values:
            raise UserError(f"{where}: `category_id` {category} is none of the file's categories")
        image = file.image_of(one, where)
        crowd = one.get("iscrowd") in (1, True)
        shapes, size = _drawn(one, CROWD if crowd else values[category], file.images[image], where, met)
        found[image].append((not crowd, -size, shapes))
    return {
        key: [shape for *_, shapes in sorted(objects, key=lambda one: one[:2]) for shape in shapes]
        for key, objects in found.items()
    }


def _drawn(one: Any, value: int, image: CocoImage, where: str, met: Counter[str]) -> tuple[list[Shape], float]:
    """Read the shapes of one object, and its area."""
    region = one.get("segmentation")
    if not region:
        raise UserError(f"{where}: has no segmentation; a box is no mask, so annotate the outline or take it out")
    if isinstance(region, dict):
        runs = runs_of(region, value, image.size, where)
        return [runs], sum(runs.counts[1::2])
    shapes: list[Shape] = []
    total = 0.0
    for outline in _outlines(region, where):
        points = ring(outline, where)
        if len(points) < 6:
            met["outlines of fewer than 3 points, which enclose nothing"] += 1
            continue
        shapes.append(Polygon(value, (points,)))
        total += area(points)
    return shapes, total


def _outlines(region: Any, where: str) -> Iterator[Any]:
    if not isinstance(region, list):
        raise UserError(f"{where}: `segmentation` must be a list of outlines or an object with runs")
    # Some tools write the one outline without a list around it.
    yield from region if isinstance(region[0], list) else [region]
