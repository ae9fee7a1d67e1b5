"""Pictures to classify, in folders of classes or Tiny-ImageNet's: what is read, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from data_fixtures import write_tiny_imagenet
from PIL import Image

from boostformer import presets, recipes
from boostformer.data import Pictures
from boostformer.errors import UserError
from boostformer.model import Classifier
from boostformer.training import pretrain, top1


@pytest.mark.parametrize("split", ["training", "validation"])
@pytest.mark.parametrize("cached", [False, True])
def test_images_belong_to_their_classes(tmp_path: Path, split: str, cached: bool) -> None:
    cache = tmp_path / "cache" if cached else None
    images = Pictures(write_tiny_imagenet(tmp_path / "data"), split, cache)
    assert len(images) == 6 and images.num_classes == 3
    assert images.labels == ["newt", "goldfish", "n00000002"], "in the order of wnids.txt; the id without a name"
    for index, target in enumerate(images.targets):
        image = images.image(index)
        assert image.shape == (64, 64, 3) and image.dtype == np.uint8
        assert round(float(image.mean())) // 10 == target


def no_words(root: Path) -> None:
    (root / "words.txt").unlink()


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
        (no_words, "training", "words.txt: no such file, though wnids.txt says"),
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
        Pictures(root, split, tmp_path / "cache")


def write_folders(root: Path) -> Path:
    """Pictures of mixed sizes and kinds; each is of one grey level: 10 x class + number. The last has none to check."""
    for part, classes in (("train", ("ant", "bee", "moth")), ("val", ("ant", "bee"))):
        for number, name in enumerate(classes):
            (root / part / name).mkdir(parents=True)
            for image, suffix in enumerate((".jpg", ".PNG")):
                pixels = np.full((20 + 7 * number, 30 + image, 3), 10 * number + image, np.uint8)
                Image.fromarray(pixels).save(root / part / name / f"{image}{suffix}")
            (root / part / name / "notes.txt").touch()
    (root / "train" / ".cache").mkdir()
    return root


@pytest.mark.parametrize("cached", [False, True])
def test_folders_are_classes(tmp_path: Path, cached: bool) -> None:
    root, cache = write_folders(tmp_path / "data"), tmp_path / "cache" if cached else None
    for split, count in (("training", 6), ("validation", 4)):
        pictures = Pictures(root, split, cache)
        assert pictures.labels == ["ant", "bee", "moth"] and len(pictures) == count
        shapes = set()
        for index, target in enumerate(pictures.targets):
            image = pictures.image(index)
            assert round(float(image.mean())) // 10 == target
            shapes.add(image.shape)
        assert len(shapes) == count


def test_mixed_sizes_are_trained_and_scored(tmp_path: Path) -> None:
    root = write_folders(tmp_path / "data")
    torch.manual_seed(0)
    model = Classifier(presets.load("boostformer_b0", classes=3, size=(32, 32)))
    training, validation = (Pictures(root, split) for split in ("training", "validation"))
    report = pretrain(model, training, recipes.load("pretrain", iterations=2, batch_size=2), size=(32, 32))
    assert report.iterations == 2
    assert top1(model, validation, size=(32, 32)) in (0, 0.25, 0.5, 0.75, 1)


def one_class(root: Path) -> None:
    for name in ("bee", "moth"):
        (root / "train" / name).rename(root / name)


def misspelt(root: Path) -> None:
    (root / "val" / "bee").rename(root / "val" / "bees")


def no_pictures(root: Path) -> None:
    for path in (root / "train" / "moth").iterdir():
        path.rename(path.with_suffix(".txt"))


def nothing_to_check(root: Path) -> None:
    for name in ("ant", "bee"):
        (root / "val" / name).rename(root / name)


def no_validation(root: Path) -> None:
    (root / "val").rename(root / "test")


def no_root(root: Path) -> None:
    root.rename(root.parent / "gone")


def cut_off(root: Path) -> None:
    path = root / "train/bee/0.jpg"
    path.write_bytes(path.read_bytes()[:300])


@pytest.mark.parametrize(
    ("damage", "split", "says"),
    [
        (one_class, "training", "train: has 1 folders of classes"),
        (misspelt, "validation", "val/bees: no such class in train/; did you mean 'bee'"),
        (no_pictures, "training", "train/moth: holds no pictures"),
        (nothing_to_check, "validation", "the validation split is empty"),
        (no_validation, "validation", "val: no such folder; allowed: train/CLASS"),
        (no_root, "training", "data: no such folder of pictures"),
        (cut_off, "training", "bee/0.jpg: damaged or truncated"),
    ],
)
def test_folders_refused(tmp_path: Path, damage, split: str, says: str) -> None:
    root = write_folders(tmp_path / "data")
    damage(root)
    with pytest.raises(UserError, match=says):
        Pictures(root, split, tmp_path / "cache")
