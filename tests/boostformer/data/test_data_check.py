"""A check of a whole data set: all faults in one go, its numbers, duplicates, advice, and the contact sheet."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import tifffile
from coloured_data import write_coloured
from PIL import Image

from boostformer.data import DataConfig, open_split
from boostformer.data.advice import best_size, flip_advice, size_advice
from boostformer.data.bands import ImageReading
from boostformer.data.check import Report, check
from boostformer.data.config import SceneCounts
from boostformer.data.contact_sheet import MOST_SAMPLES, chosen_samples, draw_contact_sheet
from boostformer.data.faults import REMEDY, Fault, collecting_faults, refuse
from boostformer.data.samples import MaskFile
from boostformer.errors import UserError
from boostformer.overlay import font


def checked(root: Path, cache: Path | None = None, **settings: object) -> Report:
    return check(DataConfig(root=root, **settings), cache)  # type: ignore[arg-type]


@pytest.fixture
def faulty(tmp_path: Path) -> Path:
    """Write a data set with six different faults in eight files."""
    root = write_coloured(tmp_path / "data")
    images, masks = root / "images/training", root / "annotations/training"
    whole = (images / "00.png").read_bytes()
    (images / "00.png").write_bytes(whole[: len(whole) // 2])
    (images / "01.png").write_text("no image at all")
    (masks / "02.png").write_bytes(b"")
    Image.fromarray(np.ones((32, 48), np.uint8)).save(masks / "03.png")
    for number in ("04", "05"):
        values = np.array(Image.open(masks / f"{number}.png"))
        values[0, :5] = 9
        Image.fromarray(values).save(masks / f"{number}.png")
    (masks / "06.png").unlink()
    (root / "images/validation/00.png").unlink()
    return root


class TestFaults:
    @pytest.mark.parametrize("cached", [True, False])
    def test_all_are_found_at_once(self, faulty: Path, tmp_path: Path, cached: bool) -> None:
        cache = tmp_path / "cache" if cached else None
        for _ in range(2):
            report = checked(faulty, cache)
            found = {Path(one.file).relative_to(faulty).as_posix(): one for one in report.faults}
            assert len(found) == len(report.faults) == 8
            expected = {
                "images/training/00.png": "truncated",
                "images/training/01.png": "damaged",
                "annotations/training/02.png": "damaged",
                "annotations/training/03.png": "the mask is 48x32",
                "annotations/training/04.png": "label 9 is outside the 3 classes",
                "annotations/training/05.png": "label 9 is outside the 3 classes",
                "images/training/06.png": "the image has no mask",
                "annotations/validation/00.png": "the mask has no image",
            }
            assert found.keys() == expected.keys()
            assert all(said in found[name].fault and found[name].remedy for name, said in expected.items())
        assert sum(len(some) for some in report.samples.values()) == 12 + 4 - 2 - 4  # a strange value can be drawn

    def test_an_opening_names_the_first_and_how_many_more_there_are(self, faulty: Path) -> None:
        for number in ("07", "08"):
            (faulty / f"annotations/training/{number}.png").unlink()
        with pytest.raises(UserError, match=r"06.png: the image has no mask .*\(and 2 more: `boostformer data check`"):
            open_split(DataConfig(root=faulty), "training")

    def test_what_is_mended_is_found_no_more(self, faulty: Path, tmp_path: Path) -> None:
        checked(faulty, tmp_path / "cache")
        for part in ("images", "annotations"):
            shutil.rmtree(faulty / part)
        shutil.copytree(write_coloured(tmp_path / "whole"), faulty, dirs_exist_ok=True)
        for _ in range(2):
            assert checked(faulty, tmp_path / "cache").faults == []

    def test_a_cache_that_cannot_be_used_is_no_fault_of_the_data(self, tmp_path: Path) -> None:
        (tmp_path / "cache").write_text("")
        with pytest.raises(UserError, match="the cache folder cannot be used"):
            checked(write_coloured(tmp_path / "data"), tmp_path / "cache")

    def test_a_folder_that_cannot_be_listed_is_one_fault(self, tmp_path: Path) -> None:
        report = checked(tmp_path)
        assert [one.file for one in report.faults] == [str(tmp_path)] and report.summary is None
        assert report.to_dict().keys() == checked(write_coloured(tmp_path / "data")).to_dict().keys()

    def test_values_without_a_meaning_leave_the_rest_of_the_report(self, tmp_path: Path) -> None:
        root = write_coloured(tmp_path / "data", names=None)
        Image.fromarray(np.full((64, 96), 200, np.uint8)).save(root / "annotations/training/03.png")
        report = checked(root)
        assert len(report.faults) == 1 and "do not count" in report.faults[0].fault
        assert report.meaning is None and report.to_dict()["sizes"]["distinct"] == 1

    def test_missing_files_of_a_list(self, tmp_path: Path) -> None:
        root = write_coloured(tmp_path / "data")
        lines = [f"images/training/{n:02d}.png annotations/training/{n:02d}.png" for n in (0, 40, 1, 41)]
        (root / "list.txt").write_text("\n".join([*lines, "a b c"]))
        settings = {"kind": "patterns", "lists": {"training": "list.txt"}}
        report = checked(root, **settings)
        assert {one.file for one in report.faults} == {f"{root / 'list.txt'}:{line}" for line in (2, 4, 5)}
        assert report.summary is not None and report.summary.images == {"training": 2}

    def test_all_masks_with_other_palettes(self, tmp_path: Path) -> None:
        root = write_coloured(tmp_path / "data")
        for number in range(12):
            image = Image.open(root / f"annotations/training/{number:02d}.png").convert("P")
            image.putpalette([0, 0, 0, *([number % 3 * 100] * 9)])
            image.save(root / f"annotations/training/{number:02d}.png")
        assert len(checked(root).faults) == 8

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            (
                "/a/b.png: is bad (such as: 1; 2); mend it; now",
                Fault("/a/b.png", "is bad (such as: 1; 2)", "mend it; now"),
            ),
            ("/a/b.png: is bad", Fault("/a/b.png", "is bad", REMEDY)),
            ("anything", Fault("/a/m.png", "anything", REMEDY)),
        ],
    )
    def test_errors_are_taken_apart(self, text: str, expected: Fault) -> None:
        assert Fault.of(UserError(text), Path("/a/b.png"), Path("/a/m.png")) == expected

    def test_collecting_ends_with_its_block(self) -> None:
        with collecting_faults() as faults:
            refuse([Fault("a", "b"), Fault("c", "d")])
        assert [one.file for one in faults] == ["a", "c"]
        with pytest.raises(UserError, match=r"^a: b; "):
            refuse([Fault("a", "b")])
        refuse([])


class TestNumbers:
    def test_shares_add_up(self, tmp_path: Path) -> None:
        root = write_coloured(tmp_path / "data")
        values = [np.array(Image.open(path)) for path in sorted((root / "annotations/training").iterdir())]
        found = checked(root).to_dict()
        assert found["images"] == {"training": 12, "validation": 4} and found["bands"] == {"RGB": 16}
        sizes = {"smallest": [64, 96], "median": [64, 96], "largest": [64, 96], "distinct": 1}
        assert found["sizes"] == sizes
        red = found["classes"][0]
        assert red["class"] == "red" and red["values"] == [1] and red["images"] == {"training": 1, "validation": 1}
        assert red["pixels"]["training"] == pytest.approx(np.mean([value == 1 for value in values]))
        assert sum(one["share"] for one in found["classes"]) + found["ignored"] == pytest.approx(1)
        json.dumps(found)

    def test_classes_that_never_or_nowhere_else_occur(self, tmp_path: Path) -> None:
        root = write_coloured(tmp_path / "data", names=("red", "green", "blue", "white"))
        for path in (root / "annotations/validation").iterdir():
            values = np.array(Image.open(path))
            values[values == 3] = 0
            Image.fromarray(values).save(path)
        report = checked(root)
        assert report.never == ["white"] and report.alone == {"blue": "training"} and report.faults == []
        assert any("only training images have 'blue'" in line for line in report.advice)

    def test_values_of_one_class_are_counted_together(self, tmp_path: Path) -> None:
        root = write_coloured(tmp_path / "data")
        found = checked(root, classes={1: "warm", 2: "cold", 3: "cold"}).to_dict()["classes"]
        assert [one["values"] for one in found] == [[1], [2, 3]]
        assert found[1]["images"] == {"training": 1, "validation": 1}

    def test_bands_as_they_are_stored(self, tmp_path: Path) -> None:
        root = write_coloured(tmp_path / "data")
        path = root / "images/training/00.png"
        Image.open(path).convert("L").save(path)
        assert checked(root).forms == {"RGB": 15, "grey": 1}

    def test_the_test_part_is_checked(self, tmp_path: Path) -> None:
        root = write_coloured(tmp_path / "data")
        for kind in ("images", "annotations"):
            shutil.copytree(root / kind / "validation", root / kind / "test")
        Image.fromarray(np.full((64, 96), 7, np.uint8)).save(root / "annotations/test/01.png")
        report = checked(root)
        assert [Path(one.file).parent.name for one in report.faults] == ["test"]
        assert len(report.duplicates) == 4 and all(one.splits == ("validation", "test") for one in report.duplicates)

    def test_duplicates(self, tmp_path: Path) -> None:
        root = write_coloured(tmp_path / "data")
        folder = root / "images/training"
        Image.open(folder / "00.png").save(root / "images/validation/02.png", compress_level=0)  # another file
        shutil.copy(folder / "03.png", folder / "05.png")
        found = checked(root).to_dict()["duplicates"]
        assert found["between_splits"] == [
            {"files": ("images/training/00.png", "images/validation/02.png"), "splits": ("training", "validation")}
        ]
        assert found["within_a_split"] == [
            {"files": ("images/training/03.png", "images/training/05.png"), "splits": ("training", "training")}
        ]
        assert any("several splits" in line for line in checked(root).advice)


class TestAdvice:
    @pytest.mark.parametrize(
        ("shapes", "expected"),
        [
            ([(360, 480)], (288, 384)),
            ([(1024, 2048), (512, 1024)], (512, 1024)),
            ([(100, 100), (100, 400)], None),
            ([(20, 20)], None),
        ],
    )
    def test_a_size(self, shapes: list[tuple[int, int]], expected: tuple[int, int] | None) -> None:
        assert best_size(np.array(shapes)) == expected

    def test_a_size_that_enlarges(self) -> None:
        shapes = np.array([(64, 96), (640, 960)])
        assert any("enlarges 1 of 2 images" in line for line in size_advice(shapes, (128, 192), "exact"))
        assert not any("enlarges 1" in line for line in size_advice(shapes, None, "exact"))
        assert any("100 is no multiple" in line for line in size_advice(shapes, (100, 64), "short_side"))
        assert any("short_side" in line for line in size_advice(np.array([(64, 640), (640, 64)]), None, "exact"))

    def test_sides(self) -> None:
        assert "'Left lane'" in flip_advice(["road", "Left lane"])[0] and flip_advice(["road", "copyright"]) == []

    def test_rare_classes(self, tmp_path: Path) -> None:
        root = write_coloured(tmp_path / "data")
        assert not any("times the pixels" in line for line in checked(root).advice)
        for path in root.glob("annotations/*/*.png"):
            values = np.array(Image.open(path))
            values[values == 2] = 0
            values[0, 0] = 2
            Image.fromarray(values).save(path)
        assert any("times the pixels of 'green'" in line for line in checked(root).advice)


class TestSummary:
    def test_an_opened_split_has_it(self, tmp_path: Path) -> None:
        root = write_coloured(tmp_path / "data")
        for cache in (None, tmp_path / "cache"):
            summary = open_split(DataConfig(root=root), "training", cache).summary
            assert summary is not None
            first, second, third = summary.lines()
            assert "12 + 4 images of 96x64, 3 classes" in first and "ignored " in second and "data check" in third
            assert summary.to_dict() == summary.to_dict() | {"images": {"training": 12, "validation": 4}}

    def test_scenes_have_one_without_shares(self) -> None:
        config = DataConfig(scenes=SceneCounts(training=5, validation=2))
        summary = open_split(config, "validation").summary
        assert summary is not None and len(summary.lines()) == 1
        assert "5 + 2 images of 128x96, 8 classes" in summary.lines()[0]
        assert summary.to_dict()["ignored"] is None


class TestContactSheet:
    def test_samples_are_spread_evenly(self) -> None:
        def some(count: int) -> list[MaskFile]:
            return [MaskFile(str(n), Path(f"{n}.png"), Path(f"{n}.png")) for n in range(count)]

        chosen = list(chosen_samples({"training": some(100), "validation": some(3), "test": []}))
        assert len(chosen) == MOST_SAMPLES and [split for split, _ in chosen].count("validation") == 3
        numbers = [int(sample.name) for split, sample in chosen if split == "training"]
        assert len(set(numbers)) == 21 and max(numbers) > 90

    def test_it_shows_classes_and_ignored_pixels(self, tmp_path: Path) -> None:
        report = checked(write_coloured(tmp_path / "data"))
        assert report.meaning is not None
        file = tmp_path / "new" / "sheet.png"
        assert draw_contact_sheet(report.samples, report.meaning, file) == 16
        with Image.open(file) as sheet:
            sheet.load()
            assert sheet.format == "PNG" and 1000 < sheet.width <= 2400 and sheet.height > 4 * 192
            cell = np.array(sheet)[6 + 18 : 6 + 18 + 192, 6 : 6 + 288].astype(int)
            overlay = np.array(sheet)[6 + 18 : 6 + 18 + 192, 6 + 290 : 6 + 578].astype(int)
        with Image.open(tmp_path / "data/annotations/training/00.png") as mask:
            labels = np.array(mask.resize((288, 192), Image.Resampling.NEAREST))
        assert overlay[labels == 0].mean() < 0.5 * cell[labels == 0].mean()  # dark stripes
        colours = [overlay[labels == value].mean(axis=0) for value in (1, 2, 3)]
        assert all(np.abs(one - other).max() > 30 for one, other in zip(colours, colours[1:], strict=False))

    def test_nothing_to_draw(self, tmp_path: Path) -> None:
        report = checked(write_coloured(tmp_path / "data"))
        assert report.meaning is not None
        with pytest.raises(UserError, match="nothing to draw"):
            draw_contact_sheet({"training": []}, report.meaning, tmp_path / "sheet.png")


@pytest.mark.slow
def test_real_images_are_without_faults(shared: Path, tmp_path: Path) -> None:
    report = checked(shared / "camvid", tmp_path)
    assert report.faults == [] and report.summary is not None and sum(report.summary.images.values()) == 468


@pytest.mark.parametrize("bands", [4, 6])
def test_images_are_read_with_the_bands_that_are_asked_for(tmp_path: Path, bands: int) -> None:
    root, rng = write_coloured(tmp_path / "data"), np.random.default_rng(0)
    for image in sorted(root.glob("images/*/*.png")):
        pixels = rng.integers(0, 255, (*Image.open(image).size[::-1], bands)).astype(np.uint8)
        if bands == 4:
            Image.fromarray(pixels).save(image)
        else:
            image.unlink()
            tifffile.imwrite(image.with_suffix(".tif"), pixels, photometric="minisblack", planarconfig="contig")
    report = checked(root, tmp_path / "cache", bands=bands)
    assert not report.faults and report.forms == {"RGBA" if bands == 4 else "6 bands": 16}
    assert report.meaning is not None
    sheet = tmp_path / "sheet.png"
    assert draw_contact_sheet(report.samples, report.meaning, sheet, ImageReading(bands)) == 16
    assert len(checked(root, tmp_path / "cache").faults) == 16  # what was read with these bands is no RGB


def test_pictures_have_letters_beyond_ascii() -> None:
    unknown = np.asarray(font(13).getmask("\uffff"))
    assert all(np.asarray(font(13).getmask(letter)).tobytes() != unknown.tobytes() for letter in "äéßżД")
