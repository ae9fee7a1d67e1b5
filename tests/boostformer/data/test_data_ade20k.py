"""ADE20K's layouts: what is read from them, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from data_fixtures import DISTRIBUTED, IMAGE_MASK, write_dataset
from PIL import Image
from pydantic import ValidationError

from boostformer.data import DataConfig, open_split, read_image
from boostformer.errors import UserError


def config(root: Path, **changes) -> DataConfig:
    return DataConfig(**{"kind": "ade20k", "root": root, "size": "32x48", **changes})


@pytest.mark.parametrize("layout", [DISTRIBUTED, IMAGE_MASK])
def test_labels_are_shifted_and_zero_is_ignored(tmp_path: Path, layout) -> None:
    write_dataset(tmp_path, layout)
    split = open_split(config(tmp_path), "validation")
    raw = np.array(Image.open(tmp_path / layout[1] / layout[3] / "1.png"))
    label = split.label(1)
    assert (label[raw == 0] == 255).all() and (raw == 0).any()
    assert (label[raw > 0] == raw[raw > 0] - 1).all()
    assert len(split) == 3 and split.name(1) == "1" and split.num_classes == 4
    image, resized = split.resized(1)
    assert image.shape == (32, 48, 3) and resized.shape == (32, 48)
    assert set(np.unique(resized)) <= set(np.unique(label)), "labels are never averaged"


def test_short_side_keeps_proportions(tmp_path: Path) -> None:
    split = open_split(config(write_dataset(tmp_path), size="32x48", fit="short_side"), "training")
    assert [split.resized(i)[1].shape for i in range(3)] == [(32, 51), (32, 43), (32, 37)]


def test_class_names(tmp_path: Path) -> None:
    write_dataset(tmp_path)
    assert open_split(config(tmp_path), "training").labels == [f"class_{n}" for n in (1, 2, 3, 4)]
    (tmp_path / "id2label.json").write_text(json.dumps({"1": "b", "0": "a", "2": "c", "3": "d"}))
    assert open_split(config(tmp_path), "training").labels == ["a", "b", "c", "d"]
    table = "Idx\tRatio\tTrain\tVal\tName\n1\t.1\t5\t5\twall\n2\t.1\t5\t5\tbuilding, edifice\n"
    (tmp_path / "objectInfo150.txt").write_text(table + "3\t.1\t1\t1\tsky\n4\t.1\t1\t1\tfloor, flooring\n")
    assert open_split(config(tmp_path), "training").labels == ["wall", "building", "sky", "floor"]
    (tmp_path / "classes.txt").write_text("e\nf\n\ng\nh\n")
    assert open_split(config(tmp_path), "training").labels == ["e", "f", "g", "h"]


def test_classes_are_counted_over_both_splits(tmp_path: Path) -> None:
    write_dataset(tmp_path)
    Image.fromarray(np.full((40, 64), 7, np.uint8)).save(tmp_path / "annotations/validation/0.png")
    assert open_split(config(tmp_path), "training").num_classes == 7


def missing_root(root: Path) -> None:
    root.rename(root.with_name("elsewhere"))


def missing_folder(root: Path) -> None:
    (root / "annotations/training").rename(root / "annotations/elsewhere")


def no_layout(root: Path) -> None:
    (root / "images").rename(root / "pictures")


def missing_mask(root: Path) -> None:
    (root / "annotations/training/1.png").unlink()


def missing_image(root: Path) -> None:
    (root / "images/training/1.jpg").unlink()


def empty(root: Path) -> None:
    for path in root.glob("*/training/*"):
        path.unlink()


def truncated(path: str, kept: float):
    def damage(root: Path) -> None:
        content = (root / path).read_bytes()
        (root / path).write_bytes(content[: int(kept * len(content))])

    return damage


def nonsense(root: Path) -> None:
    (root / "images/training/1.jpg").write_text("no image at all")


def outside(root: Path) -> None:
    (root / "classes.txt").write_text("a\nb\nc\n")


def other_size(root: Path) -> None:
    Image.fromarray(np.ones((50, 60), np.uint8)).save(root / "annotations/training/1.png")


def coloured_mask(root: Path) -> None:
    Image.new("RGB", (64, 48), (1, 2, 3)).save(root / "annotations/training/1.png")


def bad_ids(root: Path) -> None:
    (root / "id2label.json").write_text('{"1": "a", "2": "b"}')


@pytest.mark.parametrize(
    ("damage", "names", "says"),
    [
        (missing_root, "", "no such data folder"),
        (missing_folder, "annotations/training", "no such folder"),
        (no_layout, "", "neither"),
        (missing_mask, "images/training/1.jpg", "no mask"),
        (missing_image, "annotations/training/1.png", "no image"),
        (empty, "images/training", "is empty: no .jpg"),
        (bad_ids, "id2label.json", "without gaps"),
    ],
)
def test_refused_at_opening(tmp_path: Path, damage, names: str, says: str) -> None:
    root = write_dataset(tmp_path / "data")
    damage(root)
    with pytest.raises(UserError, match=says) as caught:
        open_split(config(root), "training")
    assert str(root / names) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("damage", "names", "says"),
    [
        (truncated("images/training/1.jpg", 0.7), "images/training/1.jpg", "truncated"),
        (truncated("images/training/1.jpg", 0), "images/training/1.jpg", "damaged"),
        (truncated("annotations/training/1.png", 0.5), "annotations/training/1.png", "truncated"),
        (nonsense, "images/training/1.jpg", "damaged"),
        (outside, "annotations/training/0.png", r"label 4 is outside the 3 classes \(allowed: 1…3; ignored: 0, 255"),
        (other_size, "annotations/training/1.png", "the mask is 60x50, but its image .* is 64x48"),
        (coloured_mask, "annotations/training/1.png", "one channel"),
    ],
)
def test_refused_before_training(tmp_path: Path, damage, names: str, says: str) -> None:
    root = write_dataset(tmp_path / "data")
    (root / "classes.txt").write_text("a\nb\nc\nd\n")
    damage(root)
    with pytest.raises(UserError, match=says) as caught:
        open_split(config(root), "training", cache=tmp_path / "cache")
    assert str(root / names) in str(caught.value) and "\n" not in str(caught.value)
    assert not list((tmp_path / "cache").glob("*/images.*")), "nothing half-built stays"


@pytest.mark.parametrize("cached", [False, True])
@pytest.mark.parametrize("layout", [DISTRIBUTED, IMAGE_MASK])
def test_a_validation_part_without_labels_is_refused(tmp_path: Path, layout, cached: bool) -> None:
    root = write_dataset(tmp_path / "data", layout)
    (root / "classes.txt").write_text("a\nb\nc\nd\n")
    masks = sorted((root / layout[1] / layout[3]).iterdir())
    cache = tmp_path / "cache" if cached else None
    for path in masks[:-1]:
        Image.fromarray(np.zeros_like(np.array(Image.open(path)))).save(path)
    open_split(config(root), "validation", cache)  # the last one has labels
    Image.fromarray(np.zeros_like(np.array(Image.open(masks[-1])))).save(masks[-1])
    for _ in range(2):  # a filled cache refuses too
        with pytest.raises(UserError, match="every pixel is ignored") as caught:
            open_split(config(root), "validation", cache)
        assert str(caught.value).startswith(f"{masks[0].parent}: ")


def test_reading_a_missing_image(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nowhere.png: no such file"):
        read_image(tmp_path / "nowhere.png")


def test_grey_and_opaque_images_become_rgb(tmp_path: Path) -> None:
    for mode, value in (("L", 7), ("RGBA", (7, 7, 7, 255)), ("P", 7)):
        Image.new(mode, (40, 30), value).save(tmp_path / f"{mode}.png")
        assert read_image(tmp_path / f"{mode}.png").shape == (30, 40, 3)


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"kind": "ade20k"}, "needs 'root'"),
        ({"kind": "scenes", "root": "x"}, "has no 'root'"),
        ({"size": "128"}, "HEIGHTxWIDTH"),
        ({"size": "16x128"}, "at least 32"),
        ({"sise": "64x64"}, "Extra inputs"),
        ({"scenes": {"training": 0}}, "greater than or equal to 1"),
    ],
)
def test_configuration_is_checked(values: dict, says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        DataConfig(**values)


def test_sizes_are_height_by_width() -> None:
    assert DataConfig(size="128x192").size == DataConfig(size=[128, 192]).size == (128, 192)


def test_camvid(shared: Path) -> None:
    data = config(shared / "camvid", size="128x192")
    training, validation = open_split(data, "training"), open_split(data, "validation")
    assert (len(training), len(validation), training.num_classes) == (367, 101, 11)
    assert training.labels[:2] == ["sky", "building"]
    assert training.image(0).shape == (360, 480, 3) and training.label(0).shape == (360, 480)
    assert training.label(0)[0, 200] in range(11) and set(np.unique(training.label(0))) <= {*range(11), 255}
