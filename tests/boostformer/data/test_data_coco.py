"""COCO's files of objects: what lies above what, which values are classes, and mistakes."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from layout_writers_annotations import WRITERS, write_json
from PIL import Image

from boostformer.data.config import DataConfig
from boostformer.data.folder import FolderData
from tests.annotation_checks import COCO, change, copied, refused


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """One folder of each layout, only to be read."""
    base = tmp_path_factory.mktemp("layouts")
    return lambda name: base / name if (base / name).exists() else WRITERS[name](base / name)


def first(content: Any) -> Any:
    return content["annotations"][1]  # an outline; the one before has runs


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (lambda c: first(c).update(segmentation=[]), ["annotation 2", "box"]),
        (lambda c: first(c).update(segmentation=[[1e300] * 6]), ["annotation 2", "1e+300"]),
        (lambda c: first(c).update(segmentation=[[float("nan")] * 6]), ["annotation 2", "nan"]),
        (lambda c: first(c).update(segmentation=[[0, 1, 2, 3, 4, 5, 6]]), ["annotation 2", "pairs"]),
        (lambda c: first(c).update(segmentation=[["0", 1, 2, 3, 4, 5]]), ["annotation 2", "numbers"]),
        (lambda c: first(c).update(segmentation=5), ["annotation 2", "outlines"]),
        (lambda c: first(c).update(category_id=4), ["annotation 2", "category_id"]),
        (lambda c: first(c).update(image_id=[3]), ["annotation 2", "image_id"]),
        (lambda c: c["images"][0].update(file_name="../../x.png"), ["../../x.png", "leaves"]),
        (lambda c: c["images"][0].update(file_name="/etc/x.png"), ["/etc/x.png", "leaves"]),
        (lambda c: c["images"][0].update(file_name="x" * 5000), ["characters"]),
        (lambda c: c["images"][0].update(width=97), ["annotation 1", "size"]),
        (lambda c: c["images"][0].update(width="96"), ["image 0", "width"]),
        (lambda c: c["images"][1].update(id=100), ["image 1", "id"]),
        (lambda c: c["images"].pop() and c.update(annotations=c["annotations"][:-3]), ["11.png", "not in"]),
        (lambda c: c["categories"].append({"id": 3, "name": "again"}), ["category 3", "id"]),
        (lambda c: c["categories"][0].update(name="cyan"), ["cyan", "road"]),
        (lambda c: c.pop("categories"), ["categories"]),
        (lambda c: c["annotations"].append(7), ["annotation 36", "object"]),
    ],
)
def test_mistakes_in_cocos_file_are_named(
    edit: Callable[[Any], object], words: list[str], written: Callable[[str], Path], tmp_path: Path
) -> None:
    root = copied(written, "coco", tmp_path)
    change(root / COCO, edit)
    refused(root, *words)


@pytest.mark.parametrize(
    ("counts", "size"),
    [
        ([10**9, 10**9], [64, 96]),
        ([64 * 96 + 1], [64, 96]),
        ([5], [64, 96]),
        ([-5, 64 * 96 + 5], [64, 96]),
        ([10**30], [64, 96]),
        ([0.5], [64, 96]),
        (None, [64, 96]),
        ("", [64, 96]),
        ("5", [64, 96]),
        ("5PPP", [64, 96]),
        ("PPPPPPPPPPPPPPPPP0", [64, 96]),
        ("ü\0", [64, 96]),
        ([10**10], [10**5, 10**5]),
        ([96 * 64], [96, 64]),
        ([1], "1"),
    ],
)
def test_runs_that_do_not_fit_are_refused(
    counts: object, size: object, written: Callable[[str], Path], tmp_path: Path
) -> None:
    root = copied(written, "coco", tmp_path)
    change(root / COCO, lambda content: first(content).update(segmentation={"size": size, "counts": counts}))
    refused(root, "annotation 2")


def coco_mask(tmp_path: Path, annotations: list[dict[str, Any]], **settings: Any) -> tuple[list[str], np.ndarray, Any]:
    """Labels, the label map and the data of one image of 8x6 pixels with these annotations, and another image."""
    (tmp_path / "images").mkdir(parents=True)
    images = []
    for number in range(2):
        Image.fromarray(np.zeros((6, 8, 3), np.uint8)).save(tmp_path / "images" / f"{number}.png")
        images.append({"id": number, "file_name": f"{number}.png", "width": 8, "height": 6})
    other = {"image_id": 1, "category_id": 0, "segmentation": [[0, 0, 2, 0, 2, 2, 0, 2]]}
    content = {
        "images": images,
        "categories": [{"id": 0, "name": "low"}, {"id": 70_000, "name": "high"}],
        "annotations": [*({"image_id": 0, **one} for one in annotations), other],
    }
    write_json(tmp_path / "annotations.json", content)
    data = FolderData(DataConfig(root=tmp_path, **settings))
    split = data.split("training")
    return split.labels, split.label(0), data


def square(left: int, top: int, side: int) -> list[list[int]]:
    right, bottom = left + side, top + side
    return [[left, top, right, top, right, bottom, left, bottom]]


def test_small_objects_lie_on_large_ones_and_crowds_below_all(tmp_path: Path) -> None:
    labels, label, data = coco_mask(
        tmp_path,
        [
            {"category_id": 70_000, "segmentation": square(1, 1, 2)},
            {"category_id": 0, "segmentation": square(0, 0, 4)},
            {"category_id": 0, "segmentation": {"size": [6, 8], "counts": [0, 36, 12]}, "iscrowd": 1},
        ],
    )
    assert labels == ["background", "low", "high"]
    expected = np.zeros((6, 8), int)
    expected[:, :6], expected[:4, :4], expected[1:3, 1:3] = 255, 1, 2
    assert (label == expected).all()
    assert any("background" in line and "ignore" in line for line in data.remarks)


def test_the_background_can_be_ignored_or_called_otherwise(tmp_path: Path) -> None:
    outlines = [{"category_id": 70_000, "segmentation": square(1, 1, 2)}]
    crowd = {"category_id": 0, "segmentation": square(4, 0, 2), "iscrowd": 1}
    labels, label, _ = coco_mask(tmp_path / "ignored", [*outlines, crowd], ignore=(0,))
    assert labels == ["low", "high"]
    assert label[0, 0] == label[0, 4] == 255 and label[1, 1] == 1
    labels, label, data = coco_mask(tmp_path / "named", outlines, background="table")
    assert labels == ["table", "low", "high"] and label[0, 0] == 0
    assert not any("ignore: [0]" in line for line in data.remarks)


def test_a_single_file_of_coco_has_a_share_to_validate_on(written: Callable[[str], Path], tmp_path: Path) -> None:
    """As CVAT exports it."""
    shutil.copytree(written("coco") / "train2017", tmp_path / "images" / "default")
    (tmp_path / "annotations").mkdir()
    shutil.copy(written("coco") / COCO, tmp_path / "annotations" / "instances_default.json")
    data = FolderData(DataConfig(root=tmp_path, validation_share=0.25))
    assert [len(data.split(part)) for part in ("training", "validation")] == [9, 3]


def test_two_files_of_coco_for_one_part_are_refused(written: Callable[[str], Path], tmp_path: Path) -> None:
    root = copied(written, "coco", tmp_path)
    shutil.copy(root / COCO, root / "annotations" / "instances_train2014.json")
    refused(root, "instances_train2014.json", "instances_train2017.json", kind="coco")


def test_the_parent_that_roboflow_adds_is_no_class(written: Callable[[str], Path]) -> None:
    data = FolderData(DataConfig(root=written("coco: roboflow")))
    assert any("'colour'" in line for line in data.remarks)
