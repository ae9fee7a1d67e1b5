"""Digests of data: equal of copies, with a cache or without, and other after any change that a training would see."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from coloured_data import write_coloured
from data_fixtures import ListSplit, write_tiny_imagenet
from PIL import Image

from boostformer.data import DataConfig, Pictures, open_split
from boostformer.data.folder import FolderSplit
from boostformer.errors import UserError


def content(root: Path, cache: Path | None = None, size: str = "32x48") -> str:
    return open_split(DataConfig(kind="ade20k", root=root, size=size), "training", cache).content()


def test_copies_are_equal_with_a_cache_and_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root, cache = write_coloured(tmp_path / "data", training=3, validation=1), tmp_path / "cache"
    copy = shutil.copytree(root, tmp_path / "copy", copy_function=shutil.copyfile)
    first = content(root)
    assert first == content(copy) == content(root, cache) == content(root, cache, size="64x96")
    monkeypatch.setattr(FolderSplit, "digest", None)  # files are not read again
    assert content(root, cache) == first


@pytest.mark.parametrize("cached", [False, True])
def test_any_change_shows(tmp_path: Path, cached: bool) -> None:
    root, cache = write_coloured(tmp_path / "data", training=3, validation=1), tmp_path / "cache" if cached else None
    images, masks = root / "images/training", root / "annotations/training"
    found = [content(root, cache)]
    for file in (images / "00.png", masks / "02.png"):
        values = np.array(Image.open(file))
        values[0, 0] += 1
        Image.fromarray(values).save(file)
        found.append(content(root, cache))
    for folder in (images, masks):  # the same pairs in another order
        (folder / "00.png").rename(folder / "09.png")
    found.append(content(root, cache))
    for folder in (images, masks):
        (folder / "01.png").unlink()
    found.append(content(root, cache))
    assert len(set(found)) == len(found) == 5


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    root = write_coloured(tmp_path / "data", training=2, validation=1)
    split = open_split(DataConfig(kind="ade20k", root=root), "training")
    (root / "images/training/01.png").unlink()
    with pytest.raises(UserError, match=r"training/01\.png: cannot be read: No such file"):
        split.content()


def test_scenes_are_their_seed_s() -> None:
    def of(split: str = "training", **counts: int) -> str:
        return open_split(DataConfig(scenes={"training": 3, "validation": 3} | counts), split).content()

    assert of() == of(validation=9)
    assert len({of(), of("validation"), of(seed=1), of(training=4)}) == 4


def test_pixels_decide_where_there_are_no_files() -> None:
    image, label = np.zeros((4, 6, 3), np.uint8), np.zeros((4, 6), np.uint8)

    def of(image: np.ndarray, label: np.ndarray) -> str:
        return ListSplit([image], [label], 2, (4, 6)).content()

    other = image.copy()
    other[3, 5, 2] = 1
    found = [of(image, label), of(other, label), of(image, label + 1), of(image.reshape(6, 4, 3), label)]
    assert len(set(found)) == 4 and of(image.copy(), label.copy()) == found[0]


def test_pictures_and_their_classes_decide(tmp_path: Path) -> None:
    root = write_tiny_imagenet(tmp_path / "one")
    first = Pictures(root, "training").content()
    assert Pictures(write_tiny_imagenet(tmp_path / "two"), "training").content() == first
    wnids = (root / "wnids.txt").read_text().split()
    (root / "wnids.txt").write_text("\n".join([wnids[1], wnids[0], wnids[2]]))
    assert Pictures(root, "training").content() != first
