"""Pictures of what a network predicts: they lie on the photo as a person sees it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from boostformer import BoostFormer, build, presets
from boostformer.errors import UserError
from boostformer.overlays import OPACITY, palette
from boostformer.predict import predict_file

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
    labels, overlay = predict_file(model, tmp_path / "photo.png", tmp_path / "out", (32, 64))
    predicted = np.array(Image.open(labels)) - 1
    assert predicted.shape == photo.shape[:2]
    expected = photo * (1 - OPACITY) + palette(3)[predicted] * OPACITY
    np.testing.assert_array_equal(np.array(Image.open(overlay))[:150, :80], expected.astype(np.uint8))


def test_a_folder_is_no_photo(tmp_path: Path, model: BoostFormer) -> None:
    with pytest.raises(UserError, match="a folder, not a file$"):
        predict_file(model, tmp_path, tmp_path / "out", (32, 64))
