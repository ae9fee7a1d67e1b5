"""Comparison of an exported file with its network where it counts: the classes of the pixels of images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from boostformer.data import SegmentationSplit
from boostformer.data.config import OVERLAP, Fit, SceneCounts
from boostformer.data.images import Array
from boostformer.data.scenes import Scenes
from boostformer.predict import Segmenter, predict_array
from boostformer.training.scores import confusion_matrix, scores

IMAGES = 24
"""Most images that are compared."""
PIXELS, LOSS = 0.99, 0.01
"""Least share of pixels of the same class, and largest loss of mIoU, of a file that may be written."""
MADE = "made scenes"
Pair = tuple[Array, Array | None]


@dataclass(frozen=True)
class Pictures:
    """Images to compare on.

    Attributes:
        name: where they come from.
        pairs: image (h, w, bands) and label (h, w), or None where there is none for this network's classes.
        ignored: the label of pixels that do not count.
    """

    name: str
    pairs: Sequence[Pair]
    ignored: int = 255


@dataclass(frozen=True)
class Agreement:
    """Agreement of a file with its network.

    Attributes:
        data: where the images come from.
        images: their number.
        pixels: share of the pixels that have the same class.
        miou: of the network on these images; None without labels.
        file_miou: of the file on them.
    """

    data: str
    images: int
    pixels: float
    miou: float | None
    file_miou: float | None

    def __str__(self) -> str:
        said = f"{self.pixels:.2%} of the pixels of {self.images} images ({self.data}) have the network's class"
        if self.miou is None or self.file_miou is None:
            return said
        return f"{said}; mIoU {self.file_miou:.2%}, the network's {self.miou:.2%}"

    @property
    def holds(self) -> bool:
        """Tell whether the file may stand for the network."""
        loses = self.miou is not None and self.file_miou is not None and self.miou - self.file_miou > LOSS
        return self.pixels >= PIXELS and not loses

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def pictures_of(split: SegmentationSplit, name: str, most: int = IMAGES) -> Pictures:
    """Choose at most ``most`` images, evenly over the split, which is ``name`` for people."""
    chosen = np.unique(np.linspace(0, len(split) - 1, min(most, len(split))).round().astype(int))
    return Pictures(name, _Lazy(split, chosen.tolist()), split.ignored)


def made_pictures(bands: int, size: tuple[int, int], count: int = 8) -> Pictures:
    """Make scenes of (H, W) for a network whose data nobody knows; of other than three bands they repeat theirs."""
    scenes = Scenes("validation", SceneCounts(), size)
    order = np.arange(bands) % 3
    return Pictures(MADE, [(np.ascontiguousarray(scenes.image(i)[..., order]), None) for i in range(count)])


class _Lazy(Sequence[Pair]):
    """Pairs of a split, read when they are asked for."""

    def __init__(self, split: SegmentationSplit, indices: list[int]) -> None:
        self._split, self._indices = split, indices

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, index: Any) -> Any:
        return self._split.pair(self._indices[index])

    def __iter__(self) -> Iterator[Pair]:
        return (self._split.pair(index) for index in self._indices)


def agreement(
    network: Segmenter,
    file: Segmenter,
    pictures: Pictures,
    size: tuple[int, int],
    fit: Fit = "exact",
    overlap: float = OVERLAP,
) -> Agreement:
    """Compare the classes that both give for the pixels of images, at the images' own size.

    Args:
        network: as it was trained.
        file: what was exported of it.
        pictures: the images.
        size: (H, W) at which both see them, or of windows.
        fit: "exact", or "tile" for windows.
        overlap: of windows.
    """
    classes = network.architecture.classes
    same = pixels = labelled = 0
    confusions = [torch.zeros(classes, classes, dtype=torch.int64) for _ in range(2)]
    for image, label in pictures.pairs:
        ours, theirs = (predict_array(each, image, size, fit, overlap) for each in (network, file))
        same, pixels = same + int((ours == theirs).sum()), pixels + ours.size
        if label is not None:
            labelled += 1
            known = torch.from_numpy(label.astype(np.int64))
            for total, predicted in zip(confusions, (ours, theirs), strict=True):
                total += confusion_matrix(torch.from_numpy(predicted.astype(np.int64)), known, classes)
    both = [scores(total, labelled).miou if total.any() else None for total in confusions]
    return Agreement(pictures.name, len(pictures.pairs), same / max(1, pixels), *both)
