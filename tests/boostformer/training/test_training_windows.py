"""Large images through windows: logits, scores and predictions are those of the definition."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from data_fixtures import ListSplit, tiny_net
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torchmetrics import JaccardIndex

from boostformer import build, presets, recipes
from boostformer.data.normalise import normalise
from boostformer.data.tiles import window_starts
from boostformer.errors import UserError
from boostformer.predict import predict_array
from boostformer.training import evaluate, train
from boostformer.training.windows import windowed_bands, windowed_logits

SIZE = (32, 64)


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


class Placed(nn.Module):
    """Logits that know where in its window a pixel lies, so that an average tells which windows went in."""

    def __init__(self, shrink: int = 4) -> None:
        super().__init__()
        self.shrink, self.place = shrink, nn.Parameter(torch.randn(3, 64, 64))

    def forward(self, x: Tensor) -> Tensor:
        small = F.avg_pool2d(x, self.shrink)
        return small * self.place[:, : small.shape[2], : small.shape[3]]


@given(st.integers(5, 100), st.integers(5, 150), st.sampled_from([0.0, 0.25, 0.6]), st.integers(1, 5))
@torch.inference_mode()
def test_where_windows_see_nothing_of_each_other_they_are_the_whole(
    height: int, width: int, overlap: float, batch: int
) -> None:
    model, image = tiny_net(3).eval(), picture(height, width)
    logits, covered = windowed_logits(model, image, SIZE, overlap, batch)
    high, wide = covered[0] // 4, covered[1] // 4
    assert logits.shape == (1, 3, high, wide) and 0 <= covered[0] - height < 4 and 0 <= covered[1] - width < 4
    padded = np.zeros((*covered, 3), np.uint8)
    padded[:height, :width] = image
    torch.testing.assert_close(logits, model(normalise(torch.tensor(padded)[None])), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("shrink", [4, 8])
@pytest.mark.parametrize(("height", "width"), [(32, 64), (100, 64), (67, 150), (20, 90), (10, 10)])
@torch.inference_mode()
def test_logits_are_averaged(height: int, width: int, shrink: int) -> None:
    torch.manual_seed(0)
    model, image = Placed(shrink), picture(height, width)
    rows, columns = (window_starts(n, side, 0.25, shrink) for n, side in zip((height, width), SIZE, strict=True))
    whole = np.zeros((rows[-1] + SIZE[0], columns[-1] + SIZE[1], 3), np.uint8)
    whole[:height, :width] = image
    total, times = torch.zeros(3, *whole.shape[:2]), torch.zeros(whole.shape[:2])
    for top, left in product(rows, columns):
        box = slice(top, top + SIZE[0]), slice(left, left + SIZE[1])
        small = model(normalise(torch.tensor(whole[box])[None]))[0]
        total[:, *box] += small.repeat_interleave(shrink, 1).repeat_interleave(shrink, 2)
        times[box] += 1
    logits, covered = windowed_logits(model, image, SIZE, 0.25)
    expected = (total / times)[:, : covered[0] : shrink, : covered[1] : shrink]
    torch.testing.assert_close(logits[0], expected, rtol=1e-4, atol=1e-5)
    large = F.interpolate(logits, covered, mode="bilinear", align_corners=False)[0, :, :height, :width]
    bands = list(windowed_bands(model, image, SIZE, 0.25))
    torch.testing.assert_close(torch.cat([band for _, band in bands], 1)[0], large.argmax(0))


def test_an_image_of_a_window_s_size_is_seen_whole() -> None:
    torch.manual_seed(0)
    model = build(presets.load("boostformer_b0", classes=5, size=SIZE)).eval()
    image = picture(*SIZE)
    with torch.inference_mode():
        logits, covered = windowed_logits(model, image, SIZE, 0.5)
        assert covered == SIZE and torch.equal(logits, model(normalise(torch.tensor(image)[None])))
    np.testing.assert_array_equal(predict_array(model, image, SIZE, "tile"), predict_array(model, image, SIZE))
    with pytest.raises(UserError, match="size 34x64: windows of this network are multiples of"), torch.no_grad():
        windowed_logits(model, image, (34, 64), 0.5)


def split_of(shapes: list[tuple[int, int]], fit: str = "tile", classes: int = 4) -> ListSplit:
    rng = np.random.default_rng(0)
    labels = [rng.integers(0, classes, shape, dtype=np.uint8) for shape in shapes]
    split = ListSplit([picture(*shape, seed) for seed, shape in enumerate(shapes)], labels, classes, SIZE)
    split.fit = fit
    return split


def test_scores_and_predictions_agree() -> None:
    torch.manual_seed(0)
    model = build(presets.load("boostformer_b0", classes=4, size=SIZE)).eval()
    split = split_of([(70, 90), (33, 64), (32, 200), (20, 20)])
    jaccard = JaccardIndex(task="multiclass", num_classes=4)
    for index in range(len(split)):
        predicted = predict_array(model, split.image(index), SIZE, "tile", split.overlap)
        jaccard.update(torch.tensor(predicted.astype(int)), torch.tensor(split.label(index)).long())
    assert evaluate(model, split, size=SIZE).miou == pytest.approx(jaccard.compute().item(), abs=1e-6)


@pytest.mark.parametrize("fit", ["tile", "short_side"])
def test_images_of_mixed_shapes_are_trained_and_scored(fit: str) -> None:
    shapes = [(150, 203), (20, 41), (33, 64), (301, 57)]
    split, model = split_of(shapes, fit), tiny_net(4)
    seen = []
    model.register_forward_pre_hook(lambda module, inputs: seen.append(tuple(inputs[0].shape)))
    train(model, split, recipes.load("proxy", iterations=3, batch_size=2), size=SIZE)
    assert set(seen) == {(2, 3, *SIZE)}
    assert evaluate(model, split, size=SIZE).images == 4


sides = st.integers(32, 90)


@given(st.sampled_from(["boostformer_b0", "segformer_b0"]), sides, sides, st.integers(1, 120), st.integers(1, 120))
def test_short_sides_of_any_shape(name: str, low: int, high: int, height: int, width: int) -> None:
    if max(height, width) > 4 * min(height, width):
        return
    predicted = predict_array(network(name), picture(height, width), (low, high), "short_side")
    assert predicted.shape == (height, width) and predicted.max() < 3


_NETWORKS: dict[str, nn.Module] = {}


def network(name: str):
    if name not in _NETWORKS:
        torch.manual_seed(0)
        _NETWORKS[name] = build(presets.load(name, classes=3, size=(64, 64))).eval()
    return _NETWORKS[name]


def test_only_the_crop_is_read_of_a_large_image(tmp_path: Path) -> None:
    from boostformer.data.augment import SegmentationAugmentation

    file = tmp_path / "pixels"
    file.touch()
    shape = (40_000, 10_000, 3)  # 1.2 GB, all holes
    image = np.memmap(file, np.uint8, "w+", shape=shape)
    label = np.memmap(tmp_path / "label", np.uint8, "w+", shape=shape[:2])
    before = resident()
    varied = SegmentationAugmentation((64, 64))(3, image=np.asarray(image), mask=np.asarray(label))
    assert varied["image"].shape == (64, 64, 3)
    assert resident() - before < 200e6


def resident() -> float:
    """Bytes of memory that this process holds now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096
