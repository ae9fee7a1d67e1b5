"""COCO-Stuff: one PNG of things and stuff for each image of COCO."""

from __future__ import annotations

import re
from pathlib import Path

from boostformer.data.config import SPLITS, DataConfig, SplitName
from boostformer.data.formats.annotated import part_of
from boostformer.data.formats.format import MASK_SUFFIXES, Format, Layout, by_stem, paired
from boostformer.data.formats.names import text_of
from boostformer.data.images import IMAGE_SUFFIXES
from boostformer.data.samples import Sample
from boostformer.errors import UserError

_MASKS = "stuffthingmaps"


class CocoStuff(Format):
    """``stuffthingmaps/{train2017,val2017}/*.png`` with images in ``train2017/`` or ``images/train2017/``.

    Values are category ids less one, and 255 is unlabelled; names are in ``labels.txt``, if it is there, as
    ``1: person``.
    """

    kind = "coco_stuff"
    looks = "stuffthingmaps/{train2017,val2017} with train2017/ or images/train2017/"

    def recognises(self, root: Path) -> bool:
        return (root / _MASKS).is_dir() and bool(_folders(root))

    def read(self, root: Path, config: DataConfig) -> Layout:
        splits: dict[SplitName, list[Sample]] = {}
        for split, masks in _folders(root).items():
            places = (root / masks.name, root / "images" / masks.name)
            images = next((place for place in places if place.is_dir()), None)
            if images is None:
                raise UserError(f"{places[0]}: no such folder, which has the images of {masks.relative_to(root)}/")
            found = by_stem(images, IMAGE_SUFFIXES)
            splits[split] = paired(images, masks, found, by_stem(masks, MASK_SUFFIXES))
        if not splits:
            raise UserError(f"{root / _MASKS}: has no folder of a part, such as train2017/")
        listed = root / "labels.txt"
        names = _names(listed) if listed.is_file() else None
        return Layout(root, f"COCO-Stuff ({_MASKS}/)", splits, listed if names else root, names, frozenset([255]))


def _folders(root: Path) -> dict[SplitName, Path]:
    found: dict[SplitName, Path] = {}
    folders = sorted(path for path in (root / _MASKS).glob("*") if path.is_dir())
    for path in folders:
        if split := part_of(path.name):
            if split in found:
                raise UserError(f"{path}: and {found[split].name}/ are both for {split}; take one of them out")
            found[split] = path
    return {split: found[split] for split in SPLITS if split in found}


def _names(path: Path) -> dict[int, str]:
    """Read ``1: person``: ids, which masks write less one; 0 is what is unlabelled."""
    names: dict[int, str] = {}
    for number, line in enumerate(text_of(path).splitlines(), start=1):
        if not line.strip():
            continue
        match = re.fullmatch(r"\s*(\d{1,3})\s*:\s*(\S.*?)\s*", line)
        if match is None or int(match[1]) > 255 or int(match[1]) - 1 in names:
            raise UserError(
                f"{path}:{number}: must be an id up to 255 of its own and a name, '1: person', but got {line[:80]!r}"
            )
        if int(match[1]):
            names[int(match[1]) - 1] = match[2]
    return names
