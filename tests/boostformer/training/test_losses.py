"""Losses: against what torch and plain NumPy compute, and at their limits."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from data_fixtures import ListSplit, tiny_net
from pydantic import ValidationError

from boostformer import presets
from boostformer.errors import UserError
from boostformer.model import build
from boostformer.training import Recipe, train
from boostformer.training.heads import WithHeads
from boostformer.training.loss_config import LossConfig
from boostformer.training.losses import (
    SegmentationLoss,
    chance,
    class_weights,
    cross_entropy,
    dice,
    lovasz_softmax,
    near_boundary,
)

CLASSES, IGNORED = 5, 255


@pytest.fixture
def batch() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, CLASSES, 8, 12, generator=generator)
    labels = torch.randint(0, CLASSES, (2, 32, 48), generator=generator)
    labels[:, :4] = IGNORED
    return logits, labels


def loss_of(batch, **config) -> float:
    weights = config.pop("weights", None)
    return SegmentationLoss(LossConfig(**config), CLASSES, IGNORED, weights)(*batch).item()


def enlarged(batch) -> torch.Tensor:
    return F.interpolate(batch[0], batch[1].shape[-2:], mode="bilinear", align_corners=False)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("weights", [None, torch.tensor([0.5, 1.0, 2.0, 0.1, 3.0])])
def test_cross_entropy_is_torchs(batch, smoothing: float, weights) -> None:
    expected = F.cross_entropy(
        enlarged(batch), batch[1], weight=weights, ignore_index=IGNORED, label_smoothing=smoothing
    )
    found = loss_of(batch, label_smoothing=smoothing, weights=weights)
    # With weights, torch divides smoothed costs by the labels' weights, too.
    assert found == pytest.approx(expected.item(), rel=1e-5)
    pixelwise = loss_of(batch, label_smoothing=smoothing, weights=weights, boundary=1e-12)
    assert pixelwise == pytest.approx(expected.item(), rel=1e-5)


def test_at_the_logits_own_size(batch) -> None:
    logits, labels = batch
    small = labels[:, 2::4, 2::4]
    expected = F.cross_entropy(logits, small, ignore_index=IGNORED).item()
    assert loss_of(batch, resolution="logits") == pytest.approx(expected, rel=1e-5)


def test_focal_without_focus_is_cross_entropy_and_with_it_less(batch) -> None:
    plain = loss_of(batch)
    assert loss_of(batch, cross_entropy=0, focal=1, focal_gamma=0) == pytest.approx(plain, rel=1e-5)
    right = F.softmax(enlarged(batch), 1).gather(1, batch[1].clamp(max=CLASSES - 1)[:, None])[:, 0]
    counted = batch[1] != IGNORED
    by_hand = (-((1 - right) ** 2) * right.log())[counted].mean().item()
    assert loss_of(batch, cross_entropy=0, focal=1) == pytest.approx(by_hand, rel=1e-4) and by_hand < plain


def test_hardest_pixels(batch) -> None:
    costs = F.cross_entropy(enlarged(batch), batch[1], ignore_index=IGNORED, reduction="none").flatten()
    kept = int(0.25 * (batch[1] != IGNORED).sum())
    assert loss_of(batch, hardest=0.25) == pytest.approx(costs.topk(kept).values.mean().item(), rel=1e-5)


def test_dice_and_lovasz_against_numpy() -> None:
    rng = np.random.default_rng(0)
    shares = rng.dirichlet(np.ones(4), 60).astype(np.float32)
    truth = rng.integers(0, 3, 60)  # the last class does not occur
    expected = []
    for number in range(3):
        inside = truth == number
        expected.append(1 - 2 * shares[inside, number].sum() / (shares[:, number].sum() + inside.sum()))
    found = dice(torch.tensor(shares), torch.tensor(truth)).item()
    assert found == pytest.approx(np.mean(expected), rel=1e-5)
    # Where predictions are certain, the Lovász extension is 1 - IoU itself.
    hard = np.eye(4, dtype=np.float32)[rng.integers(0, 4, 60)]
    ious = []
    for number in range(3):
        here, there = hard[:, number] > 0, truth == number
        ious.append((here & there).sum() / (here | there).sum())
    found = lovasz_softmax(torch.tensor(hard), torch.tensor(truth)).item()
    assert found == pytest.approx(1 - np.mean(ious), rel=1e-5)


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"focal": 1.0, "cross_entropy": 0.0},
        {"dice": 1.0},
        {"lovasz": 1.0},
        {"boundary": 2.0},
        {"hardest": 0.3},
        {"class_weights": "auto"},
        {"label_smoothing": 0.1},
    ],
)
def test_each_loss_falls_to_the_truth_and_bears_a_batch_without_labels(config: dict) -> None:
    labels = torch.zeros(1, 8, 8, dtype=torch.long)
    labels[:, 4:] = 1
    weights = torch.tensor([0.5, 2.0]) if "class_weights" in config else None
    loss = SegmentationLoss(LossConfig(**config), 2, IGNORED, weights)
    logits = torch.zeros(1, 2, 8, 8, requires_grad=True)
    steps = torch.optim.SGD([logits], lr=10.0)
    first = loss(logits, labels)
    assert first.item() <= chance(LossConfig(**config), 2) + 1e-5
    for _ in range(60):
        steps.zero_grad()
        loss(logits, labels).backward()
        steps.step()
    assert loss(logits, labels).item() < 0.7 * first.item() and (logits.argmax(1) == labels).all()
    nothing = loss(logits, torch.full_like(labels, IGNORED))
    nothing.backward()
    assert nothing.item() == 0 and torch.isfinite(logits.grad).all()


def test_boundaries() -> None:
    labels = torch.zeros(1, 6, 9, dtype=torch.long)
    labels[..., 5:] = 1
    assert near_boundary(labels, 2)[0, 0].tolist() == [0, 0, 0, 1, 1, 1, 1, 0, 0]


def split_of(shares: dict[int, int]) -> ListSplit:
    label = np.repeat(list(shares), list(shares.values())).astype(np.uint8)[None]
    return ListSplit([np.zeros((1, label.size, 3), np.uint8)], [label], 3, label.shape)


def test_class_weights() -> None:
    split = split_of({0: 100, 1: 25, IGNORED: 40})
    found = class_weights(LossConfig(class_weights="auto"), split)
    assert found.tolist() == pytest.approx([math.sqrt(62.5 / 100), math.sqrt(62.5 / 25), 1.0])
    assert class_weights(LossConfig(), split) is None
    assert class_weights(LossConfig(class_weights=(1, 2, 0)), split).tolist() == [1, 2, 0]
    with pytest.raises(UserError, match="2 numbers for 3 classes"):
        class_weights(LossConfig(class_weights=(1, 2)), split)


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({"cross_entropy": 0}, "nothing is minimised"),
        ({"class_weights": []}, "one number"),
        ({"auxiliary": 0.4, "auxiliary_stages": (5,)}, "some of 1, 2, 3, 4"),
        ({"hardest": 0}, "greater than 0"),
    ],
)
def test_configuration_is_checked(config: dict, says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        LossConfig(**config)


def scene_split(size=(32, 32)) -> ListSplit:
    rng = np.random.default_rng(0)
    labels = [rng.integers(0, 3, size, dtype=np.uint8) for _ in range(4)]
    return ListSplit([np.repeat(80 * one[..., None], 3, 2) for one in labels], labels, 3, size)


def test_auxiliary_heads_learn_and_are_gone_afterwards() -> None:
    recipe = Recipe(
        iterations=3, batch_size=2, warmup_iterations=0, loss={"auxiliary": 0.4, "auxiliary_stages": [2, 3]}
    )
    model = build(presets.load("boostformer_b0", classes=3, size=(32, 32)))
    names = set(model.state_dict())
    before = {name: value.clone() for name, value in model.state_dict().items()}
    report = train(model, scene_split(), recipe, size=(32, 32))
    assert set(model.state_dict()) == names and math.isfinite(report.loss)
    assert any((before[name] != value).any() for name, value in model.state_dict().items())
    heads = WithHeads(model, 3, (2, 3))
    assert [tuple(one.shape[2:]) for one in heads(torch.rand(2, 3, 32, 32)).auxiliary] == [(4, 4), (2, 2)]
    with pytest.raises(UserError, match="TinyNet"):
        WithHeads(tiny_net(3), 3, (2,))


@pytest.mark.parametrize("classes", [5, 16, 40])
@pytest.mark.parametrize("reduction", ["sum", "none"])
def test_cross_entropy_is_the_same_in_any_layout(classes: int, reduction: str) -> None:
    generator = torch.Generator().manual_seed(classes)
    logits = torch.randn(2, classes, 6, 7, generator=generator)
    labels = torch.randint(0, classes, (2, 6, 7), generator=generator)
    labels[0, 2:4] = IGNORED
    how = {"weight": torch.rand(classes, generator=generator), "ignore_index": IGNORED, "label_smoothing": 0.1}
    found = []
    for layout in (torch.contiguous_format, torch.channels_last):
        given = logits.clone(memory_format=layout).requires_grad_()
        cost = cross_entropy(given, labels, reduction, **how)
        cost.square().sum().backward()
        found.append((cost, given.grad))
    expected = F.cross_entropy(logits, labels, reduction=reduction, **how)
    for cost, gradient in found:
        torch.testing.assert_close(cost, expected)
        torch.testing.assert_close(gradient, found[0][1])
