"""What mask values mean: names held against what occurs, settings, and problems that nothing can be learnt from."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError

from boostformer.data import IGNORED, DataConfig, SegmentationSplit, open_split
from boostformer.data.colours import Colours
from boostformer.data.mask_scan import MaskScan
from boostformer.data.mask_values import ranges
from boostformer.data.samples import MaskFile
from boostformer.errors import UserError

PALETTE = [128, 128, 128, 200, 40, 40, 40, 180, 60, 40, 60, 200]


def write(root: Path, values: dict[int, int] | None = None, names: str | None = None) -> Path:
    """Write 12 + 4 images of 96x64 with a rectangle of each of three colours on grey; masks 0…3, or ``values``."""
    rng = np.random.default_rng(0)
    for split, count in (("training", 12), ("validation", 4)):
        for kind in ("images", "annotations"):
            (root / kind / split).mkdir(parents=True)
        for number in range(count):
            mask = np.zeros((64, 96), np.uint8)
            for colour in (1, 2, 3):
                top, left = rng.integers(2, 34), 32 * colour - 30
                mask[top : top + 28, left : left + 26] = colour
            pixels = np.array(PALETTE, np.uint8).reshape(4, 3)[mask]
            Image.fromarray(pixels).save(root / "images" / split / f"{number:02}.png")
            for old, new in sorted((values or {}).items(), reverse=True):
                mask[mask == old] = new
            Image.fromarray(mask).save(root / "annotations" / split / f"{number:02}.png")
    if names is not None:
        (root / "classes.txt").write_text(names)
    return root


def opened(root: Path, cache: Path | None = None, **settings: object) -> SegmentationSplit:
    return open_split(DataConfig(kind="ade20k", root=root, size="32x48", **settings), "training", cache)


def refused(root: Path, **settings: object) -> str:
    with pytest.raises(UserError) as caught:
        opened(root, **settings)
    assert str(root) in str(caught.value) and "\n" not in str(caught.value)
    return str(caught.value)


def raw(root: Path) -> np.ndarray:
    return np.array(Image.open(root / "annotations/training/00.png"))


class TestNothingToLearn:
    @pytest.mark.parametrize("cached", [False, True])
    def test_one_class_beside_the_background(self, tmp_path: Path, cached: bool) -> None:
        root = write(tmp_path / "data", {2: 1, 3: 1})
        for _ in range(2):  # a filled cache refuses too
            with pytest.raises(UserError, match="only 'class_1' occurs .*0 is ignored.*background: background"):
                opened(root, tmp_path / "cache" if cached else None)
        split = opened(root, background="background")
        assert split.labels == ["background", "class_1"]
        assert (split.label(0) == raw(root)).all()

    def test_one_bit(self, tmp_path: Path) -> None:
        root = write(tmp_path, {2: 1, 3: 1})
        for path in root.glob("annotations/*/*.png"):
            Image.fromarray(np.array(Image.open(path)) > 0).save(path)
        assert "nothing to learn" in refused(root)
        assert opened(root, background="none").num_classes == 2

    def test_a_training_part_that_is_wholly_ignored(self, tmp_path: Path) -> None:
        root = write(tmp_path, names="red\ngreen\nblue\n")
        for path in root.glob("annotations/training/*.png"):
            Image.fromarray(np.zeros((64, 96), np.uint8)).save(path)
        assert f"{root / 'annotations/training'}: no class occurs: every pixel is ignored" in refused(root)

    def test_one_class_in_the_training_part_though_more_have_names(self, tmp_path: Path) -> None:
        root = write(tmp_path, names="red\ngreen\nblue\n")
        for path in root.glob("annotations/training/*.png"):
            Image.fromarray(np.full((64, 96), 2, np.uint8)).save(path)
        assert "only 'green' occurs, so there is nothing to learn; label a second class" in refused(root)

    def test_masks_of_0_and_255(self, tmp_path: Path) -> None:
        root = write(tmp_path, {1: 255, 2: 255, 3: 255})
        assert "classes: {0: background, 255: object}" in refused(root)
        split = opened(root, classes={0: "background", 255: "object"})
        assert split.labels == ["background", "object"]
        assert (split.label(0) == raw(root) // 255).all()


class TestNames:
    def test_a_first_name_for_value_0_is_one_off(self, tmp_path: Path) -> None:
        root = write(tmp_path, names="background\nred\ngreen\nblue\n")
        line = refused(root)
        assert "classes.txt" in line and "every name would be one off" in line and "`background: background`" in line
        split = opened(root, background="background")
        assert split.labels == ["background", "red", "green", "blue"] and (split.label(0) == raw(root)).all()
        (root / "classes.txt").write_text("red\ngreen\nblue\n")
        assert opened(root, background="background").labels == ["background", "red", "green", "blue"]
        (root / "classes.txt").unlink()
        (root / "id2label.json").write_text(json.dumps(dict(enumerate(["background", "red", "green", "blue"]))))
        assert "id2label.json" in refused(root)

    def test_who_confirms_is_believed(self, tmp_path: Path) -> None:
        root = write(tmp_path, names="other\nred\ngreen\nblue\n")
        split = opened(root, ignore=[0, 255])
        assert split.labels[0] == "other" and (split.label(0)[raw(root) == 1] == 0).all()
        assert "no mask has 'blue' (4)" in " ".join(split.remarks)

    def test_a_last_name_that_never_occurs_is_said(self, tmp_path: Path) -> None:
        root = write(tmp_path, names="red\ngreen\nblue\nwhite\n")
        (said,) = [line for line in opened(root).remarks if "white" in line]
        assert said == (f"{root / 'classes.txt'}: no mask has 'white' (4); if masks count from 0, say `ignore: [255]`")

    def test_a_background_that_is_value_1_is_said(self, tmp_path: Path) -> None:
        split = opened(write(tmp_path, names="background\ngreen\nblue\n"))
        assert any("'background' is mask value 1, since 0 is ignored" in line for line in split.remarks)

    def test_comments_are_refused_and_blank_lines_said(self, tmp_path: Path) -> None:
        root = write(tmp_path, names="# my classes\nred\ngreen\nblue\n")
        assert "classes.txt:1: '# my classes' looks like a comment" in refused(root)
        (root / "classes.txt").write_text("red\n\ngreen\nblue\n\n")
        split = opened(root)
        assert split.labels == ["red", "green", "blue"]
        assert [line for line in split.remarks if "blank" in line] == [
            f"{root / 'classes.txt'}:2: the blank line is skipped; it is no class"
        ]

    def test_a_value_without_a_name(self, tmp_path: Path) -> None:
        line = refused(write(tmp_path, names="red\ngreen\n"))
        assert "label 3 is outside the 2 classes (allowed: 1…2; ignored: 0, 255)" in line and "of 16 masks" in line


class TestValues:
    @pytest.mark.parametrize("cached", [False, True])
    def test_255_is_ignored(self, tmp_path: Path, cached: bool) -> None:
        root = write(tmp_path / "data", {3: 255}, names="red\ngreen\n")
        label = opened(root, tmp_path / "cache" if cached else None).label(0)
        assert (label[(raw(root) == 255) | (raw(root) == 0)] == IGNORED).all() and set(np.unique(label)) == {0, 1, 255}
        (root / "classes.txt").unlink()
        assert opened(root).labels == ["class_1", "class_2"]

    def test_grey_levels_are_no_count_of_classes(self, tmp_path: Path) -> None:
        root = write(tmp_path, {1: 50, 2: 100, 3: 150})
        line = refused(root)
        assert "50, 100, 150 do not count 150 classes" in line and "classes: {50: NAME" in line
        split = opened(root, classes={50: "red", 100: "green", 150: "blue"})
        assert (split.label(0)[raw(root) == 100] == 1).all() and (split.label(0)[raw(root) == 0] == IGNORED).all()

    def test_a_stray_pixel(self, tmp_path: Path) -> None:
        root = write(tmp_path)
        path = root / "annotations/validation/02.png"
        mask = np.array(Image.open(path))
        mask[5, 5] = 200
        Image.fromarray(mask).save(path)
        assert "200 in 1 pixel of 1 mask, first 02.png" in refused(root)

    def test_a_small_gap_is_said(self, tmp_path: Path) -> None:
        split = opened(write(tmp_path, {3: 4}))
        assert split.num_classes == 4 and any("mask values 3 never occur" in line for line in split.remarks)

    def test_that_0_is_ignored_is_said_unless_told(self, tmp_path: Path) -> None:
        root = write(tmp_path, names="red\ngreen\nblue\n")
        share = np.mean([np.array(Image.open(path)) == 0 for path in root.glob("annotations/*/*.png")])
        said = f"mask value 0 is ignored, {share:.1%} of the pixels; `background: NAME` makes it a class"
        assert opened(root).remarks == (f"{root / 'classes.txt'}: {said}",)
        assert opened(root, ignore=[0, 255]).remarks == ()

    def test_ignored_values_are_left_out_of_the_order(self, tmp_path: Path) -> None:
        root = write(tmp_path)
        split = opened(root, ignore=[1, 255], classes=["grey", "green", "blue"])
        assert split.labels == ["grey", "green", "blue"]
        assert (split.label(0) == np.array([0, 255, 1, 2])[raw(root)]).all()

    def test_sixteen_bits(self, tmp_path: Path) -> None:
        root = write(tmp_path / "data")
        for path in root.glob("annotations/*/*.png"):
            Image.fromarray(np.array(Image.open(path)).astype(np.uint16) * 300).save(path)
        assert "300, 600, 900 do not count 899 classes" in refused(root)
        split = opened(root, tmp_path / "cache", classes={300: "red", 600: "green", 900: "blue"})
        assert split.labels == ["red", "green", "blue"] and (split.label(0)[raw(root) == 900] == 2).all()

    def test_more_classes_than_a_byte_holds(self, tmp_path: Path) -> None:
        root, names = write(tmp_path / "data", {1: 255, 3: 254}), [f"name {number}" for number in range(1000)]
        for path in root.glob("annotations/*/*.png"):
            Image.fromarray(np.array(Image.open(path)).astype(np.uint16) * 3).save(path)
        for cache in (None, tmp_path / "cache", tmp_path / "cache"):
            split = opened(root, cache, classes=names, ignore=[0])
            assert split.num_classes == 1000 and split.ignored == 65535 and split.label(0).dtype == np.uint16
            assert (split.label(0) == np.where(raw(root) == 0, 65535, raw(root) - 1)).all()
            assert set(np.unique(split.resized(0)[1])) == {5, 761, 764, 65535}


def with_palette(path: Path, order: list[int]) -> None:
    mask = np.argsort(order)[np.array(Image.open(path))].astype(np.uint8)
    image = Image.fromarray(mask, "P")
    image.putpalette(np.array(PALETTE).reshape(4, 3)[order].ravel().tolist())
    image.save(path)


@pytest.mark.parametrize("cached", [False, True])
def test_palettes_must_agree(tmp_path: Path, cached: bool) -> None:
    root, cache = write(tmp_path / "data"), tmp_path / "cache" if cached else None
    before = opened(root).label(0)
    for path in root.glob("annotations/*/*.png"):
        with_palette(path, [0, 1, 2, 3])
    assert (opened(root, cache).label(0) == before).all()
    with_palette(root / "annotations/validation/03.png", [0, 3, 2, 1])
    for _ in range(2):
        with pytest.raises(UserError, match=r"validation/03.png: .*colour of 1 is #283cc8, but #c82828 in 00.png"):
            opened(root, cache)


def test_masks_are_decoded_once_for_all_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root, cache = write(tmp_path / "data"), tmp_path / "cache"
    opened(root, cache)
    monkeypatch.setattr("boostformer.data.samples.read_mask", None)
    assert opened(root, cache).num_classes == 3


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"classes": {0: "a"}, "ignore": [0]}, "mask value 0 is in 'classes' and in 'ignore'"),
        ({"classes": {0: "a"}, "background": "b"}, "'background' beside 'classes' by value"),
        ({"ignore": [0], "background": "b"}, "but 'ignore' has 0"),
        ({"classes": ["a", "b", "a"]}, "names 'a' twice"),
        ({"classes": []}, "'classes' is empty"),
        ({"ignore": [65536]}, "65536 is no mask value; allowed: 0…65535"),
        ({"kind": "scenes", "root": None, "background": "b"}, "'scenes' has no 'background'"),
    ],
)
def test_settings_are_checked(settings: dict, says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        DataConfig(**{"kind": "ade20k", "root": "x"} | settings)


def test_settings_come_back_from_json() -> None:
    config = DataConfig(kind="ade20k", root="x", classes={0: "a", 7: "b"}, ignore=[3])
    assert DataConfig(**json.loads(config.model_dump_json())) == config


def test_ranges() -> None:
    assert ranges([0, 1, 2, 7, 9, 10]) == "0…2, 7, 9…10" and ranges([]) == ""


def test_a_scan_words_what_occurs(tmp_path: Path) -> None:
    samples = [MaskFile(name, tmp_path / f"{name}.jpg", tmp_path / f"{name}.png") for name in "ab"]
    scan = MaskScan(samples, np.array([0, 1, 1]), np.array([0, 0, 1]), np.array([3, 1, 2]), np.ones((2, 2), int))
    assert scan.describe(1) == "1 in 2 pixels of 1 mask, first b.png" and scan.total[:3].tolist() == [4, 2, 0]
    assert scan.and_also(scan).describe(1) == "1 in 4 pixels of 2 masks, first b.png"


def test_colours_are_values_and_strangers_are_named(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    colours = [0, 0xFFFFFF, *map(int, rng.choice(1 << 24, 20, replace=False))]
    values = rng.integers(0, len(colours), (40, 30))
    pixels = np.array([[colour >> 16, colour >> 8 & 255, colour & 255] for colour in colours], np.uint8)[values]
    np.testing.assert_array_equal(Colours(tuple(colours)).values(pixels, tmp_path), values)
    pixels[3, 7] = (1, 2, 3)
    with pytest.raises(UserError, match=r"colour #010203 \(1 pixels, first at column 7, row 3\) names no class"):
        Colours(tuple(colours)).values(pixels, tmp_path)


@pytest.mark.parametrize("cached", [False, True])
def test_the_summary_knows_the_colours_of_masks(tmp_path: Path, cached: bool) -> None:
    root, cache = write(tmp_path / "data"), tmp_path / "cache" if cached else None

    def shown(**settings: object) -> list[tuple[tuple[int, ...], tuple[str | None, ...]]]:
        for _ in range(2):
            summary = opened(root, cache, **settings).summary
        assert summary is not None
        return [(one.values, one.colours) for one in summary.classes]

    assert shown() == [((1,), (None,)), ((2,), (None,)), ((3,), (None,))]
    for path in root.glob("annotations/*/*.png"):
        with_palette(path, [0, 1, 2, 3])
    assert shown() == [((1,), ("#c82828",)), ((2,), ("#28b43c",)), ((3,), ("#283cc8",))]
    painted = {"#283cc8": "cold", "#808080": "grey", "#c82828": "warm", "#28b43c": "cold"}
    assert shown(colours=painted) == [((0, 3), ("#283cc8", "#28b43c")), ((1,), ("#808080",)), ((2,), ("#c82828",))]
