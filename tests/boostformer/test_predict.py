"""Pictures of what a network predicts: they lie on the photo as a person sees it."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from boostformer import BoostFormer, build, presets
from boostformer.data import DataConfig, SceneCounts, open_split
from boostformer.errors import UserError
from boostformer.overlay import OPACITY, palette
from boostformer.predict import label_map, predict_array, predict_file, samples_picture, write_legend

ORIENTATION = 0x112


@pytest.fixture(scope="module")
def model() -> BoostFormer:
    torch.manual_seed(0)
    return build(presets.load("boostformer_b0", classes=3, size=(32, 64))).eval()


def test_an_overlay_lies_on_a_turned_photo(tmp_path: Path, model: BoostFormer) -> None:
    photo = np.random.default_rng(0).integers(0, 256, (150, 80, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    Image.fromarray(photo).transpose(Image.Transpose.ROTATE_90).save(tmp_path / "photo.png", exif=exif)
    labels, overlay = predict_file(model, tmp_path / "photo.png", tmp_path / "out" / "photo", (32, 64))
    predicted = np.array(Image.open(labels)) - 1
    assert predicted.shape == photo.shape[:2]
    np.testing.assert_array_equal(np.array(Image.open(labels).convert("RGB")), palette(3)[predicted])
    expected = photo * (1 - OPACITY) + palette(3)[predicted] * OPACITY
    np.testing.assert_array_equal(np.array(Image.open(overlay)), expected.astype(np.uint8))


def test_only_what_is_asked_for_is_drawn(tmp_path: Path, model: BoostFormer) -> None:
    Image.new("RGB", (64, 32)).save(tmp_path / "photo.png")
    assert predict_file(model, tmp_path / "photo.png", tmp_path / "out" / "a", (32, 64), kinds=["labels"]) == [
        tmp_path / "out" / "a.labels.png"
    ]
    assert [file.name for file in (tmp_path / "out").iterdir()] == ["a.labels.png"]


def test_a_legend_has_the_colours_of_all_classes(tmp_path: Path, model: BoostFormer) -> None:
    found = {tuple(colour) for colour in np.array(Image.open(write_legend(model, tmp_path / "out"))).reshape(-1, 3)}
    assert {tuple(colour) for colour in palette(3)} <= found


def test_more_classes_than_colours_are_a_map_of_16_bits() -> None:
    numbers = np.arange(300, dtype=np.uint16).reshape(15, 20)
    np.testing.assert_array_equal(np.array(label_map(numbers, 300)), numbers + 1)


def test_a_folder_is_no_photo(tmp_path: Path, model: BoostFormer) -> None:
    with pytest.raises(UserError, match="a folder, not a file$"):
        predict_file(model, tmp_path, tmp_path / "out", (32, 64))


def test_samples_are_spread_over_the_images_with_one_legend() -> None:
    torch.manual_seed(0)
    split = open_split(DataConfig(size=(32, 64), scenes=SceneCounts(training=1, validation=9)), "validation")
    model = build(presets.load("boostformer_b0", classes=len(split.labels), size=(32, 64))).train()
    sheet = np.array(Image.open(io.BytesIO(samples_picture(model, split, most=3))).convert("RGB"))
    assert model.training, "as it was before"
    rows = [slice(row * (64 + 4), row * (64 + 4) + 64) for row in range(3)]  # twice as large, beneath each other
    for row, index in zip(rows, (0, 3, 6), strict=True):
        np.testing.assert_array_equal(sheet[row, :128], split.image(index).repeat(2, axis=0).repeat(2, axis=1))
        seen = predict_array(model.eval(), split.image(index), (32, 64)).repeat(2, axis=0).repeat(2, axis=1)
        mixed = split.image(index).repeat(2, axis=0).repeat(2, axis=1) * (1 - OPACITY)
        expected = (mixed + palette(len(split.labels))[seen] * OPACITY).astype(np.uint8)
        np.testing.assert_array_equal(sheet[row, 2 * 132 : 2 * 132 + 128], expected)
        model.train()
    assert sheet.shape[1] > 3 * 132 + 50, "the legend stands to the right"
