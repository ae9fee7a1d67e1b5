"""Small made data sets on disk, and a tiny network, for the tests of data and training."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from boostformer.data import SegmentationSplit

DISTRIBUTED = ("images", "annotations", "training", "validation")
IMAGE_MASK = ("image", "mask", "train", "val")


def write_dataset(
    root: Path, layout: tuple[str, str, str, str] = DISTRIBUTED, images: int = 3, classes: int = 4
) -> Path:
    """Random images of different sizes with masks 0…classes, in both splits, without a names file."""
    rng = np.random.default_rng(0)
    for split in layout[2:]:
        for kind in layout[:2]:
            (root / kind / split).mkdir(parents=True)
        for number in range(images):
            height, width = 40 + 8 * number, 64
            pixels = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
            mask = rng.integers(0, classes + 1, (height, width), dtype=np.uint8)
            mask[0, : classes + 1] = np.arange(classes + 1)
            Image.fromarray(pixels).save(root / layout[0] / split / f"{number}.jpg")
            Image.fromarray(mask).save(root / layout[1] / split / f"{number}.png")
    return root


def write_tiny_imagenet(root: Path, classes: int = 3, images: int = 2) -> Path:
    """Tiny-ImageNet's folders; every image is of one grey level: 10 x class + number."""
    wnids = [f"n{number:08d}" for number in (3, 1, 2)[:classes]]
    (root / "val" / "images").mkdir(parents=True)
    lines = []
    for number, wnid in enumerate(wnids):
        folder = root / "train" / wnid / "images"
        folder.mkdir(parents=True)
        for image in range(images):
            pixels = np.full((64, 64, 3), 10 * number + image, np.uint8)
            Image.fromarray(pixels).save(folder / f"{wnid}_{image}.JPEG", quality=100)
            Image.fromarray(pixels).save(root / "val" / "images" / f"val_{number}_{image}.JPEG", quality=100)
            lines.append(f"val_{number}_{image}.JPEG\t{wnid}\t0\t0\t62\t62\n")
    (root / "val" / "val_annotations.txt").write_text("".join(lines))
    (root / "wnids.txt").write_text("\n".join(wnids) + "\n")
    (root / "words.txt").write_text("n00000001\tgoldfish, carp\nn00000003\tnewt\nn00000009\tunused\n")
    return root


class ListSplit(SegmentationSplit):
    """A split of the given images (h, w, 3) and labels (h, w)."""

    fit = "exact"

    def __init__(self, images: Iterable[np.ndarray], labels: Iterable[np.ndarray], classes: int, size) -> None:
        self._images, self._labels = list(images), list(labels)
        self.labels, self.size = [f"class_{number}" for number in range(classes)], size

    def __len__(self) -> int:
        return len(self._images)

    def image(self, index: int) -> np.ndarray:
        return self._images[index]

    def label(self, index: int) -> np.ndarray:
        return self._labels[index]

    def name(self, index: int) -> str:
        return str(index)

    def fingerprint(self) -> Iterable[str]:
        return ()


class TinyNet(nn.Module):
    """Logits at a quarter of the size, from an ``encoder`` with dropout and a ``decoder``."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Conv2d(3, 8, 4, stride=4, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(0.2)
        )
        self.decoder = nn.Conv2d(8, classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.decoder(self.encoder(x))


def tiny_net(classes: int, seed: int = 0) -> TinyNet:
    torch.manual_seed(seed)
    return TinyNet(classes)
