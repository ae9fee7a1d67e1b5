"""Data sets by patterns and lists, and the share of the training part that validates."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from layout_data import Made, made, opened, refused
from pydantic import ValidationError

from boostformer.data import IGNORED, DataConfig, SegmentationSplit
from boostformer.errors import UserError

SOME = made()["training"][:6]
NAMES = [one.name for one in SOME]
BOTH = {"images": "raw/{split}/*.jpg", "masks": "labels/{split}/{stem}.png"}


def write(root: Path, image: str, mask: str, some: tuple[Made, ...] = SOME) -> Path:
    """Write images and masks under names with ``{}`` for each one's own."""
    for one in some:
        one.write(root / image.format(one.name), root / mask.format(one.name))
    return root


def names(split: SegmentationSplit) -> list[str]:
    return [split.name(index) for index in range(len(split))]


def check_labels(split: SegmentationSplit, some: tuple[Made, ...] = SOME) -> None:
    for index, one in enumerate(some):
        image, label = split.pair(index)
        assert np.abs(image.astype(int) - one.pixels).mean() < 10
        assert (label == np.array([IGNORED, 0, 1, 2])[one.mask]).all()


class TestPatterns:
    def test_masks_beside_images(self, tmp_path: Path) -> None:
        write(tmp_path, "data [v2]/{}.png", "data [v2]/{}_mask.png")
        split = opened(tmp_path, images="data [v2]/*.png", masks="{stem}_mask.png")
        assert names(split) == NAMES
        check_labels(split)

    @pytest.mark.parametrize("called", ["train", "Train", "TRAIN", "training", "Training", "TRAINING"])
    def test_spellings_of_a_part(self, tmp_path: Path, called: str) -> None:
        for there in {called, called.lower()}:
            write(tmp_path / there, f"raw/{called}/{{}}.jpg", f"labels/{there}/{{}}.png")
            split = opened(tmp_path / there, **BOTH)
            assert names(split) == NAMES and split.label(0).any()

    def test_a_part_under_two_names(self, tmp_path: Path) -> None:
        for called in ("train", "TRAIN"):
            write(tmp_path, f"raw/{called}/{{}}.jpg", f"labels/{called}/{{}}.png")
        assert "training images are called both train and TRAIN" in refused(tmp_path, **BOTH)

    def test_all_parts(self, tmp_path: Path) -> None:
        for called, count in (("Train", 3), ("val", 2), ("TEST", 1)):
            write(tmp_path, f"{called}_{{}}.jpg", f"masks/{called}_{{}}.png", SOME[:count])
        settings = {"images": "{split}_{stem}.jpg", "masks": "masks/{split}_{stem}.png"}
        for split, count in (("training", 3), ("validation", 2), ("test", 1)):
            assert names(opened(tmp_path, split, **settings)) == NAMES[:count]

    def test_stems_in_folders(self, tmp_path: Path) -> None:
        write(tmp_path, "{}/image.jpg", "{}/mask.png")
        split = opened(tmp_path, images="{stem}/image.jpg", masks="{stem}/mask.png")
        assert names(split) == NAMES
        check_labels(split)

    def test_stems_that_occur_twice(self, tmp_path: Path) -> None:
        write(tmp_path, "{0}/{0}.image.jpg", "{0}/{0}.mask.png")
        (tmp_path / NAMES[0] / "other.image.jpg").write_bytes(b"")
        split = opened(tmp_path, images="{stem}/{stem}.image.jpg", masks="{stem}/{stem}.mask.png")
        assert names(split) == NAMES

    def test_one_name_in_several_folders(self, tmp_path: Path) -> None:
        write(tmp_path, "a/{}.jpg", "a/{}.png", SOME[:2])
        write(tmp_path, "b/c/{}.jpg", "b/c/{}.png", SOME[1:2])
        split = opened(tmp_path, images="**/*.jpg", masks="{stem}.png")
        assert names(split) == [f"a/{NAMES[0]}", f"a/{NAMES[1]}", f"b/c/{NAMES[1]}"]

    def test_one_name_of_two_files(self, tmp_path: Path) -> None:
        write(tmp_path, "{}.jpg", "masks/{}.png")
        (tmp_path / f"{NAMES[0]}.jpeg").write_bytes((tmp_path / f"{NAMES[0]}.jpg").read_bytes())
        assert "has the same name as" in refused(tmp_path, images="*", masks="masks/{stem}.png")

    def test_only_images_are_taken_unless_a_suffix_is_said(self, tmp_path: Path) -> None:
        write(tmp_path, "{}.jpg", "masks/{}.png")
        for name in ("notes.txt", ".hidden.jpg", f"{NAMES[0]}.bin"):
            (tmp_path / name).write_text("")
        assert names(opened(tmp_path, images="*", masks="masks/{stem}.png")) == NAMES
        assert f"{NAMES[0]}.bin: damaged" in damaged(opened(tmp_path, images="*.bin", masks="masks/{stem}.png"))

    @pytest.mark.parametrize(
        ("settings", "says"),
        [
            ({"images": "*.jpg"}, "needs 'images' and 'masks', or 'lists'"),
            ({"kind": "ade20k", **BOTH}, "is for data of kind 'patterns'"),
        ],
    )
    def test_settings_that_are_no_patterns(self, tmp_path: Path, settings: dict[str, str], says: str) -> None:
        with pytest.raises(ValidationError, match=says):
            DataConfig(root=tmp_path, **settings)

    @pytest.mark.parametrize(
        ("images", "masks", "says"),
        [
            ("*.jpg", "mask.png", "`masks: mask.png` is one file for all images; it needs {stem}"),
            ("*.jpg", "*_{stem}.png", "has a *; one image has one mask"),
            ("../*.jpg", "{stem}.png", "leaves the data's root"),
            ("*.jpg", "/{stem}.png", "leaves the data's root"),
            ("{name}.jpg", "{stem}.png", "has {name}; allowed here: {split}, {stem}"),
            ("*.jpg", "{split}/{stem}.png", "has {split}; allowed here: {stem}"),
            ("raw/", "{stem}.png", "names a folder, not files"),
            ("*.tif", "{stem}.png", "no file matches `images: *.tif`"),
            ("{split}/*.jpg", "{stem}.png", "{split} was tried as training, train, validation"),
            ("*.jpg", "{stem}.jpg", "names the images themselves"),
            ("*.jpg", "elsewhere/{stem}.png", "the image has no mask"),
        ],
    )
    def test_refused(self, tmp_path: Path, images: str, masks: str, says: str) -> None:
        write(tmp_path, "{}.jpg", "masks/{}.png")
        assert says in refused(tmp_path, images=images, masks=masks)


