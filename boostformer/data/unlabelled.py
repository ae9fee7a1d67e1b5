"""Images without masks: a split in which every pixel is ignored."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from boostformer.data.cache import CachedSplit
from boostformer.data.config import DataConfig
from boostformer.data.content import digest_of_files
from boostformer.data.images import IMAGE_SUFFIXES, Array, file_errors, image_size, read_image, stamp
from boostformer.data.labels import ignored_label, label_dtype
from boostformer.data.split import SegmentationSplit
from boostformer.errors import UserError
from boostformer.files import files_below, is_folder


def images_in(folder: Path) -> dict[str, Path]:
    """Find all images below ``folder``, by their paths from there without endings.

    UserError when there are none, or two of one name.
    """
    with file_errors(folder):
        if not is_folder(folder):
            raise UserError(f"{folder}: no such folder of images without masks")
        paths = sorted(
            path
            for inner, names in files_below(folder)
            for path in (Path(inner, name) for name in names)
            if path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")
        )
    if not paths:
        raise UserError(f"{folder}: holds no images; read are {', '.join(IMAGE_SUFFIXES)}")
    found: dict[str, Path] = {}
    for path in paths:
        name = path.relative_to(folder).with_suffix("").as_posix()
        if name in found:
            raise UserError(f"{path} and {found[name]} have one name; rename one of them")
        found[name] = path
    return found


class Unlabelled(SegmentationSplit):
    """All images below a folder, called by their paths without endings; UserError when there are none."""

    def __init__(self, folder: Path, labels: list[str], config: DataConfig) -> None:
        self.labels, self.size, self.fit = labels, config.size, config.fit
        found = images_in(folder)
        self._names, self._paths = list(found), list(found.values())

    def __len__(self) -> int:
        return len(self._paths)

    def name(self, index: int) -> str:
        return self._names[index]

    def image(self, index: int) -> Array:
        return read_image(self._paths[index])

    def label(self, index: int) -> Array:
        count = self.num_classes
        return np.full(image_size(self._paths[index]), ignored_label(count), label_dtype(count))

    def digest(self, index: int) -> bytes:
        return digest_of_files(self._paths[index])

    def fingerprint(self) -> Iterable[str]:
        yield f"without masks, {self.num_classes} classes"
        yield from map(stamp, self._paths)


def open_unlabelled(
    folder: Path, labels: list[str], config: DataConfig, cache: Path | None = None
) -> SegmentationSplit:
    """Open the images in ``folder`` to train on beside data with ``labels``, at the network scale of ``config``.

    With a ``cache`` they are decoded and checked once, here and now. UserError names what is missing or damaged.
    """
    split = Unlabelled(folder, labels, config)
    return CachedSplit(split, cache, keep_labels=False) if cache else split
