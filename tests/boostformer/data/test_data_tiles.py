"""Windows over large images: where they lie, what is read of an image, and what is said of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from data_fixtures import ListSplit
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from pydantic import ValidationError

from boostformer.data import DataConfig, open_split
from boostformer.data.tiles import cut, tiled, window_starts


@given(st.integers(1, 3000), st.integers(8, 40), st.floats(0, 0.89), st.sampled_from([1, 4, 8]))
def test_windows_cover_a_side_evenly(length: int, cells: int, overlap: float, grid: int) -> None:
    window = cells * grid
    starts = window_starts(length, window, overlap, grid)
    steps = np.diff(starts)
    assert starts[0] == 0 and all(start % grid == 0 for start in starts)
    assert len(starts) == 1 or 0 <= starts[-1] + window - length < grid, "the last one ends at the border"
    assert len(starts) > 1 or length <= window
    assert all(0 < step <= max(grid, (1 - overlap) * window) for step in steps)
    assert steps.size == 0 or steps.max() - steps.min() <= grid
    room = starts[-1]
    assert len(starts) == 1 or (len(starts) - 2) * max(1, int((1 - overlap) * cells)) * grid < room, "not one too many"


def test_a_window_that_sticks_out_is_padded() -> None:
    image = np.arange(1, 61, dtype=np.uint8).reshape(4, 5, 3)
    window = cut(image, (2, 3), (4, 4))
    np.testing.assert_array_equal(window[:2, :2], image[2:, 3:])
    assert window.sum() == image[2:, 3:].sum() and window.shape == (4, 4, 3)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"fit": "tile", "size": "100x64"}, "multiples of 32 pixels, such as 96x64"),
        ({"fit": "tile", "size": "64x64", "overlap": 0.9}, "less than 0.9"),
        ({"fit": "tile", "size": "64x64", "overlap": -0.1}, "greater than or equal to 0"),
        ({"fit": "short_side", "size": "64x64", "overlap": 0.5}, "'fit: tile'|`fit: tile`"),
    ],
)
def test_refused(settings: dict[str, object], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        DataConfig(**settings)


def write_large(root: Path, shapes: list[tuple[int, int]]) -> Path:
    """Random images of these shapes, whose left half is class 1 and right half 2."""
    rng = np.random.default_rng(0)
    for part in ("training", "validation"):
        for kind in ("images", "annotations"):
            (root / kind / part).mkdir(parents=True)
        for number, (height, width) in enumerate(shapes):
            mask = np.where(np.arange(width) < width // 2, 1, 2).astype(np.uint8)[None].repeat(height, 0)
            pixels = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / "images" / part / f"{number}.png")
            Image.fromarray(mask).save(root / "annotations" / part / f"{number}.png")
    return root


def test_images_stay_as_they_are_and_labels_are_kept_once(tmp_path: Path) -> None:
    shapes = [(150, 203), (20, 40)]
    data = DataConfig(root=write_large(tmp_path / "data", shapes), size="64x96", fit="tile", overlap=0.5)
    plain, cached = open_split(data, "validation"), open_split(data, "validation", tmp_path / "cache")
    assert plain.overlap == cached.overlap == 0.5
    for index, shape in enumerate(shapes):
        for split in (plain, cached):
            image, label = split.resized(index)
            assert image.shape == (*shape, 3) and label.shape == shape
            np.testing.assert_array_equal(image, plain.image(index))
            np.testing.assert_array_equal(label, split.label(index))
    kept = {path.name for path in tmp_path.glob("cache/*/*.bytes")}
    assert "labels.bytes" in kept and "originals.bytes" not in kept


def test_the_number_of_windows_is_said() -> None:
    def split(fit: str, *shapes: tuple[int, int]) -> ListSplit:
        labels = [np.zeros(shape, np.uint8) for shape in shapes]
        found = ListSplit(labels, labels, 2, (64, 64))
        found.fit = fit
        return found

    assert tiled(split("exact", (640, 640))) is None
    # Strides of 48: 160 = 64 + 2 x 48, and 161 takes one more.
    assert "takes 9 window(s) of 64x64;" in str(tiled(split("tile", (160, 160))))
    assert "takes 9 window(s) of 64x64 (1 to 12);" in str(tiled(split("tile", (160, 161), (160, 160), (10, 64))))
