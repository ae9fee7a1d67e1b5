"""Generated scenes: the construction that their documentation promises, class pair by class pair."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from boostformer import recipes
from boostformer.data import DataConfig, open_split
from boostformer.data.scenes import _NOISE, CLASSES, PAIRS, Layout, draw_layout, render
from boostformer.training import evaluate, train

SIZE = (96, 128)
indices = st.integers(0, 10_000)


def swapped(layout: Layout, pair: tuple[str, str]) -> Layout:
    """The same scene with the classes of a pair exchanged."""
    other = {pair[0]: pair[1], pair[1]: pair[0]}
    things = tuple(
        replace(
            thing,
            kind=other.get(thing.kind, thing.kind),
            outline=other.get(thing.outline, thing.outline) if thing.kind in other else thing.outline,
        )
        for thing in layout.things
    )
    return replace(layout, things=things, gem=other.get(layout.gem, layout.gem))


def number(kind: str) -> int:
    return CLASSES.index(kind)


@given(indices)
def test_gems_differ_only_in_the_far_markers(index: int) -> None:
    layout = draw_layout(0, "training", index)
    image, label = render(layout, SIZE)
    other_image, other_label = render(swapped(layout, PAIRS[2]), SIZE)
    marker, gems = label == number("marker"), np.isin(label, [number(kind) for kind in PAIRS[2]])
    assert marker.any() and gems.any()
    np.testing.assert_array_equal(image[~marker], other_image[~marker])
    assert (image[marker] != other_image[marker]).any()
    assert (label[gems] != other_label[gems]).all() and (label[~gems] == other_label[~gems]).all()
    gap = np.abs(np.nonzero(marker)[1][:, None] - np.nonzero(gems)[1][None]).min()
    assert gap >= SIZE[1] // 2, "at least half the width lies between a gem and its marker"


@given(indices)
def test_textures_differ_only_in_their_pattern(index: int) -> None:
    layout = draw_layout(0, "training", index)
    image, label = render(layout, SIZE)
    other_image, other_label = render(swapped(layout, PAIRS[0]), SIZE)
    textured = np.isin(label, [number(kind) for kind in PAIRS[0]])
    np.testing.assert_array_equal(textured, np.isin(other_label, [number(kind) for kind in PAIRS[0]]))
    np.testing.assert_array_equal(image[~textured], other_image[~textured])


def test_textures_share_their_colours() -> None:
    """Both patterns cover their outlines half and half, so that a mean colour tells nothing."""
    colours: dict[int, list[np.ndarray]] = {number("stripes"): [], number("checks"): []}
    for index in range(100):
        image, label = render(draw_layout(0, "training", index), SIZE)
        for kind, found in colours.items():
            found.append(image[label == kind])
    one, other = (np.concatenate(found).astype(float) for found in colours.values())
    assert np.abs(one.mean(0) - other.mean(0)).max() < 3, "of a step of 120 between the tones"
    assert np.abs(one.std(0) - other.std(0)).max() < 1


@given(indices)
def test_shapes_differ_only_in_their_outline(index: int) -> None:
    layout = draw_layout(0, "training", index)
    image, label = render(layout, SIZE)
    other_image, other_label = render(swapped(layout, PAIRS[1]), SIZE)
    before, after = (np.isin(one, [number(kind) for kind in PAIRS[1]]) for one in (label, other_label))
    np.testing.assert_array_equal(image[~before & ~after], other_image[~before & ~after])
    np.testing.assert_array_equal(image[before & after], other_image[before & after])
    assert (before != after).any()
    assert abs(before.sum() - after.sum()) < 0.1 * before.sum(), "equal area, but for whole pixels"


def test_shapes_share_their_colour() -> None:
    colours: dict[int, list[np.ndarray]] = {number("disc"): [], number("square"): []}
    for index in range(20):
        image, label = render(draw_layout(0, "training", index), SIZE)
        for kind, found in colours.items():
            found.append(image[label == kind])
    one, other = (np.concatenate(found).astype(float) for found in colours.values())
    assert np.abs(one.mean(0) - other.mean(0)).max() < 0.5
    assert np.abs(one.std(0) - _NOISE).max() < 0.5 and np.abs(other.std(0) - _NOISE).max() < 0.5


def test_every_class_occurs_and_pairs_are_balanced() -> None:
    counts = np.zeros(len(CLASSES), int)
    for index in range(300):
        present = np.unique(render(draw_layout(0, "training", index), SIZE)[1])
        counts[present] += 1
    assert counts[0] == counts[number("marker")] == 300
    for pair in PAIRS:
        one, other = (counts[number(kind)] for kind in pair)
        assert min(one, other) > 0.4 * (one + other), pair


@given(st.integers(0, 50), st.sampled_from(["training", "validation"]), indices)
def test_a_scene_follows_from_seed_split_and_index(seed: int, split: str, index: int) -> None:
    first, second = (render(draw_layout(seed, split, index), (48, 64)) for _ in range(2))
    np.testing.assert_array_equal(first[0], second[0])
    np.testing.assert_array_equal(first[1], second[1])
    for other in ((seed + 1, split, index), (seed, split, index + 1)):
        assert (render(draw_layout(*other), (48, 64))[0] != first[0]).any()


@pytest.mark.parametrize("size", [(32, 32), (64, 64), (128, 192)])
def test_any_size_holds_every_object(size: tuple[int, int]) -> None:
    split = open_split(DataConfig(size=size, scenes={"training": 7, "validation": 5, "seed": 3}), "validation")
    assert len(split) == 5 and split.labels == list(CLASSES)
    image, label = split.resized(4)
    assert image.shape == (*size, 3) and label.shape == size and image.dtype == label.dtype == np.uint8
    layout = draw_layout(3, "validation", 4)
    assert set(np.unique(label)) == {0} | {number(thing.kind) for thing in layout.things}


class AddMean(nn.Module):
    """Lets every place see the whole map's mean."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.linear(x.mean((2, 3)))[:, :, None, None]


@pytest.mark.slow
@pytest.mark.parametrize("sees_all", [False, True])
def test_only_a_network_that_sees_far_tells_gems(tmp_path: Path, sees_all: bool) -> None:
    def layer(inputs: int, outputs: int, stride: int) -> nn.Sequential:
        convolution = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU())

    torch.manual_seed(0)
    reach = AddMean(48) if sees_all else nn.Identity()
    layers = [layer(3, 32, 2), layer(32, 48, 2), layer(48, 48, 1), reach, layer(48, 48, 1)]
    model = nn.Sequential(OrderedDict(encoder=nn.Sequential(*layers), decoder=nn.Conv2d(48, len(CLASSES), 1)))
    data = DataConfig(size=(48, 64))
    recipe_ = recipes.load("proxy", iterations=350, lr=3e-3, scale=(1, 1))
    train(model, open_split(data, "training", tmp_path), recipe_, size=data.size)
    found = evaluate(model, open_split(data, "validation"), size=data.size).per_class
    gems = np.mean([found[number(kind)] for kind in PAIRS[2]])
    assert gems > 0.6 if sees_all else gems < 0.45
    assert min(found[number(kind)] for pair in PAIRS[:2] for kind in pair) > 0.5, "the others are in reach"


def test_training_and_validation_differ() -> None:
    data = DataConfig()
    one, other = (open_split(data, name) for name in ("training", "validation"))
    assert (one.image(0) != other.image(0)).any()