def damaged(split: SegmentationSplit) -> str:
    with pytest.raises(UserError) as caught:
        split.pair(0)
    return str(caught.value)


class TestLists:
    @pytest.mark.parametrize("mark", ["\t", ",", ", ", " ", "   "])
    @pytest.mark.parametrize("end", ["\n", "\r\n"])
    @pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
    def test_marks_between_fields(self, tmp_path: Path, mark: str, end: str, encoding: str) -> None:
        folder = "raw" if mark.startswith(" ") else "my raw"
        write(tmp_path, f"{folder}/{{}}.jpg", f"{folder}/{{}}.png")
        lines = [f"{folder}/{name}.jpg{mark}/{folder}/{name}.png" for name in reversed(NAMES)]
        (tmp_path / "train.txt").write_bytes(end.join(["# images", *lines, ""]).encode(encoding))
        split = opened(tmp_path, lists={"training": "train.txt"})
        assert names(split) == [f"{folder}/{name}" for name in reversed(NAMES)], "the list's order is kept"
        check_labels(split, SOME[::-1])

    def test_images_alone(self, tmp_path: Path) -> None:
        write(tmp_path, "raw/a, b {}.jpg", "labels/a, b {}_mask.png")
        (tmp_path / "train.txt").write_text("".join(f"raw/a, b {name}.jpg\n" for name in NAMES))
        split = opened(tmp_path, lists={"training": "train.txt"}, masks="labels/{stem}_mask.png")
        check_labels(split)

    def test_paths_as_windows_writes_them(self, tmp_path: Path) -> None:
        write(tmp_path, "raw/{}.jpg", "labels/{}.png")
        (tmp_path / "train.txt").write_text("".join(f"raw\\{name}.jpg,labels\\{name}.png\r\n" for name in NAMES))
        assert names(opened(tmp_path, lists={"training": "train.txt"})) == [f"raw/{name}" for name in NAMES]

    def test_images_in_two_parts_are_said(self, tmp_path: Path) -> None:
        write(tmp_path, "raw/{}.jpg", "labels/{}.png")
        lines = [f"raw/{name}.jpg labels/{name}.png\n" for name in NAMES]
        (tmp_path / "train.txt").write_text("".join(lines[:4]))
        (tmp_path / "val.txt").write_text("".join(lines[3:]))
        split = opened(tmp_path, lists={"training": "train.txt", "validation": "val.txt"})
        assert f"1 of 3 validation images are training images, too, such as 'raw/{NAMES[3]}'" in "".join(split.remarks)

    @pytest.mark.parametrize(
        ("content", "says"),
        [
            (None, "train.txt: cannot be read"),
            ("\n# nothing\n", "train.txt: lists no sample"),
            ("raw/{0}.jpg\n", "train.txt:1: must be an image and its mask"),
            ("raw/{0}.jpg labels/{0}.png more\n", "train.txt:1: must be an image and its mask"),
            ("raw/{0}.jpg,\n", "train.txt:1: must be an image and its mask"),
            ("raw/{0}.jpg labels/nowhere.png\n", "train.txt:1: no such file below"),
            ("\nraw/../raw/{0}.jpg labels/{0}.png\n", "train.txt:2: no such file below"),
            ("raw/{0}.jpg labels/{0}.png\nraw/{0}.jpg labels/{0}.png\n", "train.txt:2: lists 'raw/"),
        ],
    )
    def test_refused(self, tmp_path: Path, content: str | None, says: str) -> None:
        write(tmp_path, "raw/{}.jpg", "labels/{}.png")
        if content is not None:
            (tmp_path / "train.txt").write_text(content.format(NAMES[0]))
        assert says in refused(tmp_path, lists={"training": "train.txt"})

    def test_patterns_beside_lists(self, tmp_path: Path) -> None:
        lists = {"training": "train.txt"}
        assert "`images` beside `lists`" in refused(tmp_path, lists=lists, images="*.jpg")
        assert "has {split}; allowed here: {stem}" in refused(tmp_path, lists=lists, masks="{split}/{stem}.png")


