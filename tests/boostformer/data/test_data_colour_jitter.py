"""Photometric distortion: every change is what albumentations, which has them one by one, makes of it."""

from __future__ import annotations

import random
from collections import Counter
from itertools import permutations

import albumentations as A  # noqa: N812
import cv2
import numpy as np
import pytest

from boostformer.data.colour_jitter import ColourJitter, shifted_hue

STEPS = ("brightness", "contrast", "saturation", "hue")
SMOOTH = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 256, (40, 48, 3), dtype=np.uint8), (0, 0), 1.5)
"""Colours that the strongest changes leave within 0…255: what is clipped is clipped between the steps there."""


@pytest.mark.parametrize("order", list(permutations(range(4))))
@pytest.mark.parametrize("factors", [(1.12, 0.55, 1.45, 0.09), (0.9, 1.3, 0.6, -0.08)])
def test_changes_are_those_of_albumentations(order: tuple[int, ...], factors: tuple[float, ...]) -> None:
    expected = A.ColorJitter().apply(SMOOTH, *factors, order=list(order)).astype(int)
    found = ColourJitter(*factors, order=tuple(STEPS[step] for step in order))(SMOOTH)
    assert found.dtype == np.uint8 and found.shape == SMOOTH.shape
    difference = np.abs(found - expected)
    assert np.abs(expected - SMOOTH).mean() > 5 and difference.mean() < 1.5 and difference.max() <= 10


def test_hue_goes_round_the_circle() -> None:
    colours = np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255], [90, 90, 90]]], np.uint8)
    expected = [[0, 255, 0], [0, 0, 255], [255, 0, 0], [90, 90, 90]]
    np.testing.assert_allclose(shifted_hue(colours, 85)[0].astype(int), expected, atol=6)
    np.testing.assert_allclose(shifted_hue(colours[:, ::2], 0).astype(int), colours[:, ::2], atol=6)  # a view


def test_no_change_leaves_what_there_is() -> None:
    np.testing.assert_array_equal(ColourJitter(1, 1, 1, 0)(SMOOTH), SMOOTH)
    np.testing.assert_array_equal(ColourJitter(1, 1, 1, 0.3)(SMOOTH[..., :1]), SMOOTH[..., :1])


def test_what_is_drawn_is_segformer_s() -> None:
    rng = random.Random(0)
    drawn = [ColourJitter.draw(1.0, rng) for _ in range(4000)]
    jitters = [one for one in drawn if one is not None]
    assert abs(len(jitters) / len(drawn) - 0.75) < 0.03
    ranges = {"brightness": (0.875, 1.125), "contrast": (0.5, 1.5), "saturation": (0.5, 1.5), "hue": (-0.1, 0.1)}
    for name, (low, high) in ranges.items():
        values = np.array([getattr(one, name) for one in jitters])
        slack = (high - low) / 50
        assert low <= values.min() < low + slack and high - slack < values.max() <= high
        assert abs(values.mean() - (low + high) / 2) < slack
    orders = Counter(one.order for one in jitters)
    assert len(orders) == 24 and min(orders.values()) > 80  # of 125 on average
    assert ColourJitter.draw(0, rng) is None
