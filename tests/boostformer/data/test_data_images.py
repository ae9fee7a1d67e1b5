"""Opening image files: what is read, and what no foreign program is started for."""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import EpsImagePlugin, Image

from boostformer.data import DataConfig, open_split
from boostformer.data.images import IMAGE_FORMATS, IMAGE_SUFFIXES, image_size, read_image, read_mask, stamp
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


ORIENTATION = 0x112
SCENE = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)
STORED = {3: Image.Transpose.ROTATE_180, 6: Image.Transpose.ROTATE_90, 8: Image.Transpose.ROTATE_270}
"""What a camera that is held so keeps of an upright scene."""


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize(("name", "options"), [("PNG", {}), ("TIFF", {}), ("TIFF", {"compression": "tiff_lzw"})])
def test_images_stand_as_exif_says(tmp_path: Path, orientation: int, name: str, options: dict) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    Image.fromarray(SCENE).transpose(STORED[orientation]).save(tmp_path / "photo", name, exif=exif, **options)
    np.testing.assert_array_equal(read_image(tmp_path / "photo"), SCENE)


def test_malformed_exif_turns_nothing(tmp_path: Path) -> None:
    Image.fromarray(SCENE).save(tmp_path / "photo.png", exif=b"Exif\0\0 no header")
    np.testing.assert_array_equal(read_image(tmp_path / "photo.png"), SCENE)


@pytest.mark.parametrize("suffix", ["png", "tif", "pgm"])
def test_grey_of_16_bits_is_scaled_and_said_once(tmp_path: Path, suffix: str, caplog: pytest.LogCaptureFixture) -> None:
    wide = np.array([[0, 128, 129, 257, 25700, 65535]], np.uint16)
    for number in range(2):
        Image.fromarray(wide).save(tmp_path / f"{number}.{suffix}")
        assert read_image(tmp_path / f"{number}.{suffix}")[0].tolist() == [[v] * 3 for v in (0, 0, 1, 1, 100, 255)]
    assert [line.getMessage() for line in caplog.records] == [
        f"{tmp_path}: grey levels of 16 bits, 0…65535, are scaled to 0…255"
    ]


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_alpha_is_never_dropped(tmp_path: Path, mode: str) -> None:
    image = Image.fromarray(SCENE).convert("L" if mode == "LA" else "RGB").convert(mode)
    grey = np.array(image.convert("RGB"))
    file = tmp_path / "picture"
    image.save(file, "PNG")
    np.testing.assert_array_equal(read_image(file), grey)
    image.putalpha(Image.fromarray(np.where(np.arange(48).reshape(6, 8) == 5, 254, 255).astype(np.uint8)))
    image.save(file, "PNG")
    with pytest.raises(UserError, match=r"transparent pixels, or a fourth band .* save it as RGB"):
        read_image(file)


def test_transparency_by_colour_is_refused_where_it_occurs(tmp_path: Path) -> None:
    for transparent, file in (((1, 2, 3), tmp_path / "unused.png"), (tuple(SCENE[0, 0]), tmp_path / "used.png")):
        Image.fromarray(SCENE).save(file, transparency=tuple(map(int, transparent)))
    np.testing.assert_array_equal(read_image(tmp_path / "unused.png"), SCENE)
    with pytest.raises(UserError, match=r"used\.png: has transparent pixels"):
        read_image(tmp_path / "used.png")


def test_what_has_no_known_range_or_several_images_is_refused(tmp_path: Path) -> None:
    for dtype, mode in ((np.float32, "F"), (np.int32, "I")):
        Image.fromarray(np.ones((4, 4), dtype)).save(tmp_path / "wide.tif")
        with pytest.raises(UserError, match=rf"wide\.tif: pixels of mode '{mode}' have no known range"):
            read_image(tmp_path / "wide.tif")
    pages = [Image.fromarray(SCENE), Image.fromarray(SCENE[::-1])]
    pages[0].save(tmp_path / "pages.tif", save_all=True, append_images=pages[1:])
    with pytest.raises(UserError, match=r"pages\.tif: holds 2 images"):
        read_image(tmp_path / "pages.tif")


def test_a_fourth_band_of_a_tiff_is_refused(tmp_path: Path) -> None:
    image = Image.fromarray(np.dstack([SCENE, SCENE[..., 0]]), "RGBA")
    extra_samples, unspecified = 338, 0
    image.save(tmp_path / "bands.tif")
    entry = struct.pack("<HHL", extra_samples, 3, 1)  # tag, type, count; its value follows
    assert (content := (tmp_path / "bands.tif").read_bytes()).count(entry) == 1
    at = content.index(entry) + len(entry)
    (tmp_path / "bands.tif").write_bytes(content[:at] + struct.pack("<H", unspecified) + content[at + 2 :])
    with pytest.raises(UserError, match=r"bands\.tif: has 4 bands, of which 3 would be read"):
        read_image(tmp_path / "bands.tif")


