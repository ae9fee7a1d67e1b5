"""Data sets in ADE20K's folder layout: as distributed, or as image/mask.

As distributed: ``images/{training,validation}/*.jpg``, ``annotations/{training,validation}/*.png``, names of
the classes in ``objectInfo150.txt`` or in ``classes.txt`` (one per line).
As image/mask: ``image/{train,val}``, ``mask/{train,val}``, names in ``id2label.json``.
In both, unless the person says otherwise, mask values 0 ("other") and 255 are ignored (255 here), and value k is class
k - 1.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Literal

import numpy as np

from boostformer.data.config import DataConfig
from boostformer.data.content import digest_of_files
from boostformer.data.images import IMAGE_SUFFIXES, Array, file_errors, read_image, read_mask, stamp
from boostformer.data.mask_scan import MaskScan, scan_masks
from boostformer.data.mask_values import check_learnable, read_meaning
from boostformer.data.split import IGNORED, SegmentationSplit
from boostformer.errors import UserError
from boostformer.names import class_names

SplitName = Literal["training", "validation"]
MASK_SUFFIXES = (".png",)

_LAYOUTS: tuple[tuple[str, str, dict[str, str]], ...] = (
    ("images", "annotations", {"training": "training", "validation": "validation"}),
    ("image", "mask", {"training": "train", "validation": "val"}),
)


class ADE20K(SegmentationSplit):
    """One split of a folder in either layout; ``masks`` is the folder of its masks.

    Opening lists the files and pairs them; a damaged file, a mask of another size than its image or a
    value outside the classes is found when it is read. Each raises UserError naming the file.
    """

    def __init__(self, config: DataConfig, root: Path, split: SplitName, cache: Path | None = None) -> None:
        self.size, self.fit = config.size, config.fit
        remarks: list[str] = []
        with file_errors(root):
            if not root.is_dir():
                raise UserError(f"{root}: no such data folder")
            self._files = _pairs(root, split)
            self.masks = self._files[0][1].parent
            names, source = _class_names(root, remarks)
            if config.classes is not None:
                names, source, remarks = None, root, []
            scans = {part: scan_masks(paths, cache) for part, paths in _masks(root).items() if paths}
        everything = MaskScan(
            [path for scan in scans.values() for path in scan.paths],
            np.concatenate([scan.counts for scan in scans.values()]),
        )
        self._meaning = read_meaning(config, names, source, everything)
        self.labels = self._meaning.labels
        self.remarks = (*remarks, *self._meaning.remarks)
        if "training" in scans:
            check_learnable(self._meaning, scans["training"], scans["training"].paths[0].parent)
        if (self._meaning.classes[np.flatnonzero(scans[split].total)] == IGNORED).all():
            raise UserError(f"{self.masks}: every pixel is ignored, so there is nothing to score")

    def __len__(self) -> int:
        return len(self._files)

    def name(self, index: int) -> str:
        return self._files[index][0].stem

    def image(self, index: int) -> Array:
        return read_image(self._files[index][0])

    def label(self, index: int) -> Array:
        path = self._files[index][1]
        return self._meaning.label(read_mask(path), path)

    def pair(self, index: int) -> tuple[Array, Array]:
        image, label = super().pair(index)
        if image.shape[:2] != label.shape:
            path, mask_path = self._files[index]
            sizes = [f"{shape[1]}x{shape[0]}" for shape in (image.shape, label.shape)]
            raise UserError(f"{mask_path}: the mask is {sizes[1]}, but its image {path} is {sizes[0]}")
        return image, label

    def digest(self, index: int) -> bytes:
        return digest_of_files(*self._files[index])

    def fingerprint(self) -> Iterable[str]:
        yield f"ade20k, classes of mask values {self._meaning.classes.tolist()}"
        for pair in self._files:
            yield from map(stamp, pair)


def _pairs(root: Path, split: SplitName) -> list[tuple[Path, Path]]:
    """List image and mask of equal stem, sorted by name."""
    images_name, masks_name, folders = _layout(root)
    image_dir, mask_dir = (root / kind / folders[split] for kind in (images_name, masks_name))
    for folder in (image_dir, mask_dir):
        if not folder.is_dir():
            raise UserError(f"{folder}: no such folder in the data set")
    images, masks = _by_stem(image_dir, IMAGE_SUFFIXES), _by_stem(mask_dir, MASK_SUFFIXES)
    if not images:
        raise UserError(f"{image_dir}: the {split} split is empty: no {', '.join(IMAGE_SUFFIXES)} files")
    for stem, image in images.items():
        if stem not in masks:
            raise UserError(f"{image}: the image has no mask {mask_dir / stem}.png")
    for stem, mask in masks.items():
        if stem not in images:
            raise UserError(f"{mask}: the mask has no image in {image_dir}")
    return [(images[stem], masks[stem]) for stem in sorted(images)]


def _layout(root: Path) -> tuple[str, str, dict[str, str]]:
    for layout in _LAYOUTS:
        if (root / layout[0]).is_dir():
            return layout
    raise UserError(f"{root}: found neither images/ with annotations/ (ADE20K) nor image/ with mask/")


def _by_stem(folder: Path, suffixes: tuple[str, ...]) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() not in suffixes or path.name.startswith("."):
            continue
        if path.stem in found:
            raise UserError(f"{path}: has the same name as {found[path.stem].name}; which one is meant?")
        found[path.stem] = path
    return found


def _class_names(root: Path, remarks: list[str]) -> tuple[list[str] | None, Path]:
    """Read the first file of names there is, and tell which it is; without one, there are none of ``root``."""
    readers: dict[str, Callable[[Path, list[str]], list[str]]] = {
        "classes.txt": _names_by_line,
        "objectInfo150.txt": _names_by_table,
        "id2label.json": _names_by_id,
    }
    for filename, reader in readers.items():
        if (root / filename).is_file():
            return class_names(reader(root / filename, remarks), root / filename), root / filename
    return None, root


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read as text ({error})") from error


def _names_by_line(path: Path, remarks: list[str]) -> list[str]:
    names = []
    lines = _text(path).rstrip().splitlines()
    for number, line in enumerate(map(str.strip, lines), start=1):
        if line.startswith(("#", "//")):
            raise UserError(f"{path}:{number}: '{line}' looks like a comment, but each line names a class; take it out")
        if line:
            names.append(line)
        else:
            remarks.append(f"{path}:{number}: the blank line is skipped; it is no class")
    return names


def _names_by_table(path: Path, _remarks: list[str]) -> list[str]:
    """Read ``Idx  Ratio  Train  Val  Stuff  Name``, tab-separated, numbered from 1; of synonyms the first."""
    rows = [line.split("\t") for line in _text(path).splitlines()[1:] if line.strip()]
    if [row[0].strip() for row in rows] != [str(number) for number in range(1, len(rows) + 1)]:
        raise UserError(f"{path}: the first column must number the classes 1, 2, 3, …, separated by tabs")
    return [row[-1].split(",")[0].strip() for row in rows]


def _names_by_id(path: Path, _remarks: list[str]) -> list[str]:
    """Read ``{"0": "wall", …}``: ids after the shift, so "0" is the class that masks write as 1."""
    try:
        table = {int(key): str(value) for key, value in json.loads(_text(path)).items()}
    except (ValueError, AttributeError) as error:
        raise UserError(f'{path}: must be a JSON object such as {{"0": "wall", …}} ({error})') from error
    if sorted(table) != list(range(len(table))):
        raise UserError(f"{path}: ids must be 0…{len(table) - 1} without gaps, but got {sorted(table)}")
    return [table[number] for number in range(len(table))]


def _masks(root: Path) -> dict[str, list[Path]]:
    """List the masks of each split there is, so that training and validation agree on the classes."""
    _, masks_name, folders = _layout(root)
    present = {
        split: root / masks_name / name for split, name in folders.items() if (root / masks_name / name).is_dir()
    }
    return {split: list(_by_stem(folder, MASK_SUFFIXES).values()) for split, folder in present.items()}
