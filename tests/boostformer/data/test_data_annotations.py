"""Layouts whose masks come from annotation files: recognised, equal to their twin of masks, careful of mistakes."""

from __future__ import annotations

import base64
import io
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from layout_writers import kind_of
from layout_writers_annotations import WRITERS
from PIL import Image

from boostformer.data.config import DataConfig
from boostformer.data.folder import FolderData
from tests.annotation_checks import COCO, change, copied, edited, refused


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """One folder of each layout, only to be read."""
    base = tmp_path_factory.mktemp("layouts")
    return lambda name: base / name if (base / name).exists() else WRITERS[name](base / name)


def test_the_content_follows_the_annotations(written: Callable[[str], Path], tmp_path: Path) -> None:
    before = FolderData(DataConfig(root=written("labelme"))).split("validation").content()
    root = copied(written, "labelme", tmp_path)
    change(root / "val" / "00.json", lambda content: content["shapes"][0]["points"][0].__setitem__(0, 0))
    assert FolderData(DataConfig(root=root)).split("validation").content() != before


@pytest.mark.parametrize(
    ("name", "file", "old", "new", "words"),
    [
        ("yolo", "labels/train/03.txt", "", "1 0.5 0.5 0.2 0.2\n", ["03.txt:1", "box"]),
        ("yolo", "labels/train/03.txt", "", "3 0 0 1 0 1 1\n", ["03.txt:1", "class 3", "0…2"]),
        ("yolo", "labels/train/03.txt", "", "nan 0 0 1 0 1 1\n", ["03.txt:1", "class nan"]),
        ("yolo", "labels/train/03.txt", "", "0 0 0 64 0 1 1\n", ["03.txt:1", "64"]),
        ("yolo", "labels/train/03.txt", "", "0 0 0 nan 0 1 1\n", ["03.txt:1", "nan"]),
        ("yolo", "labels/train/03.txt", "", "0 0 0 1 x 1 1\n", ["03.txt:1"]),
        ("yolo", "labels/train/03.txt", "", "0 0 0 1 0 1 1 1\n", ["03.txt:1", "pairs"]),
        ("yolo", "labels/train/03.txt", "", "0 0 0\n", ["03.txt:1", "3 points"]),
        ("yolo", "data.yaml", "images/train", "images/../../else", ["data.yaml", "leaves"]),
        ("yolo", "data.yaml", "images/train", "/images/train", ["data.yaml", "leaves"]),
        ("yolo", "data.yaml", "images/train", "images/trains", ["data.yaml", "images/trains"]),
        ("yolo", "data.yaml", "images/train", "labels/train", ["data.yaml", "no images"]),
        ("yolo", "data.yaml", "images/train", "5", ["data.yaml", "train"]),
        ("yolo", "data.yaml", "names:", "nc: 4\nnames:", ["data.yaml", "nc"]),
        ("yolo", "data.yaml", "  1: fence", "  4: fence", ["data.yaml", "names"]),
        ("yolo", "data.yaml", "path:", "path: [", ["data.yaml"]),
        ("cvat", "annotations.xml", "<annotations>", '<!DOCTYPE a [<!ENTITY b "c">]><annotations>', ["DOCTYPE"]),
        ("cvat", "annotations.xml", "</annotations>", "", ["annotations.xml", "no XML"]),
        ("cvat", "annotations.xml", 'points="', 'points="1e400,0;', ["inf", "polygon"]),
        ("cvat", "annotations.xml", 'points="', 'points="0;', ["polygon", "[x, y]"]),
        ("cvat", "annotations.xml", 'points="', 'points="a,b;', ["polygon", "a,b"]),
        ("cvat", "annotations.xml", 'rle="0, ', 'rle="7, ', ["mask", "add up"]),
        ("cvat", "annotations.xml", 'rle="0, ', 'rle="99999999999, ', ["mask", "rle"]),
        ("cvat", "annotations.xml", 'left="', 'left="9', ["mask", "leave"]),
        ("cvat", "annotations.xml", 'label="road"', 'label="pink"', ["pink", "labels"]),
        ("cvat", "annotations.xml", 'name="00.png"', 'name="../00.png"', ["../00.png", "leaves"]),
        ("cvat", "annotations.xml", 'name="00.png"', 'name="77.png"', ["77.png", "none of"]),
        ("cvat", "annotations.xml", 'subset="Train"', 'subset="Odd"', ["Odd", "Validation"]),
        ("cvat", "annotations.xml", 'width="96"', 'width="x"', ["width", "'x'"]),
        ("cvat", "annotations.xml", 'width="96"', 'width="98"', ["98x64", "96x64"]),
        ("cvat", "annotations.xml", '<image id="1"', '<track id="1"></track><image id="1"', ["video"]),
        ("cvat", "annotations.xml", "<mask", "<blob/><mask", ["blob"]),
        ("labelme", "train/02.json", '"02.png"', '"../02.png"', ["02.json", "leaves"]),
        ("labelme", "train/02.json", '"02.png"', '"88.png"', ["02.json", "88.png"]),
        ("labelme", "train/02.json", '"polygon"', '"cloud"', ["02.json", "cloud"]),
        ("labelme", "train/02.json", '"polygon"', '"circle"', ["02.json", "2 points"]),
        ("labelme", "train/02.json", '"points": [[', '"points": [[1], [', ["02.json", "[x, y]"]),
        ("labelme", "train/02.json", '"points": [[', '"points": [[NaN, 1], [', ["02.json", "nan"]),
        ("labelme", "train/02.json", '"label": ', '"label": 1, "was": ', ["02.json", "label"]),
        ("labelme", "train/02.json", '"imageWidth": 96', '"imageWidth": 99', ["99x64", "96x64"]),
        ("labelme", "train/02.json", "{", "[" * 100_000, ["02.json", "JSON"]),
        ("supervisely", "train/ann/02.png.json", '"road"', '"pink"', ["02.png.json", "pink"]),
        ("supervisely", "train/ann/02.png.json", '"data": "', '"data": "!', ["02.png", "damaged"]),
        ("supervisely", "train/ann/02.png.json", '"origin": [', '"origin": [1e9, ', ["02.png.json", "[x, y]"]),
        ("supervisely", "train/ann/02.png.json", '"exterior": [', '"exterior": [5, ', ["02.png.json", "[x, y]"]),
        ("supervisely", "train/ann/02.png.json", '"interior": []', '"interior": 5', ["02.png.json", "interior"]),
        ("supervisely", "train/ann/02.png.json", '"width": 96', '"width": 0', ["02.png.json", "0x64"]),
        ("supervisely", "meta.json", '"fence"', '"road"', ["meta.json", "titles"]),
        ("supervisely", "meta.json", '{"title"', '5, {"title"', ["meta.json", "class 0"]),
        ("coco_stuff", "labels.txt", "1: background", "1 background", ["labels.txt:2"]),
        ("coco_panoptic", "annotations/panoptic_train2017.json", '"00.png", "segm', '"../00.png", "segm', ["leaves"]),
        ("coco_panoptic", "annotations/panoptic_train2017.json", '"id": 70300', '"id": 70301', ["00.png", "70300"]),
        ("coco_panoptic", "annotations/panoptic_train2017.json", '"category_id": 1}', '"category_id": 2}', ["70300"]),
    ],
)
def test_mistakes_in_annotations_are_named(
    name: str, file: str, old: str, new: str, words: list[str], written: Callable[[str], Path], tmp_path: Path
) -> None:
    root = copied(written, name, tmp_path)
    edited(root / file, old, new)
    refused(root, *words, kind=kind_of(name))


