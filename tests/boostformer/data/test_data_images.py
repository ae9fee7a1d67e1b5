"""Opening image files: what is read, and what no foreign program is started for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import EpsImagePlugin, Image

from boostformer.data.images import IMAGE_FORMATS, read_image, read_mask
from boostformer.errors import UserError

PIXELS = np.full((6, 8, 3), (40, 90, 200), np.uint8)


@pytest.mark.parametrize("name", IMAGE_FORMATS)
def test_a_format_is_known_by_its_content(tmp_path: Path, name: str) -> None:
    file = tmp_path / "picture"
    Image.fromarray(PIXELS).save(file, name)
    np.testing.assert_allclose(read_image(file).astype(int), PIXELS, atol=8)


@pytest.mark.parametrize(("read", "suffix"), [(read_image, "jpg"), (read_mask, "png")])
def test_no_foreign_program_is_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, read: Callable[[Path], np.ndarray], suffix: str
) -> None:
    file = tmp_path / f"1.{suffix}"
    Image.fromarray(PIXELS).save(file, "EPS")
    started = []
    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", lambda *arguments: started.append(arguments))
    with pytest.raises(UserError, match=rf"1\.{suffix}: damaged, or not an image of a format that is read: .*PNG"):
        read(file)
    assert started == []


def test_a_mask_is_a_png(tmp_path: Path) -> None:
    file = tmp_path / "mask.png"
    Image.fromarray(PIXELS[..., 0]).save(file, "JPEG")
    with pytest.raises(UserError, match=r"mask\.png: .* format that is read: PNG$"):
        read_mask(file)
