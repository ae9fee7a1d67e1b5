"""Data sets in ADE20K's folder layout: as distributed, or as image/mask.

As distributed: ``images/{training,validation}/*.jpg``, ``annotations/{training,validation}/*.png``, names of
the classes in ``objectInfo150.txt`` or in ``classes.txt`` (one per line).
As image/mask: ``image/{train,val}``, ``mask/{train,val}``, names in ``id2label.json``.
In both, mask value 0 is "other" and ignored (255 here), and value k is class k - 1.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal

import numpy as np

from boostformer.data.config import Fit
from boostformer.data.content import digest_of_files
from boostformer.data.images import IMAGE_SUFFIXES, Array, file_errors, read_image, read_mask, stamp
from boostformer.data.split import IGNORED, SegmentationSplit
from boostformer.errors import UserError
from boostformer.names import class_names, numbered

SplitName = Literal["training", "validation"]
MASK_SUFFIXES = (".png",)
MOST_CLASSES = 254  # 255 stands for "ignored"

_LAYOUTS: tuple[tuple[str, str, dict[str, str]], ...] = (
    ("images", "annotations", {"training": "training", "validation": "validation"}),
    ("image", "mask", {"training": "train", "validation": "val"}),
)


class ADE20K(SegmentationSplit):
    """One split of a folder in either layout; ``masks`` is the folder of its masks.

    Opening lists the files and pairs them; a damaged file, a mask of another size than its image or a
    value outside the classes is found when it is read. Each raises UserError naming the file.
    """

    def __init__(self, root: Path, split: SplitName, size: tuple[int, int], fit: Fit = "exact") -> None:
        self.size, self.fit = size, fit
        with file_errors(root):
            if not root.is_dir():
                raise UserError(f"{root}: no such data folder")
            self._files = _pairs(root, split)
            self.masks = self._files[0][1].parent
            self.labels = _class_names(root)

    def __len__(self) -> int:
        return len(self._files)

    def name(self, index: int) -> str:
        return self._files[index][0].stem

    def image(self, index: int) -> Array:
        return read_image(self._files[index][0])

    def label(self, index: int) -> Array:
        path = self._files[index][1]
        mask = read_mask(path)
        highest = int(mask.max(initial=0))
        if highest > self.num_classes:
            raise UserError(
                f"{path}: label {highest} is outside the {self.num_classes} classes "
                f"(allowed: 0 = ignored, 1…{self.num_classes})"
            )
        return np.where(mask == 0, IGNORED, mask - 1).astype(np.uint8)

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
        yield f"ade20k {self.num_classes} classes"
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


def _class_names(root: Path) -> list[str]:
    """Read the first file of names there is; without one, count the classes that occur."""
    readers = {
        "classes.txt": _names_by_line,
        "objectInfo150.txt": _names_by_table,
        "id2label.json": _names_by_id,
    }
    for filename, reader in readers.items():
        if (root / filename).is_file():
            names = class_names(reader(root / filename), root / filename)
            break
    else:
        names = numbered(_highest_label(root))
    if not 1 <= len(names) <= MOST_CLASSES:
        raise UserError(f"{root}: has {len(names)} classes, but 1…{MOST_CLASSES} are possible")
    return names


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read as text ({error})") from error


def _names_by_line(path: Path) -> list[str]:
    return [line.strip() for line in _text(path).splitlines() if line.strip()]


def _names_by_table(path: Path) -> list[str]:
    """Read ``Idx  Ratio  Train  Val  Stuff  Name``, tab-separated, numbered from 1; of synonyms the first."""
    rows = [line.split("\t") for line in _text(path).splitlines()[1:] if line.strip()]
    if [row[0].strip() for row in rows] != [str(number) for number in range(1, len(rows) + 1)]:
        raise UserError(f"{path}: the first column must number the classes 1, 2, 3, …, separated by tabs")
    return [row[-1].split(",")[0].strip() for row in rows]


def _names_by_id(path: Path) -> list[str]:
    """Read ``{"0": "wall", …}``: ids after the shift, so "0" is the class that masks write as 1."""
    try:
        table = {int(key): str(value) for key, value in json.loads(_text(path)).items()}
    except (ValueError, AttributeError) as error:
        raise UserError(f'{path}: must be a JSON object such as {{"0": "wall", …}} ({error})') from error
    if sorted(table) != list(range(len(table))):
        raise UserError(f"{path}: ids must be 0…{len(table) - 1} without gaps, but got {sorted(table)}")
    return [table[number] for number in range(len(table))]


def _highest_label(root: Path) -> int:
    """Find the highest label of both splits, so that training and validation agree on the number of classes."""
    _, masks_name, folders = _layout(root)
    present = (root / masks_name / name for name in folders.values())
    paths = [path for folder in present if folder.is_dir() for path in _by_stem(folder, MASK_SUFFIXES).values()]
    with ThreadPoolExecutor() as pool:
        return max(pool.map(lambda path: int(read_mask(path).max(initial=0)), paths), default=0)
