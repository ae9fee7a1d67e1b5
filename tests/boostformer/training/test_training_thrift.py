"""Trainings in less memory or time, to the same end: batches in parts, stages computed twice, compiled networks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from data_fixtures import ListSplit, tiny_net
from pydantic import ValidationError
from torch import Tensor, nn
from training_cases import SIZE, assert_same, colours, short

from boostformer.architecture import Architecture
from boostformer.errors import UserError
from boostformer.model import BoostFormer, build
from boostformer.presets import load
from boostformer.training import Recipe, train


class Plain(nn.Module):
    """Without BatchNorm and dropout: images do not influence each other."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.encoder = nn.Sequential(nn.Conv2d(3, 8, 4, stride=4), nn.GELU())
        self.decoder = nn.Conv2d(8, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.decoder(self.encoder(x))


def unevenly_labelled() -> ListSplit:
    """Each image has another number of pixels that count; one has none."""
    split = colours(6)
    labels = [split.label(number).copy() for number in range(6)]
    for number, label in enumerate(labels):
        label[: 6 * number + 2] = split.ignored
    return ListSplit([split.image(number) for number in range(6)], labels, 3, SIZE)


def after_one_step(recipe: Recipe) -> tuple[list[float], dict[str, Tensor]]:
    """The loss, and the weights after a step of AdamW, which is as good as the gradients' directions."""
    model, losses = Plain(), []
    train(model, unevenly_labelled(), recipe, size=SIZE, progress=lambda done, total, loss: losses.append(loss))
    return losses, model.state_dict()


@pytest.mark.parametrize("loss", [{}, {"boundary": 1.0, "focal": 0.5}, {"class_weights": (1.0, 3.0, 0.5)}])
@pytest.mark.parametrize("parts", [2, 3])
def test_parts_are_the_whole(loss: dict[str, Any], parts: int) -> None:
    settings = {"iterations": 3, "batch_size": 6, "loss": loss, "warmup_iterations": 0, "clip_norm": 0.1}
    losses, weights = after_one_step(short(**settings))
    in_parts, found = after_one_step(short(**settings, accumulate=parts))
    assert in_parts == pytest.approx(losses, rel=1e-5)
    torch.testing.assert_close(found, weights, rtol=1e-4, atol=1e-6)


def test_parts_without_labels_are_no_failure() -> None:
    ignored = ListSplit([colours().image(0)], [np.full(SIZE, 255, np.uint8)], 3, SIZE)
    assert train(tiny_net(3), ignored, short(batch_size=4, accumulate=2), size=SIZE).loss == 0


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"batch_size": 6, "accumulate": 4}, "must divide batch_size"),
        ({"batch_size": 4, "accumulate": 4}, "must divide batch_size"),
        ({"batch_size": 4, "accumulate": 2, "loss": {"dice": 1.0}}, "loss.dice is of a batch as a whole"),
        ({"batch_size": 4, "accumulate": 2, "loss": {"hardest": 0.5}}, "loss.hardest is of a batch as a whole"),
        ({"compile": True, "gradient_checkpointing": True}, "gradient_checkpointing must be false"),
    ],
)
def test_what_does_not_go_together_is_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        short(**changes)


@pytest.fixture(scope="module")
def small() -> Architecture:
    return load("boostformer_b0", classes=3, size=SIZE)


def network(small: Architecture) -> BoostFormer:
    torch.manual_seed(0)
    return build(small, drop_path=0.3)


def test_checkpointed_stages_learn_the_same(small: Architecture) -> None:
    """Down to statistics of BatchNorm, drawn paths and the last bit."""
    weights = []
    for twice in (False, True):
        model, calls = network(small), []
        model.encoder.stages[0].layers.register_forward_pre_hook(lambda *_, calls=calls: calls.append(1))
        train(model, colours(), short(iterations=3, warmup_iterations=0, gradient_checkpointing=twice), size=SIZE)
        assert len(calls) == (6 if twice else 3)
        assert "forward" not in vars(model.encoder.stages[0])
        weights.append(model.state_dict())
    assert any("running_mean" in name for name in weights[0])
    assert_same(*weights)


def test_checkpointing_needs_stages() -> None:
    with pytest.raises(UserError, match="needs a network with stages, which TinyNet is not"):
        train(tiny_net(3), colours(), short(gradient_checkpointing=True), size=SIZE)


@pytest.mark.slow
def test_compiled_it_learns_the_same() -> None:
    weights = []
    for compiled in (False, True):
        model = Plain()
        train(model, colours(), short(compile=compiled), size=SIZE)
        weights.append(dict(model.state_dict()))
    torch.testing.assert_close(*weights, rtol=1e-3, atol=1e-4)


def test_what_cannot_be_compiled_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    class NoCompiler(RuntimeError):
        pass

    NoCompiler.__module__ = "torch._inductor.exc"

    def fails(model: nn.Module) -> Any:
        def run(x: Tensor) -> Tensor:
            raise NoCompiler("no C++ compiler\nmore")

        return run

    monkeypatch.setattr(torch, "compile", fails)
    with pytest.raises(UserError, match=r"cannot compile this network here \(no C\+\+ compiler\); set it to false"):
        train(Plain(), colours(), short(compile=True), size=SIZE)
