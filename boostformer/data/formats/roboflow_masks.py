"""Roboflow's export of "Semantic Segmentation Masks"."""

from __future__ import annotations

import csv
from pathlib import Path

from boostformer.data.config import MOST_VALUES, DataConfig, SplitName
from boostformer.data.formats.format import MASK_SUFFIXES, Format, Layout, by_stem, paired, split_folders
from boostformer.data.formats.names import text_of
from boostformer.data.images import IMAGE_SUFFIXES
from boostformer.data.samples import Sample
from boostformer.errors import UserError
from boostformer.names import class_names

_ENDING, _TABLE = "_mask", "_classes.csv"
_TITLES = ["pixel value", "class"]


class RoboflowMasks(Format):
    """Images, masks ``NAME_mask.png`` and names by ``_classes.csv`` in each of ``train``, ``valid`` and ``test``."""

    kind = "roboflow_masks"
    looks = "train/ and valid/, each with NAME.jpg, NAME_mask.png and _classes.csv"

    def recognises(self, root: Path) -> bool:
        table = root / "train" / _TABLE
        return table.is_file() and _titles(table) == _TITLES  # exports for classification have other columns

    def read(self, root: Path, config: DataConfig) -> Layout:
        folders = split_folders(root)
        if "training" not in folders:
            raise UserError(f"{root / 'train'}: no such folder in the data set")
        source = folders["training"] / _TABLE
        names = _names(source)
        splits: dict[SplitName, list[Sample]] = {}
        for split, folder in folders.items():
            if (other := _names(folder / _TABLE)) != names:
                raise UserError(f"{folder / _TABLE}: names {other}, but {source} {names}; export both parts together")
            masks = by_stem(folder, MASK_SUFFIXES, _ENDING)
            files = set(masks.values())
            images = {stem: path for stem, path in by_stem(folder, IMAGE_SUFFIXES).items() if path not in files}
            splits[split] = paired(folder, folder, images, masks, _ENDING)
        found = "Roboflow's layout of masks"
        return Layout(root, found, splits, source, names, ignored=frozenset())


def _rows(path: Path) -> list[list[str]]:
    return [[field.strip() for field in row] for row in csv.reader(text_of(path).splitlines())]


def _titles(path: Path) -> list[str]:
    return [title.casefold() for title in next(iter(_rows(path)), [])]


def _names(path: Path) -> dict[int, str]:
    if not path.is_file():
        raise UserError(f"{path}: no such file; it names the mask values")
    if _titles(path) != _TITLES:
        raise UserError(f"{path}:1: must be 'Pixel Value, Class'")
    names: dict[int, str] = {}
    for number, row in enumerate(_rows(path)[1:], start=2):
        if not any(row):
            continue
        value, *name = row
        if not value.isdecimal() or int(value) >= MOST_VALUES or len(name) != 1 or int(value) in names:
            raise UserError(f"{path}:{number}: must be a mask value of its own and its name, but got {','.join(row)!r}")
        names[int(value)] = name[0]
    return dict(zip(names, class_names(names.values(), path), strict=True))
