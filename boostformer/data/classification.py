"""Pictures with one class each, for pre-training encoders as classifiers.

Either a folder for each class, ``train/CLASS/*.jpg`` and ``val/CLASS/*.jpg``, or Tiny-ImageNet-200 as distributed:
``train/<wnid>/images/*.JPEG``, ``val/images/*.JPEG`` with ``val/val_annotations.txt``, the classes in ``wnids.txt`` and
their names in ``words.txt``.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from boostformer.data.cache import PackedArrays, packed
from boostformer.data.config import SplitName
from boostformer.data.content import combined, digest_of_files
from boostformer.data.images import IMAGE_SUFFIXES, Array, file_errors, read_image, stamp
from boostformer.errors import UserError, nearest
from boostformer.files import exists, is_folder

_WNIDS = "wnids.txt"


class Pictures:
    """One split: uint8 RGB images (h, w, 3) of any shapes, and the number of each one's class.

    Classes are in the order of ``wnids.txt`` where there is one (Tiny-ImageNet), else of their folders' names. With a
    cache folder every image is decoded once. Raises UserError naming the file or folder that is missing, damaged or
    malformed; with a cache all images are read at opening, without one when asked for.
    """

    def __init__(self, root: Path, split: SplitName, cache: Path | None = None) -> None:
        with file_errors(root):
            if not is_folder(root):
                raise UserError(f"{root}: no such folder of pictures")
            read = _tiny_imagenet if exists(root / _WNIDS) else _folders
            self.labels, items = read(root, split)
        if not items:
            raise UserError(f"{root}: the {split} split is empty")
        self._paths = [path for path, _ in items]
        self.targets: NDArray[np.int64] = np.array([target for _, target in items])
        self._images: PackedArrays | None = None
        if cache is not None:
            key = ["pictures", *map(stamp, self._paths)]
            decode = lambda index: (read_image(self._paths[index]),)  # noqa: E731
            self._images = packed(cache, key, ["images"], len(items), decode)["images"]

    def __len__(self) -> int:
        return len(self._paths)

    @property
    def num_classes(self) -> int:
        return len(self.labels)

    def image(self, index: int) -> Array:
        return read_image(self._paths[index]) if self._images is None else self._images[index]

    def content(self) -> str:
        """Digest of all images and their classes: equal of copies on other machines, other once anything changes."""
        return combined(lambda index: digest_of_files(self._paths[index]) + self.targets[index].tobytes(), len(self))

    def name(self, index: int) -> str:
        return self._paths[index].stem


def _folders(root: Path, split: SplitName) -> tuple[list[str], list[tuple[Path, int]]]:
    """Name the classes, and list the pictures of a split with their classes' numbers: a folder for each class."""
    labels = _names(root / "train")
    if len(labels) < 2:
        raise UserError(
            f"{root / 'train'}: has {len(labels)} folders of classes, but two are the least; allowed: "
            "train/CLASS/*.jpg and val/CLASS/*.jpg, or Tiny-ImageNet-200 as distributed"
        )
    part = root / ("train" if split == "training" else "val")
    if unknown := [name for name in _names(part) if name not in labels]:
        raise UserError(f"{part / unknown[0]}: no such class in train/; {nearest(unknown[0], labels)}")
    items = []
    for target, name in enumerate(labels):
        found = sorted(path for path in (part / name).glob("*") if path.suffix.lower() in IMAGE_SUFFIXES)
        if split == "training" and not found:
            raise UserError(f"{part / name}: holds no pictures ({', '.join(IMAGE_SUFFIXES)})")
        items += [(path, target) for path in found]
    return labels, items


def _names(part: Path) -> list[str]:
    if not part.is_dir():
        raise UserError(f"{part}: no such folder; allowed: train/CLASS/*.jpg and val/CLASS/*.jpg")
    return sorted(path.name for path in part.iterdir() if path.is_dir() and not path.name.startswith("."))


def _tiny_imagenet(root: Path, split: SplitName) -> tuple[list[str], list[tuple[Path, int]]]:
    wnids = [line.strip() for line in _lines(root / _WNIDS) if line.strip()]
    if not wnids or len(set(wnids)) != len(wnids):
        raise UserError(f"{root / _WNIDS}: must list at least one class, each once")
    words = dict(line.split("\t", 1) for line in _lines(root / "words.txt") if "\t" in line)
    labels = [words.get(wnid, wnid).split(",")[0].strip() for wnid in wnids]
    return labels, _training(root, wnids) if split == "training" else _validation(root, wnids)


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file, though {_WNIDS} says that this is Tiny-ImageNet-200") from error
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read as text ({error})") from error


def _training(root: Path, wnids: list[str]) -> list[tuple[Path, int]]:
    items = []
    for target, wnid in enumerate(wnids):
        folder = root / "train" / wnid / "images"
        if not folder.is_dir():
            raise UserError(f"{folder}: no such folder, though wnids.txt lists the class {wnid}")
        items += [(path, target) for path in sorted(folder.glob("*.JPEG"))]
    return items


def _validation(root: Path, wnids: list[str]) -> list[tuple[Path, int]]:
    table = root / "val" / "val_annotations.txt"
    numbers = {wnid: number for number, wnid in enumerate(wnids)}
    items = []
    for line_number, line in enumerate(_lines(table), start=1):
        fields = line.split("\t")
        if len(fields) < 2:
            raise UserError(f"{table}:{line_number}: must be 'file<tab>class…', but got {line!r}")
        path = root / "val" / "images" / fields[0]
        if fields[1] not in numbers:
            raise UserError(f"{table}:{line_number}: class {fields[1]!r} is not listed in wnids.txt")
        if not path.is_file():
            raise UserError(f"{path}: no such file, though {table.name}:{line_number} lists it")
        items.append((path, numbers[fields[1]]))
    return items
