"""Ways to see an image: windows, several scales, mirrored; what they give, and that bands give the same."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from data_fixtures import ListSplit, tiny_net
from torch import nn

from boostformer.data import resize_image
from boostformer.data.normalise import normalise
from boostformer.training import evaluate
from boostformer.training.bands import Map, averaged_bands
from boostformer.training.metrics import Seen, predicted_maps
from boostformer.training.views import View

SIZE = (32, 48)


class Plain(nn.Module):
    """Says 1 where a square of 4x4 pixels is bright on the whole, at a quarter of the resolution."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))
        self.seen: list[tuple[int, ...]] = []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.seen.append(tuple(x.shape))
        bright = F.avg_pool2d(x.mean(1, keepdim=True) * self.weight, 4, ceil_mode=True)
        return torch.cat([-bright, bright], 1)


def bright_split(shapes: list[tuple[int, int]], fit: str = "exact") -> ListSplit:
    """Images with a bright right half, which class 1 is."""
    labels = [(np.arange(shape[1]) >= shape[1] // 2).astype(np.uint8)[None].repeat(shape[0], 0) for shape in shapes]
    split = ListSplit([np.repeat(label[..., None] * 255, 3, 2) for label in labels], labels, 2, SIZE)
    split.fit = fit
    return split


def random_split(shapes: list[tuple[int, int]], fit: str = "short_side") -> ListSplit:
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (*shape, 3), dtype=np.uint8) for shape in shapes]
    split = ListSplit(images, [rng.integers(0, 3, shape, dtype=np.uint8) for shape in shapes], 3, SIZE)
    split.fit = fit
    return split


@pytest.mark.parametrize("fit", ["exact", "short_side"])
def test_scales_and_mirrors_are_averaged_as_probabilities_at_the_label_s_size(fit: str) -> None:
    split, model = random_split([(60, 90), (48, 48)], fit), tiny_net(3).eval()
    view = View(scales=(0.5, 1.0, 1.75), flip=True)
    for index, found in predicted_maps(model, split, [0, 1], size=SIZE, view=view):
        image, (height, width) = split.image(index), split.label(index).shape
        base = SIZE if fit == "exact" else (32, round(32 * width / height))
        total = torch.zeros(1, 3, height, width)
        for scale in view.scales:
            seen = resize_image(image, (round(base[0] * scale), round(base[1] * scale)))
            pixels = normalise(torch.from_numpy(seen.copy())[None])
            with torch.no_grad():
                for logits in (model(pixels), model(pixels.flip(3)).flip(3)):
                    total += F.interpolate(logits, (height, width), mode="bilinear").softmax(1)
        expected = total.argmax(1)[0].numpy()
        assert (found == expected).mean() > 0.999 and found.dtype == np.uint8


@pytest.mark.parametrize("left", [0, 3])
def test_averages_by_bands_are_those_of_the_whole(left: int) -> None:
    maps = [Map(torch.randn(1, 5, 9, 11), (43, 54), left), Map(torch.randn(1, 5, 20, 7), (40, 57), left)]
    [(rows, whole)] = averaged_bands(maps, (40, 50))
    bands = list(averaged_bands(maps, (40, 50), 8 * 3 * 57 * 15 * 3))
    assert [rows.start for rows, _ in bands] == list(range(0, 40, 3)) and rows == slice(0, 40)
    joined = torch.cat([band for _, band in bands], 1)
    assert joined.shape == whole.shape == (1, 40, 50) and (joined == whole).float().mean() > 0.99


def test_windows_cover_an_image_at_the_short_side(monkeypatch: pytest.MonkeyPatch) -> None:
    split, model = bright_split([(64, 300)]), Plain()
    found = evaluate(model, split, size=SIZE, batch_size=2, view=View("slide"))
    assert {shape[2:] for shape in model.seen} == {SIZE} and max(shape[0] for shape in model.seen) == 2
    assert sum(shape[0] for shape in model.seen) == 4  # 150 columns, in steps of at most 36
    assert found.accuracy > 0.97


@pytest.mark.parametrize("flip", [False, True])
def test_windows_that_stick_out_are_not_stretched(flip: bool) -> None:
    # 41 columns of pixels are 11 squares, of which the last sticks out; mirrored, at the other side.
    split, model = bright_split([(32, 41), (33, 61)], "short_side"), Plain()
    found = dict(predicted_maps(model, split, [0, 1], size=SIZE, view=View("slide", flip=flip)))
    for index, predicted in found.items():
        assert predicted.shape == split.label(index).shape
        border = predicted.argmax(1)
        assert np.abs(border - split.label(index).argmax(1)).max() <= 2


def test_a_watcher_sees_each_image_as_it_is_scored() -> None:
    split, model = random_split([(60, 90), (48, 48), (48, 48)]), tiny_net(3)
    split.label(0)[:10] = 255
    seen: list[Seen] = []
    found = evaluate(model, split, size=SIZE, watch=[seen.append])
    assert found == evaluate(model, split, size=SIZE) and [each.index for each in seen] == [0, 1, 2]
    assert found.pixels == sum(each.confusion for each in seen).sum(1).tolist()
    for each, (index, predicted) in zip(seen, predicted_maps(model.eval(), split, [0, 1, 2], size=SIZE), strict=True):
        assert each.index == index and (each.predicted == predicted).all()
        assert (each.label == split.label(index)).all()
