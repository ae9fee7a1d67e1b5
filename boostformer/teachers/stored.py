"""A teacher's logits that were computed before: a folder with one file per image."""

from __future__ import annotations

import hashlib
import zipfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file
from torch import Tensor

from boostformer.data.content import digest_of_files
from boostformer.data.formats.names import read_class_names
from boostformer.data.places import inside, places_of
from boostformer.errors import UserError
from boostformer.files import is_file
from boostformer.teachers.teacher import Identity, Teacher
from boostformer.weights.licence import licence_of

SUFFIXES = (".npy", ".npz", ".safetensors")


class StoredTeacher(Teacher):
    """Logits in ``folder/NAME.npy``, ``.npz`` or ``.safetensors``: one float array (classes, h, w) for each image.

    They cover the whole image, at any h and w. ``classes.txt`` beside them names their classes, if there is one.
    """

    def __init__(self, folder: Path, source: str, images: Sequence[str]) -> None:
        if twice := next((name for name, count in Counter(images).items() if count > 1), None):
            raise UserError(
                f"{source}: two images are called '{twice}', so their logits cannot be told apart; rename one"
            )
        self._files = {name: found for name in images if (found := _file(folder, name)) is not None}
        if missing := [name for name in images if name not in self._files]:
            raise UserError(
                f"{source}: has no logits of {len(missing)} of {len(images)} images, such as '{missing[0]}'; needed: "
                f"one of {', '.join(missing[0] + suffix for suffix in SUFFIXES)}"
            )
        notes: list[str] = []
        names, _ = read_class_names(folder, notes)
        self.labels, self.remarks = names or [], tuple(notes)
        digest = hashlib.sha256()
        counts = set()
        for name, file in self._files.items():
            counts.add(self.logits(name).shape[0])
            if len(counts) > 1:
                raise UserError(f"{file}: tells {sorted(counts)[-1]} classes apart, others {sorted(counts)[0]}")
            digest.update(name.encode() + digest_of_files(file))
        self.classes = counts.pop()
        if self.labels and len(self.labels) != self.classes:
            raise UserError(f"{source}: classes.txt names {len(self.labels)} classes, the logits have {self.classes}")
        self.identity = Identity(source, digest.hexdigest(), licence_of(folder), None)

    @staticmethod
    def is_in(folder: Path) -> bool:
        """Tell whether ``folder`` holds stored logits, not a network."""
        files = (path for suffix in SUFFIXES for path in folder.rglob(f"*{suffix}"))
        return not is_file(folder / "config.json") and next(files, None) is not None

    def logits(self, name: str) -> NDArray[np.floating]:
        """Read the logits (classes, h, w) of an image; UserError when the file holds none."""
        file = self._files[name]
        try:
            array = _read(file)
        except (OSError, ValueError, SafetensorError, zipfile.BadZipFile, EOFError) as error:
            raise UserError(f"{file}: damaged, or not logits ({' '.join(str(error).split())[:120]})") from None
        if array.ndim != 3 or array.dtype not in (np.float16, np.float32) or 0 in array.shape or len(array) < 2:
            raise UserError(
                f"{file}: holds {array.dtype} {array.shape}; needed: float16 or float32 (classes, h, w), classes > 1"
            )
        return array

    def seen(self, name: str, places: NDArray[np.int32], whole: tuple[int, int], shape: tuple[int, int]) -> Tensor:
        """Give the logits, float32 (classes, *shape), of a varied image.

        Args:
            name: of the image.
            places: where each pixel (H, W) of the varied image comes from (:mod:`boostformer.data.places`).
            whole: (h, w) of the image that was varied.
            shape: (h, w) wanted; each cell is read at the mean of its pixels' places.
        """
        counted = inside(places, whole)
        rows, columns = places_of(places, whole)
        # grid_sample's -1…1 is from edge to edge; pixels have their centres at halves.
        grid = np.stack([(2 * columns + 1) / whole[1] - 1, (2 * rows + 1) / whole[0] - 1, np.ones_like(rows)])
        sums = F.interpolate(torch.tensor(grid * counted)[None], shape, mode="area")[0]
        points = (sums[:2] / sums[2].clamp(min=1e-6)).permute(1, 2, 0)[None]
        logits = torch.tensor(self.logits(name).astype(np.float32))[None]
        points = points.to(torch.float32)
        return F.grid_sample(logits, points, mode="bilinear", padding_mode="border", align_corners=False)[0]


def _file(folder: Path, name: str) -> Path | None:
    return next((file for suffix in SUFFIXES if (file := folder / f"{name}{suffix}").is_file()), None)


def _read(file: Path) -> NDArray[Any]:
    if file.suffix == ".npy":
        return np.asarray(np.load(file, mmap_mode="r", allow_pickle=False))
    if file.suffix == ".npz":
        with np.load(file, allow_pickle=False) as found:
            arrays = {name: found[name] for name in found.files}
    else:
        arrays = load_file(file)
    if len(arrays) != 1:
        raise ValueError(f"{len(arrays)} arrays, one is needed")
    return next(iter(arrays.values()))
