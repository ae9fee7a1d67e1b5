"""Images of other bands than RGB: what is read of a file, and how it is resized, varied and normalised."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
import torch
from data_fixtures import ListSplit
from PIL import Image
from pydantic import ValidationError

from boostformer.data import DataConfig
from boostformer.data.augment import SegmentationAugmentation
from boostformer.data.bands import RGB, ImageReading
from boostformer.data.images import image_size, read_image
from boostformer.data.normalise import IMAGENET, Normalisation, normalisation_for, normalise
from boostformer.data.split import resize_image
from boostformer.errors import UserError

RNG = np.random.default_rng(0)
SCENE = RNG.integers(0, 256, (6, 8, 7), dtype=np.uint8)
DEEP = RNG.integers(0, 65536, (6, 8, 7), dtype=np.uint16)
SCALED = ((DEEP.astype(np.uint32) + 128) // 257).astype(np.uint8)


def planar(path: Path, array: np.ndarray) -> None:
    tifffile.imwrite(path, np.moveaxis(array, 2, 0), photometric="minisblack", planarconfig="separate")


def chunky(path: Path, array: np.ndarray) -> None:
    tifffile.imwrite(
        path,
        array,
        photometric="minisblack",
        planarconfig="contig",
        compression="zlib",
        predictor=array.dtype.kind == "u",
    )


def pillow(path: Path, array: np.ndarray) -> None:
    Image.fromarray(array[..., 0] if array.shape[2] == 1 else array).save(path)


def opencv(path: Path, array: np.ndarray) -> None:
    order = {1: [0], 3: [2, 1, 0], 4: [2, 1, 0, 3]}[array.shape[2]]
    cv2.imwrite(str(path), np.ascontiguousarray(array[..., order]))


WRITERS = [
    ("grey.png", pillow, 1),
    ("grey.tif", pillow, 1),
    ("rgb.png", pillow, 3),
    ("rgba.png", pillow, 4),
    ("rgba.tif", pillow, 4),
    ("two.tif", chunky, 2),
    ("five.tif", chunky, 5),
    ("seven.tif", planar, 7),
    ("four.tif", planar, 4),
    ("grey.npy", np.save, 1),
    ("six.npy", np.save, 6),
]
DEEP_WRITERS = [
    ("grey.png", pillow, 1),
    ("grey.tif", pillow, 1),
    ("rgb.png", opencv, 3),
    ("rgba.png", opencv, 4),
    ("rgb.tif", chunky, 3),
    ("six.tif", chunky, 6),
    ("five.tif", planar, 5),
    ("seven.npy", np.save, 7),
]


@pytest.mark.parametrize(("name", "write", "bands"), WRITERS)
def test_bands_are_read_as_they_are(tmp_path: Path, name: str, write: Callable, bands: int) -> None:
    write(tmp_path / name, SCENE[..., :bands])
    found = read_image(tmp_path / name, ImageReading(bands))
    np.testing.assert_array_equal(found, SCENE[..., :bands])
    assert found.dtype == np.uint8 and image_size(tmp_path / name) == (6, 8)


@pytest.mark.parametrize(("name", "write", "bands"), DEEP_WRITERS)
def test_bands_of_16_bits_are_scaled(tmp_path: Path, name: str, write: Callable, bands: int) -> None:
    write(tmp_path / name, DEEP[..., :bands])
    np.testing.assert_array_equal(read_image(tmp_path / name, ImageReading(bands)), SCALED[..., :bands])
    twelve = read_image(tmp_path / name, ImageReading(bands, (96, 4095)))
    expected = np.clip((DEEP[..., :bands].astype(float) - 96) / (4095 - 96), 0, 1) * 255
    np.testing.assert_allclose(twelve, expected, atol=0.5)


def test_cmyk_is_four_bands(tmp_path: Path) -> None:
    Image.fromarray(np.ascontiguousarray(SCENE[..., :4]), "CMYK").save(tmp_path / "print.tif")
    np.testing.assert_array_equal(read_image(tmp_path / "print.tif", ImageReading(4)), SCENE[..., :4])


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int32, np.uint32])
@pytest.mark.parametrize(("suffix", "write"), [("tif", chunky), ("npy", np.save)])
def test_numbers_without_a_range_need_levels(tmp_path: Path, dtype: type, suffix: str, write: Callable) -> None:
    file = tmp_path / f"radar.{suffix}"
    write(file, np.array([-1, 0, 100, 400, 900]).clip(np.iinfo(dtype).min if dtype == np.uint32 else -1, None)
          .astype(dtype).reshape(1, 5, 1).repeat(2, 2))  # fmt: skip
    with pytest.raises(UserError, match=rf"radar\.{suffix}: .*`levels: \[low, high\]`"):
        read_image(file, ImageReading(2))
    assert read_image(file, ImageReading(2, (0, 400)))[0, :, 0].tolist() == [0, 0, 64, 255, 255]


def test_levels_make_rgb_of_deep_grey_and_colour(tmp_path: Path) -> None:
    opencv(tmp_path / "rgb.png", DEEP[..., :3])
    pillow(tmp_path / "grey.png", DEEP[..., :1])
    reading = ImageReading("rgb", (0, 65535))
    np.testing.assert_array_equal(read_image(tmp_path / "rgb.png", reading), SCALED[..., :3])
    np.testing.assert_array_equal(read_image(tmp_path / "grey.png", reading), SCALED[..., :1].repeat(3, 2))


def test_grey_in_three_equal_bands_is_grey_and_colours_are_not(tmp_path: Path) -> None:
    grey = SCENE[..., :1].repeat(3, 2)
    pillow(tmp_path / "grey.png", grey)
    np.testing.assert_array_equal(read_image(tmp_path / "grey.png", ImageReading(1)), SCENE[..., :1])
    pillow(tmp_path / "colour.png", SCENE[..., :3])
    Image.fromarray(SCENE[..., :3]).convert("P").save(tmp_path / "palette.png")
    for name in ("colour.png", "palette.png"):
        with pytest.raises(UserError, match=rf"{name}: is in colour, .*save it as grey"):
            read_image(tmp_path / name, ImageReading(1))


@pytest.mark.parametrize(("name", "write", "bands"), WRITERS)
def test_another_number_of_bands_is_refused_with_the_one_there_is(
    tmp_path: Path, name: str, write: Callable, bands: int
) -> None:
    write(tmp_path / name, SCENE[..., :bands])
    with pytest.raises(UserError, match=rf"{name}: has {bands} band.* `bands: {bands}`"):
        read_image(tmp_path / name, ImageReading(bands + 1))
    if bands not in (1, 3):
        with pytest.raises(UserError, match=rf"{name}: has .*`bands: {bands}`"):
            read_image(tmp_path / name, RGB)


@pytest.mark.filterwarnings("ignore:Truncated File Read")
def test_what_cannot_be_read_is_said(tmp_path: Path) -> None:
    def refusal(name: str, *reading: object) -> str:
        with pytest.raises(UserError, match=name) as caught:
            read_image(tmp_path / name, ImageReading(*reading))  # type: ignore[arg-type]
        return str(caught.value)

    chunky(tmp_path / "five.tif", SCENE[..., :5])
    content = (tmp_path / "five.tif").read_bytes()
    for cut in (3, 60, len(content) - 20):
        (tmp_path / "cut.tif").write_bytes(content[:cut])
        assert "damaged" in refusal("cut.tif", 5)
    compression, deflate, lzw = struct.pack("<HHL", 259, 3, 1), struct.pack("<H", 8), struct.pack("<H", 5)
    assert content.count(compression + deflate) == 1
    (tmp_path / "lzw.tif").write_bytes(content.replace(compression + deflate, compression + lzw))
    refusal("lzw.tif", 5)
    tifffile.imwrite(tmp_path / "pages.tif", SCENE.transpose(2, 0, 1), photometric="minisblack")
    assert "holds 7 images" in refusal("pages.tif", 7)
    (tmp_path / "text.npy").write_text("no array")
    assert "damaged" in refusal("text.npy", 1)
    np.save(tmp_path / "flat.npy", SCENE.ravel())
    assert "(height, width, bands)" in refusal("flat.npy", 1)
    np.save(tmp_path / "objects.npy", np.array([[["a"]]], object))
    refusal("objects.npy", 1)
    np.save(tmp_path / "nan.npy", np.full((2, 2, 1), np.nan, np.float32))
    assert "NaN" in refusal("nan.npy", 1, (0.0, 1.0))
    pillow(tmp_path / "grey.png", SCENE[..., :1])
    assert "has 8 bits" in refusal("grey.png", 1, (0.0, 1.0))
    assert "no such file" in refusal("missing.tif", 4)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_deep_tiffs_stand_as_exif_says(tmp_path: Path, orientation: int) -> None:
    """As Pillow turns what both can read."""
    tag = (274, "H", 1, orientation, True)
    tifffile.imwrite(tmp_path / "deep.tif", DEEP[..., :3], photometric="rgb", extratags=[tag])
    tifffile.imwrite(tmp_path / "flat.tif", (DEEP[..., :3] >> 8).astype(np.uint8), photometric="rgb", extratags=[tag])
    deep, flat = (read_image(tmp_path / f"{name}.tif", ImageReading(3, levels)) for name, levels in
                  (("deep", (0, 65535)), ("flat", None)))  # fmt: skip
    np.testing.assert_allclose(deep.astype(int), flat, atol=1)
    assert image_size(tmp_path / "deep.tif") == deep.shape[:2] == ((8, 6) if orientation > 4 else (6, 8))


@pytest.mark.parametrize("bands", [1, 2, 4, 5, 9])
@pytest.mark.parametrize("shape", [(20, 24), (90, 70), (50, 10)])
def test_every_band_is_resized_as_if_it_were_alone(bands: int, shape: tuple[int, int]) -> None:
    image = RNG.integers(0, 256, (40, 48, bands), dtype=np.uint8)
    found = resize_image(image, shape)
    assert found.shape == (*shape, bands)
    for band in range(bands):
        alone = resize_image(image[..., band : band + 1], shape).astype(int)
        np.testing.assert_allclose(found[..., band : band + 1], alone, atol=1)  # OpenCV rounds two bands otherwise


@pytest.mark.parametrize("bands", [1, 2, 4, 6])
def test_bands_are_varied_alike(bands: int) -> None:
    image = RNG.integers(60, 200, (40, 48, 1), dtype=np.uint8).repeat(bands, 2)
    label = RNG.integers(0, 3, (40, 48), dtype=np.uint8)
    augmentation, changed = SegmentationAugmentation((32, 40)), 0
    for seed in range(20):
        varied = augmentation(seed, image=image, mask=label)
        assert varied["image"].shape == (32, 40, bands) and varied["image"].dtype == np.uint8
        assert varied["mask"].shape == (32, 40)
        assert (varied["image"] == varied["image"][..., :1]).all()
        inside = varied["mask"] != 255
        assert not varied["image"][~inside].any() or varied["image"][~inside].std() == 0  # one padding, also brighter
        changed += not np.isin(varied["image"][inside], image).all()
    assert changed > 5


def test_mean_and_deviation_are_those_of_all_pixels() -> None:
    images = [RNG.integers(0, 256, (16, 16 + 8 * number, 4), dtype=np.uint8) for number in range(3)]
    for image in images:
        image[..., 3] = 7
    labels = [np.zeros(image.shape[:2], np.uint8) for image in images]
    split = ListSplit(images, labels, 2, (16, 16))
    assert normalisation_for(split) == IMAGENET
    split.fit, split.reading = "short_side", ImageReading(4)
    found = normalisation_for(split)
    pixels = np.concatenate([image.reshape(-1, 4) for image in images]) / 255
    np.testing.assert_allclose(found.mean, pixels.mean(0), rtol=1e-12)
    np.testing.assert_allclose(found.std[:3], pixels.std(0)[:3], rtol=1e-12)
    seen = normalise(torch.from_numpy(images[0])[None], found)
    assert seen.shape == (1, 4, 16, 16) and seen[:, 3].abs().max() < 1e-5
    for by in (IMAGENET, None):
        with pytest.raises(UserError, match="4 bands, but the network"):
            normalise(torch.from_numpy(images[0])[None], by)
    assert normalise(torch.zeros(1, 2, 2, 1, dtype=torch.uint8), Normalisation((0.5,), (0.25,))).unique() == -2


@pytest.mark.parametrize("said", [{"bands": 0}, {"bands": "grey"}, {"bands": True}, {"bands": 1.5}, {"levels": [5, 5]},
                                  {"levels": [1]}, {"levels": "low"}, {"levels": [0, float("nan")]}])  # fmt: skip
def test_settings_that_mean_nothing_are_refused(said: dict) -> None:
    with pytest.raises(ValidationError, match=r"no number of bands|no levels"):
        DataConfig(root=Path("data"), **said)


def test_settings_come_back_and_scenes_have_none() -> None:
    config = DataConfig(root=Path("data"), bands="4", levels=[0, 4095])  # type: ignore[arg-type]
    assert config.reading == ImageReading(4, (0, 4095))
    assert DataConfig.model_validate_json(config.model_dump_json()) == config
    assert DataConfig(root=Path("data")).reading == RGB
    with pytest.raises(ValidationError, match="scenes"):
        DataConfig(bands=1)