@pytest.mark.parametrize(
    ("name", "folder"),
    [("coco", "train2017"), ("coco_panoptic", "train2017"), ("coco_stuff", "train2017"), ("coco: roboflow", "train")]
    + [("cvat", "images/Train"), ("labelme", "train"), ("supervisely", "train/img")],
)
def test_an_image_that_nobody_annotated_or_that_is_missing_is_named(
    name: str, folder: str, written: Callable[[str], Path], tmp_path: Path
) -> None:
    root = copied(written, name, tmp_path)
    shutil.copy(root / folder / "00.png", root / folder / "extra.png")
    refused(root, "extra.png")
    (root / folder / "extra.png").unlink()
    (root / folder / "05.png").unlink()
    refused(root, "05", kind=kind_of(name))


@pytest.mark.parametrize("name", ["coco", "yolo", "cvat", "labelme", "supervisely"])
def test_an_image_without_shapes_is_all_background(name: str, written: Callable[[str], Path], tmp_path: Path) -> None:
    root = copied(written, name, tmp_path)
    if name == "coco":
        change(root / COCO, lambda c: c.update(annotations=[one for one in c["annotations"] if one["image_id"] > 100]))
    elif name == "yolo":
        (root / "labels/train/00.txt").unlink()
    elif name == "cvat":
        text = (root / "annotations.xml").read_text()
        head, _, rest = text.partition("<mask")
        (root / "annotations.xml").write_text(head + rest[rest.index("</image>") :])
    elif name == "labelme":
        change(root / "train/00.json", lambda c: c.update(shapes=[]))
    else:
        change(root / "train/ann/00.png.json", lambda c: c.update(objects=[]))
    data = FolderData(DataConfig(root=root))
    split = data.split("training")
    assert [bool(split.label(index).any()) for index in range(3)] == [False, True, True]
    assert any(line.startswith(f"{root}: images without ") and line.endswith(": 1") for line in data.remarks)


def test_pixels_without_a_segment_are_ignored(written: Callable[[str], Path], tmp_path: Path) -> None:
    root = copied(written, "coco_panoptic", tmp_path)
    path = root / "annotations" / "panoptic_train2017" / "00.png"
    pixels = np.array(Image.open(path))
    pixels[:5] = 0
    Image.fromarray(pixels).save(path)
    label = FolderData(DataConfig(root=root)).split("training").label(0)
    assert (label[:2] == 255).all() and (label[5:] < 255).all()


