"""Pascal VOC's layout, as published and as CVAT and labelme export it."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
from layout_data import COUNTS, first_labels, made, opened, refused, said
from layout_writers_masks import COLOURS, write_cvat, write_labelme, write_voc
from PIL import Image

from boostformer.data import IGNORED

ALL = sum(COUNTS.values())


class TestVOC:
    def test_the_usual_names(self, tmp_path: Path) -> None:
        split = opened(write_voc(tmp_path))
        assert split.num_classes == 21 and split.labels[:2] == ["background", "aeroplane"]
        assert first_labels(split) == {0: {IGNORED}, 1: {1}, 2: {2}, 3: {7}}
        assert [len(opened(tmp_path, part)) for part in COUNTS] == [*COUNTS.values()]
        assert "the usual 21 names are taken" in said(split)
        assert [opened(root).num_classes for root in (tmp_path / "VOCdevkit", tmp_path / "VOCdevkit/VOC2012")] == [
            21,
            21,
        ]

    def test_the_background_is_a_class(self, tmp_path: Path) -> None:
        write_voc(tmp_path, (0, 1, 2, 7))
        assert first_labels(opened(tmp_path)) == {0: {0}, 1: {1}, 2: {2}, 3: {7}}
        assert opened(tmp_path, background="nothing").labels[:2] == ["nothing", "aeroplane"]
        assert opened(tmp_path, ignore=["background"]).labels[0] == "aeroplane"

    def test_names_that_do_not_fit(self, tmp_path: Path) -> None:
        split = opened(write_voc(tmp_path, (0, 20, 21, 22)), ignore=[*range(1, 20)])
        assert split.labels == ["background", "class_1", "class_2", "class_3"]
        assert "the usual names do not fit: 22 in" in said(split)
        assert "20…22 do not count" in refused(tmp_path)
        assert opened(tmp_path, classes={0: "a", 20: "b", 21: "c", 22: "c"}).labels == ["a", "b", "c"]

    def test_colours_of_a_labelmap(self, tmp_path: Path) -> None:
        split = opened(write_cvat(tmp_path))
        assert split.labels == ["background", "road", "fence", "car"] and "names 4 values, by colours" in said(split)
        (tmp_path / "ImageSets/Segmentation/Validation.txt").unlink()
        lists = tmp_path / "ImageSets/Segmentation"
        (lists / "Train.txt").rename(lists / "default.txt")
        split = opened(tmp_path)
        assert len(split) == COUNTS["training"] and "default.txt lists the training images" in said(split)
        assert "colour #be9999" in refused_colour(tmp_path)

    def test_a_palette_of_a_labelmap(self, tmp_path: Path) -> None:
        for path in write_cvat(tmp_path).glob("SegmentationClass/*.png"):
            Image.open(path).convert("P", palette=Image.Palette.ADAPTIVE, colors=4).save(path)
        split = opened(tmp_path)
        assert first_labels(split) == {0: {0}, 1: {1}, 2: {2}, 3: {3}}

    def test_values_of_a_labelmap(self, tmp_path: Path) -> None:
        write_cvat(tmp_path)
        for one in (one for some in made().values() for one in some):
            Image.fromarray(np.where(one.mask, one.mask, 255).astype(np.uint8)).save(
                tmp_path / f"SegmentationClass/{one.name}.png"
            )
        split = opened(tmp_path)
        assert first_labels(split) == {0: {IGNORED}, 1: {1}, 2: {2}, 3: {3}}
        assert "in the order of their values" in said(split)

    def test_the_colour_of_borders_is_ignored(self, tmp_path: Path) -> None:
        write_cvat(tmp_path)
        for one in (one for some in made().values() for one in some):
            pixels = np.array([(224, 224, 192), *COLOURS[1:]], np.uint8)[one.mask]
            Image.fromarray(pixels).save(tmp_path / f"SegmentationClass/{one.name}.png")
        assert first_labels(opened(tmp_path))[0] == {IGNORED}

    def test_labelme_has_no_lists(self, tmp_path: Path) -> None:
        split = opened(write_labelme(tmp_path))
        assert len(split) == ALL and split.labels == ["_background_", "road", "fence", "car"]
        assert f"so all {ALL} images with masks are training images" in said(split)
        part = opened(tmp_path, "validation", validation_share=0.25)
        assert len(part) == ALL // 4

    def test_trainval_is_taken_less_what_validates(self, tmp_path: Path) -> None:
        lists = write_voc(tmp_path) / "VOCdevkit/VOC2012/ImageSets/Segmentation"
        (lists / "train.txt").unlink()
        assert [len(opened(tmp_path, part)) for part in COUNTS] == [*COUNTS.values()]
        assert "trainval.txt lists the training images, less 4 validation images" in said(opened(tmp_path))
        (lists / "val.txt").unlink()
        assert len(opened(tmp_path)) == ALL
        (lists / "trainval.txt").rename(lists / "others.txt")
        assert refused(tmp_path) == f"{lists}: has others.txt, but no train.txt"

    def test_images_in_two_parts_are_said(self, tmp_path: Path) -> None:
        lists = write_voc(tmp_path) / "VOCdevkit/VOC2012/ImageSets/Segmentation"
        shutil.copy(lists / "trainval.txt", lists / "train.txt")
        assert f"4 of 4 validation images are training images, too, such as '{made()['validation'][0].name}'" in said(
            opened(tmp_path)
        )

    def test_samples_are_in_the_order_of_their_names(self, tmp_path: Path) -> None:
        train = write_voc(tmp_path) / "VOCdevkit/VOC2012/ImageSets/Segmentation/train.txt"
        train.write_text("".join(reversed(train.read_text().splitlines(keepends=True))))
        split = opened(tmp_path)
        assert [split.name(index) for index in range(len(split))] == [one.name for one in made()["training"]]

    def test_lists_are_held_against_files(self, tmp_path: Path) -> None:
        home = write_voc(tmp_path) / "VOCdevkit/VOC2012"
        train = home / "ImageSets/Segmentation/train.txt"
        names = train.read_text()
        train.write_text("\ufeff" + names.replace("\n", "\r\n"), encoding="utf-8")
        assert len(opened(tmp_path)) == COUNTS["training"]
        train.write_text(names + "nowhere\n")
        assert refused(tmp_path) == f"{train}:13: 'nowhere' has no image in {home / 'JPEGImages'}"
        train.write_text(names + names.splitlines()[0])
        assert f"{train}:13: lists '{names.splitlines()[0]}' twice" in refused(tmp_path)
        train.write_text(names)
        (home / "ImageSets/Segmentation/test.txt").write_text("2007_000001\n")
        assert "so there is no test part" in said(opened(tmp_path))


def refused_colour(root: Path) -> str:
    path = root / "labelmap.txt"
    path.write_text("".join(line for line in path.read_text().splitlines(keepends=True) if "fence" not in line))
    return refused(root)