class TestShare:
    SETTINGS = {"images": "raw/*.jpg", "masks": "labels/{stem}.png"}

    def test_the_same_images_every_time_wherever_they_lie(self, tmp_path: Path) -> None:
        some = made()["training"]
        first, second = (write(tmp_path / name, "raw/{}.jpg", "labels/{}.png", some) for name in ("first", "second"))
        parts = [
            [names(opened(root, part, validation_share=0.25, **self.SETTINGS)) for part in ("training", "validation")]
            for root in (first, second, second)
        ]
        assert parts[0] == parts[1] == parts[2]
        training, validation = parts[0]
        assert len(validation) == 3 and sorted(training + validation) == [one.name for one in some]
        assert validation == sorted(validation) and validation != [one.name for one in some[:3]]

    def test_a_larger_share_holds_a_smaller_one(self, tmp_path: Path) -> None:
        write(tmp_path, "raw/{}.jpg", "labels/{}.png")
        few, more = (
            set(names(opened(tmp_path, "validation", validation_share=share, **self.SETTINGS))) for share in (0.2, 0.5)
        )
        assert few < more

    def test_it_is_said(self, tmp_path: Path) -> None:
        write(tmp_path, "raw/{}.jpg", "labels/{}.png")
        assert "2 of 6 images are taken to validate on" in " ".join(
            opened(tmp_path, validation_share=0.3, **self.SETTINGS).remarks
        )

    def test_refused(self, tmp_path: Path) -> None:
        write(tmp_path, "raw/{}.jpg", "labels/{}.png")
        assert "5% of 6 images leaves nothing" in refused(tmp_path, validation_share=0.05, **self.SETTINGS)
        write(tmp_path, "split/train/{}.jpg", "labels/{}.png")
        write(tmp_path, "split/val/{}.jpg", "labels/{}.png")
        both = {"images": "split/{split}/*.jpg", "masks": "labels/{stem}.png"}
        assert "has a validation part of 6 images" in refused(tmp_path, validation_share=0.3, **both)