def test_a_list_of_images_names_a_part_of_yolo(written: Callable[[str], Path], tmp_path: Path) -> None:
    root = copied(written, "yolo", tmp_path)
    (root / "train.txt").write_text("./images/train/01.png\nimages/train/00.png\n\n")
    edited(root / "data.yaml", "train: images/train", "train: train.txt")
    split = FolderData(DataConfig(root=root)).split("training")
    assert [split.name(index) for index in range(len(split))] == ["images/train/00", "images/train/01"]


def test_yolos_test_part_may_be_missing_but_no_other(written: Callable[[str], Path], tmp_path: Path) -> None:
    root = copied(written, "yolo: roboflow", tmp_path)
    edited(root / "data.yaml", "test:\n", "test: ../test/images\n")
    data = FolderData(DataConfig(root=root))
    assert set(data.layout.splits) == {"training", "validation"}
    assert any("test/images" in line for line in data.remarks)
    (root / "valid").rename(root / "elsewhere")
    refused(root, "val: ../valid/images")
    (root / "train.txt").write_text("train/images/00.png\ntrain/images/99.png\n")
    edited(root / "data.yaml", "../train/images", "train.txt")
    refused(root, "train.txt", "99.png")


def test_shapes_that_are_no_masks_are_counted(written: Callable[[str], Path], tmp_path: Path) -> None:
    root = copied(written, "cvat", tmp_path)
    edited(root / "annotations.xml", "<polygon", '<box label="road" xtl="1" ytl="1" xbr="9" ybr="9"></box><polygon')
    assert any("<box>" in line and line.endswith(": 1") for line in FolderData(DataConfig(root=root)).remarks)


def test_higher_shapes_of_cvat_lie_above(written: Callable[[str], Path], tmp_path: Path) -> None:
    root = copied(written, "cvat", tmp_path)
    whole = '<polygon label="car" points="0,0;96,0;96,64;0,64" z_order="{}"></polygon><mask'
    edited(root / "annotations.xml", "<mask", whole.format(-1))
    data = FolderData(DataConfig(root=root)).split("training")
    assert len(np.unique(data.label(0))) == 3  # no background is left
    edited(root / "annotations.xml", 'z_order="-1"', 'z_order="1"')
    data = FolderData(DataConfig(root=root)).split("training")
    assert np.unique(data.label(0)).tolist() == [data.labels.index("car")]


def test_labelmes_circles_masks_and_names_of_its_own(written: Callable[[str], Path], tmp_path: Path) -> None:
    def shape(label: str, kind: str | None, *points: list[float], **more: str) -> dict[str, object]:
        return {"label": label, "shape_type": kind, "points": points, **more}

    stream = io.BytesIO()
    Image.fromarray(np.array([[True, False, True]])).save(stream, "PNG")
    shapes = [
        shape("road", "circle", [48, 32], [48, 12]),
        shape("_background_", None, [40, 0], [48, 0], [48, 64], [40, 64]),
        shape("__ignore__", "rectangle", [60, 40], [50, 30]),
        shape("car", "mask", [1, 1], [3, 1], mask=base64.b64encode(stream.getvalue()).decode()),
        shape("tip", "point", [3, 3]),
    ]
    root = copied(written, "labelme", tmp_path)
    change(root / "train" / "00.json", lambda content: content.update(shapes=shapes))
    data = FolderData(DataConfig(root=root))
    split = data.split("training")
    label = split.label(0)
    y, x = np.mgrid[: label.shape[0], : label.shape[1]] + 0.5
    expected = np.where(np.hypot(x - 48, y - 32) < 20, split.labels.index("road"), 0)
    expected[:, 40:48], expected[30:40, 50:60] = 0, 255
    expected[1, [1, 3]] = split.labels.index("car")
    assert (label != expected).mean() < 0.001
    assert split.labels == ["background", "car", "fence", "road"]
    assert any("'point'" in line and line.endswith(": 1") for line in data.remarks)


def test_a_project_of_one_data_set_is_for_training(written: Callable[[str], Path], tmp_path: Path) -> None:
    root = copied(written, "supervisely", tmp_path)
    shutil.rmtree(root / "val")
    (root / "train").rename(root / "ds0")
    assert len(FolderData(DataConfig(root=root)).samples("training")) == 12
    shutil.copytree(root / "ds0", root / "test")
    refused(root, "ds0", "part")


def test_an_expanding_document_is_refused(written: Callable[[str], Path], tmp_path: Path) -> None:
    entities = "".join(f'<!ENTITY e{n + 1} "{f"&e{n};" * 10}">' for n in range(9))
    bomb = f'<!DOCTYPE a [<!ENTITY e0 "x">{entities}]><annotations><image name="&e9;"/></annotations>'
    (tmp_path / "annotations.xml").write_bytes(bomb.encode("utf-16"))
    refused(tmp_path, "DOCTYPE", kind="cvat")
