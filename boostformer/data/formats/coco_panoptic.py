"""COCO's panoptic annotations: things and stuff as numbered segments."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from boostformer.data.config import MOST_VALUES, SPLITS, DataConfig, SplitName
from boostformer.data.formats.annotated import Files, below, checked, entry, in_order, part_of
from boostformer.data.formats.coco_json import CocoFile, image_places, joined_categories, read_coco
from boostformer.data.formats.format import Format, Layout
from boostformer.data.samples import Panoptic, Sample
from boostformer.errors import UserError

_MOST_SEGMENTS = 1 << 24


class CocoPanoptic(Format):
    """``annotations/panoptic_{train2017,val2017}.json``, folders of PNGs of these names, and images.

    Categories are values 1, 2, … in the order of their ids; pixels of no segment are ignored.
    """

    kind = "coco_panoptic"
    looks = "annotations/panoptic_{train2017,val2017}.json with folders of PNGs of these names, and images"

    def recognises(self, root: Path) -> bool:
        return any(map(part_of, (path.stem for path in (root / "annotations").glob("panoptic_*.json"))))

    def read(self, root: Path, config: DataConfig) -> Layout:
        files = {split: read_coco(path) for split, path in _files(root).items()}
        names = joined_categories(files.values())
        if len(names) > MOST_VALUES - 2:
            raise UserError(f"{root}: has {len(names)} categories; allowed: {MOST_VALUES - 2}")
        values = {number: value for value, number in enumerate(sorted(names), start=1)}
        listing, everything = Files(), list[Path]()
        splits: dict[SplitName, list[Sample]] = {}
        for split, file in files.items():
            places = image_places(root, split, file, listing)
            splits[split] = in_order(_samples(root, file, places, values, listing), file.path)
            everything += places.values()
        told = " and ".join(str(file.path.relative_to(root)) for file in files.values())
        listing.check_annotated(everything, told)
        return Layout(
            root,
            f"COCO's panoptic annotations ({told})",
            splits,
            next(iter(files.values())).path,
            {values[number]: name for number, name in sorted(names.items())},
            frozenset([0]),
        )


def _files(root: Path) -> dict[SplitName, Path]:
    found: dict[SplitName, Path] = {}
    for path in sorted((root / "annotations").glob("panoptic_*.json")):
        if split := part_of(path.stem):
            if split in found:
                raise UserError(f"{path}: and {found[split].name} are both for {split}; take one of them out")
            found[split] = path
    if not found:
        raise UserError(f"{root}: found no annotations/panoptic_*.json of a part, such as panoptic_train2017.json")
    return {split: found[split] for split in SPLITS if split in found}


def _samples(
    root: Path, file: CocoFile, places: dict[int | str, Path], values: dict[int, int], listing: Files
) -> list[Sample]:
    folders = (file.path.with_suffix(""), root / file.path.stem)
    folder = next((one for one in folders if one.is_dir()), None)
    if folder is None:
        raise UserError(f"{folders[0]}: no such folder, which has the segments of {file.path.name}")
    samples: dict[int | str, Sample] = {}
    for number, one in enumerate(file.annotations):
        where = f"{file.path}: annotation {number}"
        named = below(folder, entry(one, "file_name", str, where), where)
        mask = listing.find(named)
        image = file.image_of(one, where)
        if image in samples or mask is None:
            raise UserError(f"{where}: " + ("its image has another one" if image in samples else f"no file {named}"))
        segments = _segments(entry(one, "segments_info", list, where), values, where)
        samples[image] = Panoptic(file.images[image].name, places[image], mask, segments)
    for image, place in places.items():
        if image not in samples:
            raise UserError(f"{place}: the image has no annotation in {file.path.name}")
    return list(samples.values())


def _segments(segments: list[Any], values: dict[int, int], where: str) -> dict[int, int]:
    found: dict[int, int] = {}
    for one in segments:
        number, category = (entry(checked(one, dict, where), key, int, where) for key in ("id", "category_id"))
        if not 0 < number < _MOST_SEGMENTS or number in found:
            raise UserError(f"{where}: segment {number} must have a number of its own below {_MOST_SEGMENTS}")
        if category not in values:
            raise UserError(f"{where}: segment {number} is of category {category}, which is none of the file's")
        found[number] = values[category]
    return found
