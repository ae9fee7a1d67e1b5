"""Tiny-ImageNet-200 as distributed, for pre-training encoders as classifiers.

``train/<wnid>/images/*.JPEG``, ``val/images/*.JPEG`` with ``val/val_annotations.txt``, the classes in
``wnids.txt`` and their names in ``words.txt``.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from boostformer.data.cache import PackedArrays, packed
from boostformer.data.config import SplitName
from boostformer.data.content import combined, digest_of_files
from boostformer.data.images import Array, read_image, stamp
from boostformer.errors import UserError


class TinyImageNet:
    """One split: uint8 RGB images (64, 64, 3) and class numbers in the order of ``wnids.txt``.

    With a cache folder every image is decoded once. Raises UserError naming the file that is missing,
    damaged or malformed; with a cache all images are read at opening, without one when asked for.
    """

    def __init__(self, root: Path, split: SplitName, cache: Path | None = None) -> None:
        wnids = [line.strip() for line in _lines(root / "wnids.txt") if line.strip()]
        if not wnids or len(set(wnids)) != len(wnids):
            raise UserError(f"{root / 'wnids.txt'}: must list at least one class, each once")
        words = dict(line.split("\t", 1) for line in _lines(root / "words.txt") if "\t" in line)
        self.labels = [words.get(wnid, wnid).split(",")[0].strip() for wnid in wnids]
        items = _training(root, wnids) if split == "training" else _validation(root, wnids)
        if not items:
            raise UserError(f"{root}: the {split} split is empty")
        self._paths = [path for path, _ in items]
        self.targets: NDArray[np.int64] = np.array([target for _, target in items])
        self._images: PackedArrays | None = None
        if cache is not None:
            key = ["tiny_imagenet", *map(stamp, self._paths)]
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


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file; is this Tiny-ImageNet-200 as distributed?") from error
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
