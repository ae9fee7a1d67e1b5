"""Layouts whose masks are image files: what is special to each, and what is refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from layout_data import COUNTS, first_labels, opened, refused, said
from layout_writers_masks import (
    WRITERS,
    write_camvid,
    write_camvid_painted,
    write_camvid_whole,
    write_cityscapes,
    write_cvat,
    write_roboflow_masks,
    write_vistas,
)
from PIL import Image

from boostformer.data import IGNORED
from boostformer.errors import UserError

ALL = sum(COUNTS.values())
TITLES = "name,r,g,b\n"


class TestCityscapes:
    def test_the_19_scored_classes(self, tmp_path: Path) -> None:
        split = opened(write_cityscapes(tmp_path))
        assert split.num_classes == 19 and split.labels[:2] == ["road", "sidewalk"] and split.labels[18] == "bicycle"
        assert first_labels(split) == {0: {IGNORED}, 1: {0}, 2: {4}, 3: {13}}
        assert "*_gtFine_labelIds.png are the masks" in said(split)

    def test_label_ids_are_taken_where_there_are_both(self, tmp_path: Path) -> None:
        write_cityscapes(tmp_path)
        for path in list(tmp_path.glob("gtFine/*/*/*_gtFine_color.png")):
            Image.fromarray(np.full((9, 9), 99, np.uint8)).save(str(path).replace("color", "labelTrainIds"))
        assert first_labels(opened(tmp_path)) == {0: {IGNORED}, 1: {0}, 2: {4}, 3: {13}}

    def test_train_ids_are_said(self, tmp_path: Path) -> None:
        split = opened(WRITERS["cityscapes: train ids"](tmp_path))
        assert "*_gtFine_labelTrainIds.png are the masks" in said(split) and split.num_classes == 19

    def test_dummies_are_no_test_part(self, tmp_path: Path) -> None:
        write_cityscapes(tmp_path)
        image = next(tmp_path.glob("leftImg8bit/val/*/*.png"))
        (tmp_path / "leftImg8bit/test/berlin").mkdir(parents=True)
        shutil.copy(image, tmp_path / "leftImg8bit/test/berlin/berlin_000000_000019_leftImg8bit.png")
        assert "leftImg8bit/test: has no masks" in said(opened(tmp_path))
        mask = tmp_path / "gtFine/test/berlin/berlin_000000_000019_gtFine_labelIds.png"
        mask.parent.mkdir(parents=True)
        Image.fromarray(np.full((64, 96), 3, np.uint8)).save(mask)
        assert "gtFine/test: the masks are dummies" in said(opened(tmp_path))
        with pytest.raises(UserError, match="no test part"):
            opened(tmp_path, "test")
        Image.fromarray(np.full((64, 96), 7, np.uint8)).save(mask)
        assert set(np.unique(opened(tmp_path, "test").label(0))) == {0}

    def test_own_names_may_be_those_of_the_data_set(self, tmp_path: Path) -> None:
        split = opened(
            write_cityscapes(tmp_path),
            classes={"road": "ground", "out of roi": "edge", "car": "thing", 13: "thing"},
            ignore=["unlabeled"],
        )
        assert split.labels == ["edge", "ground", "thing"]
        assert first_labels(split) == {0: {0}, 1: {1}, 2: {2}, 3: {2}}
        assert "'streat', which is neither" in refused(tmp_path, ignore=["streat"])

    def test_names_are_ignored_beside_what_the_layout_ignores(self, tmp_path: Path) -> None:
        split = opened(write_cityscapes(tmp_path), ignore=["fence"])
        assert len(split.labels) == 18 and not {"fence", "unlabeled"} & {*split.labels}
        assert "mask value 13 is ignored, beside those of the layout" in said(split)
        split = opened(tmp_path, ignore=["fence", 0])
        assert {"out of roi", "ego vehicle"} < {*split.labels} and not {"fence", "unlabeled"} & {*split.labels}
        assert "mask values 1…6, 9…10, 14…16, 18, 29…30 are no longer ignored" in said(split)

    def test_a_missing_folder(self, tmp_path: Path) -> None:
        write_cityscapes(tmp_path)
        (tmp_path / "gtFine/train").rename(tmp_path / "gtFine/elsewhere")
        assert refused(tmp_path).startswith(f"{tmp_path / 'gtFine/train'}: no such folder")


class TestVistas:
    def test_what_is_not_evaluated_is_ignored(self, tmp_path: Path) -> None:
        split = opened(write_vistas(tmp_path))
        assert split.labels == ["Bird", "Road", "Fence", "Car"]
        assert first_labels(split) == {0: {IGNORED}, 1: {1}, 2: {2}, 3: {3}}
        assert "config_v2.0.json: not evaluated, so ignored: 'Unlabeled' (4)" in said(split)
        assert "testing/images: has no masks" in said(split)
        assert opened(tmp_path, ignore=["Bird"]).labels == ["Road", "Fence", "Car"]
        split = opened(tmp_path, ignore=[0])
        assert split.labels == ["Road", "Fence", "Car", "Unlabeled"]
        assert "mask value 4 is no longer ignored as the layout says" in said(split)

    def test_the_newer_version_is_taken(self, tmp_path: Path) -> None:
        write_vistas(tmp_path)
        (tmp_path / "training/v1.2/labels").mkdir(parents=True)
        (tmp_path / "config_v1.2.json").write_text("{}")
        assert "v2.0/labels are the masks, not v1.2/labels" in said(opened(tmp_path))

    def test_names_that_read_alike(self, tmp_path: Path) -> None:
        path = write_vistas(tmp_path) / "config_v2.0.json"
        found = json.loads(path.read_text())
        found["labels"][0]["readable"] = "Road"
        path.write_text(json.dumps(found))
        assert opened(tmp_path).labels == ["object--bird", "object--road", "Fence", "Car"]

    @pytest.mark.parametrize(
        ("content", "says"),
        [
            ("{", "is no JSON"),
            ("[]", "must have 'labels'"),
            ('{"labels": []}', "must have 'labels'"),
            ('{"labels": [{"color": [0, 0, 0]}]}', "label 0 has neither 'readable' nor 'name'"),
            ('{"labels": [{"name": "a", "evaluate": "no"}]}', "`evaluate: no`; allowed: true, false"),
        ],
    )
    def test_a_malformed_file_of_names(self, tmp_path: Path, content: str, says: str) -> None:
        path = write_vistas(tmp_path) / "config_v2.0.json"
        path.write_text(content)
        assert refused(tmp_path).startswith(f"{path}: ") and says in refused(tmp_path)


class TestCamVid:
    def test_indices(self, tmp_path: Path) -> None:
        split = opened(write_camvid(tmp_path))
        assert split.num_classes == 11 and split.labels[0] == "Sky" and split.labels[10] == "Bicyclist"
        assert first_labels(split) == {0: {IGNORED}, 1: {3}, 2: {7}, 3: {8}} and "11 is ignored" in said(split)

    def test_void_is_ignored(self, tmp_path: Path) -> None:
        split = opened(write_camvid_painted(tmp_path))
        assert split.labels == ["Animal", "Road", "Fence", "Car"] and first_labels(split)[0] == {IGNORED}
        assert "class_dict.csv: 'Void' is ignored" in said(split)
        split = opened(tmp_path, classes={"Void": "none", "Road": "road"}, ignore=["Fence", "Car"])
        assert split.labels == ["none", "road"] and first_labels(split)[3] == {IGNORED}

    def test_own_colours_replace_the_table(self, tmp_path: Path) -> None:
        write_camvid_painted(tmp_path)
        split = opened(tmp_path, colours={"#804080": "road", "#be9999": "rest", "#00008e": "rest"}, ignore=["#000000"])
        assert split.labels == ["road", "rest"] and first_labels(split) == {0: {IGNORED}, 1: {0}, 2: {1}, 3: {1}}

    def test_as_published(self, tmp_path: Path) -> None:
        split = opened(write_camvid_whole(tmp_path))
        assert len(split) == ALL and split.labels == ["Animal", "Road", "Fence", "Car"]
        assert "has no list of parts" in said(split)
        assert len(opened(tmp_path, "validation", validation_share=0.25)) == 4
        (tmp_path / "LabeledApproved_full").rename(tmp_path / "label")
        assert len(opened(tmp_path)) == ALL

    def test_masks_called_as_their_images(self, tmp_path: Path) -> None:
        for path in list(write_camvid_painted(tmp_path).glob("*_labels/*.png")):
            path.rename(path.with_stem(path.stem.removesuffix("_L")))
        assert len(opened(tmp_path)) == COUNTS["training"]

    def test_a_validation_part_without_images(self, tmp_path: Path) -> None:
        (write_camvid(tmp_path) / "val").rename(tmp_path / "elsewhere")
        assert refused(tmp_path).startswith(f"{tmp_path / 'val'}: no such folder")

    @pytest.mark.parametrize(
        ("write", "file", "content", "says"),
        [
            (write_camvid_painted, "class_dict.csv", "Road,128,64,128\n", ":1: must be 'name,r,g,b'"),
            (
                write_camvid_painted,
                "class_dict.csv",
                "name,r,g,b\nRoad,128,64\n",
                ":2: must be a name and three levels",
            ),
            (
                write_camvid_painted,
                "class_dict.csv",
                "name,r,g,b\nA,1,2,3\n\nB,1,2,3\n",
                ":4: 'B' has the colour #010203",
            ),
            (write_camvid_painted, "class_dict.csv", "name,r,g,b\nA,1,2,3\nA,1,2,4\n", ": names two classes 'A'"),
            (write_camvid_painted, "class_dict.csv", "name,r,g,b\n", ": names no class"),
            (write_camvid_whole, "label_colors.txt", "64 128 256 Animal\n", ":1: must be a name and three levels"),
            (write_camvid_whole, "label_colors.txt", "64 128 64\n", ":1: must be a name and three levels"),
            (write_cvat, "labelmap.txt", "a:b:1,2,3::\nc:1,2::\n", ":2: must be a name and three levels"),
            (write_cvat, "labelmap.txt", "road\n", ":1: must be a name and three levels"),
        ],
    )
    def test_malformed_tables(
        self, tmp_path: Path, write: Callable[[Path], Path], file: str, content: str, says: str
    ) -> None:
        (write(tmp_path) / file).write_text(content)
        assert refused(tmp_path).startswith(f"{tmp_path / file}{says}")


class TestRoboflow:
    def test_value_0_is_a_class_as_the_table_says(self, tmp_path: Path) -> None:
        split = opened(write_roboflow_masks(tmp_path))
        assert split.labels == ["background", "road", "fence", "car"]
        assert first_labels(split) == {0: {0}, 1: {1}, 2: {2}, 3: {3}}
        assert opened(tmp_path, ignore=["background"]).labels == ["road", "fence", "car"]

    @pytest.mark.parametrize(
        ("content", "says"),
        [
            ("Pixel Value, Class\n0, background\n", ": names {0: 'background'}, but"),
            ("filename, car\na.jpg, 1\n", ":1: must be 'Pixel Value, Class'"),
            ("Pixel Value, Class\n0, a\n0, b\n", ":3: must be a mask value of its own"),
            ("Pixel Value, Class\n65536, a\n", ":2: must be a mask value of its own"),
            (None, ": no such file"),
        ],
    )
    def test_tables_of_names(self, tmp_path: Path, content: str | None, says: str) -> None:
        path = write_roboflow_masks(tmp_path) / "valid/_classes.csv"
        if content is None:
            path.unlink()
        else:
            path.write_text(content)
        assert refused(tmp_path).startswith(f"{path}{says}")

    def test_exports_for_classification_are_another_layout(self, tmp_path: Path) -> None:
        write_roboflow_masks(tmp_path)
        (tmp_path / "train/_classes.csv").write_text("filename, car\na.jpg, 1\n")
        assert "no layout is recognised" in refused(tmp_path)