def test_what_cannot_be_opened_is_said_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "link.png").symlink_to("gone.png")
    (tmp_path / "folder.png").mkdir()
    for read in (read_image, read_mask):
        with pytest.raises(UserError, match=r"link\.png: a link to gone\.png, which is missing$"):
            read(tmp_path / "link.png")
        with pytest.raises(UserError, match=r"folder\.png: a folder, not a file$"):
            read(tmp_path / "folder.png")
    with pytest.raises(UserError, match=r"link\.png: a link to gone\.png, which is missing$"):
        stamp(tmp_path / "link.png")

    Image.fromarray(SCENE).save(tmp_path / "large.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 20)
    with pytest.raises(UserError, match=r"large\.png: has more pixels than the 64 million that are read"):
        read_image(tmp_path / "large.png")


def head_of_png(file: Path, side: int) -> Path:
    """Write the head of a PNG of ``side`` x ``side`` pixels, with none of them."""
    head = b"IHDR" + struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    body = struct.pack(">I", 13) + head + struct.pack(">I", zlib.crc32(head))
    file.write_bytes(b"\x89PNG\r\n\x1a\n" + body + struct.pack(">I", 0) + b"IDAT" + struct.pack(">I", 0x35AF061E))
    return file


@pytest.mark.parametrize("side", [8_001, 9_400, 13_300, 100_000])
@pytest.mark.parametrize("read", [read_image, read_mask, image_size])
def test_an_image_is_too_large_before_it_is_decoded(tmp_path: Path, side: int, read: Callable[[Path], object]) -> None:
    with pytest.raises(UserError, match=r"large\.png: has .*pixels.* the 64 million that are read"):
        read(head_of_png(tmp_path / "large.png", side))


def test_an_array_may_be_too_large_too(tmp_path: Path) -> None:
    with (tmp_path / "large.npy").open("wb") as stream:
        head = {"descr": "|u1", "fortran_order": False, "shape": (9_000, 9_000, 3)}
        np.lib.format.write_array_header_1_0(stream, head)
        stream.truncate(stream.tell() + 9_000 * 9_000 * 3)
    with pytest.raises(UserError, match=r"large\.npy: has 9000x9000 pixels"):
        read_image(tmp_path / "large.npy")


@pytest.mark.parametrize("suffix", ["png", "npy", "tif"])
def test_what_has_no_end_or_never_answers_is_not_opened(tmp_path: Path, suffix: str) -> None:
    (tmp_path / f"zero.{suffix}").symlink_to("/dev/zero")
    os.mkfifo(tmp_path / f"pipe.{suffix}")
    for name in ("zero", "pipe"):
        with pytest.raises(UserError, match=rf"{name}\.{suffix}: a pipe, device or socket"):
            read_image(tmp_path / f"{name}.{suffix}")


def test_no_permission_is_not_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object, **options: object) -> None:
        raise PermissionError(13, "Permission denied")

    (tmp_path / "secret.png").touch()
    monkeypatch.setattr(Image, "open", refuse)  # as root nothing else refuses
    with pytest.raises(UserError, match=r"secret\.png: no permission to read it$"):
        read_image(tmp_path / "secret.png")


def write_set(root: Path, suffix: str, exif: Image.Exif) -> Path:
    """Write one upright mask of 6x8 to a stored image in each split."""
    stored = Image.fromarray(SCENE).transpose(STORED[exif[ORIENTATION]]) if ORIENTATION in exif else SCENE
    for split in ("training", "validation"):
        for kind in ("images", "annotations"):
            (root / kind / split).mkdir(parents=True)
        Image.fromarray(np.asarray(stored)).save(root / "images" / split / f"0{suffix}", exif=exif)
        Image.fromarray(np.repeat(np.uint8([[1, 2]]), [2, 6], axis=1).repeat(6, axis=0)).save(
            root / "annotations" / split / "0.png"
        )
    return root


@pytest.mark.parametrize("cached", [False, True])
def test_a_turned_image_lies_on_its_mask(tmp_path: Path, cached: bool) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    root = write_set(tmp_path / "data", ".png", exif)
    config = DataConfig(kind="ade20k", root=root, size=(32, 32), fit="short_side")
    split = open_split(config, "validation", tmp_path / "cache" if cached else None)
    np.testing.assert_array_equal(split.image(0), SCENE)
    assert split.resized(0)[0].shape == (32, 43, 3)


@pytest.mark.parametrize("suffix", sorted(IMAGE_SUFFIXES))
def test_a_data_set_has_images_of_every_suffix(tmp_path: Path, suffix: str) -> None:
    root = write_set(tmp_path, suffix, Image.Exif())
    split = open_split(DataConfig(kind="ade20k", root=root, size=(32, 32)), "training")
    assert [split.name(index) for index in range(len(split))] == ["0"] and split.image(0).shape == (6, 8, 3)


def test_broken_links_and_closed_folders_of_a_data_set_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = write_set(tmp_path / "data", ".png", Image.Exif())
    config = DataConfig(kind="ade20k", root=root, size=(32, 32))
    (root / "images" / "training" / "0.png").unlink()
    (root / "images" / "training" / "0.png").symlink_to("moved.png")
    with pytest.raises(UserError, match=r"training/0\.png: a link to moved\.png, which is missing$"):
        open_split(config, "training", tmp_path / "cache")

    def refuse(folder: Path) -> None:
        raise PermissionError(13, "Permission denied", str(folder))

    monkeypatch.setattr(Path, "iterdir", refuse)  # as root nothing else refuses
    with pytest.raises(UserError, match=r"data/images: no permission to read it$"):
        open_split(config, "training")
