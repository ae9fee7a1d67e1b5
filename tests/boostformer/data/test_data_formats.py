"""What every layout promises: one small data set, written in each of them, reads the same."""

from __future__ import annotations

import json
import shutil
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from layout_data import CLASSES, COUNTS, made, short
from layout_writers import WRITERS, kind_of
from test_imports import REPOSITORY

from boostformer.data import DataConfig, SegmentationSplit, open_split
from boostformer.data.config import AUTO, FORMATS
from boostformer.data.folder import FolderData
from boostformer.data.formats import formats
from boostformer.errors import UserError

DOCUMENT = REPOSITORY / "docs" / "data.md"
KINDS = pytest.mark.parametrize("key", list(WRITERS))
NOT_LABELLED = ("background", "unlabelled", "unlabeled", "void")
"""What classes are called that stand for pixels without one, where a layout has no way to leave them out."""


@pytest.fixture(scope="module", params=list(WRITERS))
def written(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """The kind and the folder of the data set in each layout, to be read only."""
    return kind_of(request.param), WRITERS[request.param](tmp_path_factory.mktemp("layout") / "data")


def config(root: Path, kind: str = AUTO, **changes: object) -> DataConfig:
    return DataConfig(**{"kind": kind, "root": root, "size": "32x48", **changes})


def read_all(root: Path, kind: str = AUTO) -> list[SegmentationSplit]:
    splits = [open_split(config(root, kind), split) for split in COUNTS]
    for split in splits:
        for index in range(len(split)):
            split.pair(index)
    return splits


def refused(root: Path, kind: str) -> str:
    with pytest.raises(UserError) as caught:
        read_all(root, kind)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_every_layout_has_a_writer() -> None:
    assert {kind_of(key) for key in WRITERS} == {*FORMATS} - {"hf"}  # which needs an extra: test_data_hf.py


def test_exactly_one_layout_is_recognised(written: tuple[str, Path]) -> None:
    kind, root = written
    assert [one.kind for one in formats().values() if one.recognises(root)] == [kind]


def test_labels_are_the_made_ones(written: tuple[str, Path]) -> None:
    for split, some in zip(read_all(written[1]), made().values(), strict=True):
        assert len(split) == len(some)
        for index, one in enumerate(some):
            assert short(one.name) in split.name(index)
            image, label = split.pair(index)
            assert image.shape == one.pixels.shape
            assert np.abs(image.astype(int) - one.pixels).mean() < 10  # as JPEG has it
            names = np.array([*map(str.casefold, split.labels), *[""] * 256])[np.minimum(label, 255)]
            wanted = np.array(["", *CLASSES])[one.mask]
            assert (names == wanted)[one.mask > 0].all()
            assert np.isin(names[one.mask == 0], ["", *NOT_LABELLED]).all()


def test_remarks_say_what_was_found(written: tuple[str, Path]) -> None:
    root = written[1]
    summary = open_split(config(root), "training").summary
    assert summary is not None and summary.found == FolderData(config(root)).layout.found
    assert summary.lines()[0].startswith(f"data: {summary.found}, 12 + 4 images of ")


def test_contents_are_the_same_wherever_they_lie(written: tuple[str, Path], tmp_path: Path) -> None:
    copy = shutil.copytree(written[1], tmp_path / "elsewhere" / "copy")
    for split in COUNTS:
        here, there = (open_split(config(root), split) for root in (written[1], copy))
        assert here.content() == there.content()
        assert [here.name(index) for index in range(len(here))] == [there.name(index) for index in range(len(there))]


def test_there_is_no_test_part(written: tuple[str, Path]) -> None:
    with pytest.raises(UserError, match=r"has no test part \(found: training, validation\)") as caught:
        open_split(config(written[1]), "test")
    assert str(written[1]) in str(caught.value)


@KINDS
@pytest.mark.parametrize("part", ["training", "validation"])
@pytest.mark.parametrize("damage", ["missing", "truncated"])
def test_a_damaged_sample_is_named(tmp_path: Path, key: str, part: str, damage: str) -> None:
    root, kind = WRITERS[key](tmp_path / "data"), kind_of(key)
    sample = FolderData(config(root)).samples(part)[2]  # type: ignore[arg-type]
    for path in sample.files():
        content = path.read_bytes()
        if damage == "missing":
            path.unlink()
        else:
            path.write_bytes(content[: len(content) // 2])
        line = refused(root, kind)
        assert str(root) in line and Path(sample.name).name in line
        path.write_bytes(content)
    read_all(root, kind)


@KINDS
def test_emptied_folders_are_named(tmp_path: Path, key: str) -> None:
    root, kind = WRITERS[key](tmp_path / "data"), kind_of(key)
    for sample in FolderData(config(root)).samples("training"):
        for path in sample.files():
            path.unlink()
    assert str(root) in refused(root, kind)


@pytest.mark.parametrize("kind", FORMATS)
def test_an_empty_folder_has_no_layout(tmp_path: Path, kind: str) -> None:
    assert str(tmp_path) in refused(tmp_path, kind)
    with pytest.raises(UserError, match="no layout is recognised .it holds nothing") as caught:
        open_split(config(tmp_path), "training")
    assert kind in str(caught.value)


@KINDS
def test_own_names_replace_the_layouts(tmp_path: Path, key: str) -> None:
    root = WRITERS[key](tmp_path / "data")
    data = FolderData(config(root))
    table, labels = data.meaning.table(), [name.casefold() for name in data.meaning.labels]
    meant = {label: value for value, label in table.items()}
    classes = {meant[labels.index(name)]: "thing" if name == "car" else "ground" for name in CLASSES}
    others = [value for value in table if value not in classes]
    split = open_split(config(root, classes=classes, ignore=others), "training")
    assert sorted(split.labels) == ["ground", "thing"]
    one = made()["training"][0]
    named = np.array([*split.labels, *[""] * 256])[np.minimum(split.label(0), 255)]
    assert (named == np.array(["", "ground", "ground", "thing"])[one.mask]).all()


@pytest.mark.parametrize("kind", FORMATS)
def test_every_layout_is_documented(kind: str) -> None:
    (row,) = [line for line in DOCUMENT.read_text().splitlines() if line.startswith(f"| `{kind}` |")]
    *_, settings, _ = row.split(" | ")[-1].rpartition(" |")[0].split("`")
    assert DataConfig(**yaml.safe_load(settings)).kind == AUTO
    assert row.count(" | ") == 4 and all(cell.strip() for cell in row.strip("|").split(" | "))


def documented() -> list[dict[str, Any]]:
    blocks = DOCUMENT.read_text().split("```yaml\n")[1:]
    return [yaml.safe_load(block.partition("```")[0])["data"] for block in blocks]


def test_documented_settings_are_valid(tmp_path: Path) -> None:
    for settings in documented():
        DataConfig(**settings)
    (merged,) = [settings["classes"] for settings in documented() if "classes" in settings]
    split = open_split(config(WRITERS["cityscapes"](tmp_path), classes=merged), "training")
    assert split.labels == ["flat", "construction", "object", "nature", "sky", "human", "vehicle"]


@pytest.mark.parametrize("forms", [("NFC", "NFD"), ("NFD", "NFC")])
@pytest.mark.parametrize("key", ["ade20k", "voc", "coco", "patterns"])
def test_letters_with_marks_may_be_written_in_two_ways(tmp_path: Path, forms: tuple[str, str], key: str) -> None:
    stem, other = (unicodedata.normalize(form, "straße ä") for form in forms)
    one = made()["training"][1]
    root, settings = tmp_path, {}
    if key == "ade20k":
        one.write(root / f"images/training/{stem}.jpg", root / f"annotations/training/{other}.png")
    elif key == "voc":
        one.write(root / f"JPEGImages/{stem}.jpg", root / f"SegmentationClass/{other}.png")
        (root / "ImageSets/Segmentation").mkdir(parents=True)
        (root / "ImageSets/Segmentation/train.txt").write_text(f"{other}\n")
    elif key == "coco":
        left, top, right, bottom = one.boxes[0][1:]
        outline = [left, top, right, top, right, bottom, left, bottom]
        document = {
            "images": [{"id": 1, "file_name": f"{other}.jpg", "height": 64, "width": 96}],
            "categories": [{"id": 1, "name": "thing"}],
            "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "iscrowd": 0, "segmentation": [outline]}],
        }
        one.write(root / f"train2017/{stem}.jpg", tmp_path / "unused.png")
        (root / "annotations").mkdir()
        (root / "annotations/instances_train2017.json").write_text(json.dumps(document))
    else:
        one.write(root / f"raw/{stem}.jpg", root / f"masks/{other}.png")
        settings = {"images": "raw/*.jpg", "masks": "masks/{stem}.png"}
    split = open_split(DataConfig(root=root, size="64x96", **settings), "training")
    assert len(split) == 1 and split.pair(0)[0].shape == (64, 96, 3)


def test_linked_folders_are_looked_into_once(tmp_path: Path) -> None:
    there = WRITERS["cityscapes"](tmp_path / "there")
    root = tmp_path / "data"
    for tree in ("leftImg8bit", "gtFine"):
        for city in there.glob(f"{tree}/*/*"):
            (root / city.parent.relative_to(there)).mkdir(parents=True, exist_ok=True)
            (root / city.relative_to(there)).symlink_to(city)
        (root / tree / "train" / "again").symlink_to(root / tree)  # would never end
    shutil.rmtree(root / "leftImg8bit/val")
    shutil.rmtree(root / "gtFine/val")
    assert len(open_split(config(root), "training")) == COUNTS["training"]
    patterns = {
        "images": "leftImg8bit/{split}/**/{stem}_leftImg8bit.png",
        "masks": "gtFine/{split}/aachen/{stem}_gtFine_labelIds.png",
        "classes": {7: "road", 13: "fence"},
        "ignore": [3, 26],
    }
    assert len(open_split(DataConfig(root=root, **patterns), "training")) == COUNTS["training"]


def test_a_folder_within_a_part_is_not_left_out_without_a_word(tmp_path: Path) -> None:
    root = WRITERS["ade20k"](tmp_path / "data")
    for part in ("images", "annotations"):
        first, *_ = sorted((root / part / "training").iterdir())
        (first.parent / "sub").mkdir()
        (first.parent / ".thumbnails").mkdir()
        first.rename(first.parent / "sub" / first.name)
    assert refused(root, "ade20k").startswith(f"{root / 'images/training/sub'}: is a folder within a part")


@KINDS
def test_what_a_macintosh_adds_is_passed_over(tmp_path: Path, key: str) -> None:
    root = WRITERS[key](tmp_path / "data")
    for path in [one for one in root.rglob("*") if one.is_file()]:
        path.with_name(f"._{path.name}").write_bytes(b"\0\5\x16\7")
        path.with_name(".DS_Store").write_bytes(b"\0")
    splits = read_all(root)
    assert [len(split) for split in splits] == [COUNTS[name] for name in COUNTS]
