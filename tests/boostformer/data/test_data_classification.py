"""Tiny-ImageNet's layout: what is read from it, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from data_fixtures import write_tiny_imagenet

from boostformer.data import TinyImageNet
from boostformer.errors import UserError


@pytest.mark.parametrize("split", ["training", "validation"])
@pytest.mark.parametrize("cached", [False, True])
def test_images_belong_to_their_classes(tmp_path: Path, split: str, cached: bool) -> None:
    cache = tmp_path / "cache" if cached else None
    images = TinyImageNet(write_tiny_imagenet(tmp_path / "data"), split, cache)
    assert len(images) == 6 and images.num_classes == 3
    assert images.labels == ["newt", "goldfish", "n00000002"], "in the order of wnids.txt; the id without a name"
    for index, target in enumerate(images.targets):
        image = images.image(index)
        assert image.shape == (64, 64, 3) and image.dtype == np.uint8
        assert round(float(image.mean())) // 10 == target


def no_table(root: Path) -> None:
    (root / "wnids.txt").unlink()


def unknown_class(root: Path) -> None:
    path = root / "val/val_annotations.txt"
    path.write_text(path.read_text().replace("n00000001", "n99999999", 1))


def missing_image(root: Path) -> None:
    (root / "val/images/val_1_0.JPEG").unlink()


def missing_folder(root: Path) -> None:
    (root / "train/n00000001").rename(root / "gone")


def truncated(root: Path) -> None:
    for folder in ("train/n00000001/images/n00000001_1.JPEG", "val/images/val_0_1.JPEG"):
        (root / folder).write_bytes((root / folder).read_bytes()[:200])


def malformed(root: Path) -> None:
    (root / "val/val_annotations.txt").write_text("val_0_0.JPEG n00000003\n")


@pytest.mark.parametrize(
    ("damage", "split", "says"),
    [
        (no_table, "training", "wnids.txt: no such file"),
        (unknown_class, "validation", r"val_annotations.txt:3: class 'n99999999' is not listed"),
        (missing_image, "validation", "val_1_0.JPEG: no such file"),
        (missing_folder, "training", "n00000001/images: no such folder"),
        (truncated, "training", "n00000001_1.JPEG: damaged or truncated"),
        (truncated, "validation", "val_0_1.JPEG: damaged or truncated"),
        (malformed, "validation", "val_annotations.txt:1: must be"),
    ],
)
def test_refused(tmp_path: Path, damage, split: str, says: str) -> None:
    root = write_tiny_imagenet(tmp_path / "data")
    damage(root)
    with pytest.raises(UserError, match=says):
        TinyImageNet(root, split, tmp_path / "cache")
