"""A size that changes the images' proportions is said in a line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from coloured_data import write_coloured
from data_fixtures import ListSplit

from boostformer.data import DataConfig, open_split
from boostformer.data.aspect import stretched


def of(size: str, cache: Path, **changes: str) -> str | None:
    """What is said of images of 96 x 64 pixels (width x height)."""
    if not (cache.parent / "data").exists():
        write_coloured(cache.parent / "data", training=1, validation=3)
    data = DataConfig(kind="ade20k", root=cache.parent / "data", size=size, **changes)
    return stretched(open_split(data, "validation", cache))


def test_height_and_width_that_are_mistaken_are_said(tmp_path: Path) -> None:
    begins = "size 96x64 (height x width) changes the images' proportions by a factor of 2.25; "
    assert of("96x64", tmp_path / "cache") == begins + "did you mean 64x96?"


@pytest.mark.parametrize("size", ["64x96", "128x192", "64x75", "64x124"])
def test_up_to_a_factor_of_1_3_nothing_is_said(tmp_path: Path, size: str) -> None:
    assert of(size, tmp_path / "cache") is None


@pytest.mark.parametrize(("size", "factor"), [("64x73", "1.32"), ("64x126", "1.31"), ("64x64", "1.50")])
def test_beyond_it_is(tmp_path: Path, size: str, factor: str) -> None:
    said = of(size, tmp_path / "cache")
    assert said is not None and f"by a factor of {factor}" in said and "did you mean" not in said


def test_whole_images_and_scenes_are_never_stretched(tmp_path: Path) -> None:
    assert of("96x64", tmp_path / "cache", fit="short_side") is None
    assert stretched(open_split(DataConfig(size="128x32"), "validation")) is None


def test_most_images_decide() -> None:
    shapes = [(64, 96)] * 5 + [(96, 64)] * 4
    images = [np.zeros((*shape, 3), np.uint8) for shape in shapes]
    split = ListSplit(images, [image[..., 0] for image in images], 2, (64, 96))
    assert stretched(split) is None
    split.size = (96, 64)
    assert "did you mean 64x96?" in str(stretched(split))
