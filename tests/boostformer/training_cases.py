"""Short trainings that the tests of the loop share."""

from __future__ import annotations

import numpy as np
import torch
from data_fixtures import ListSplit, tiny_net
from torch import nn

from boostformer import recipes
from boostformer.training import Recipe, train

SIZE = (32, 48)


def colours(images: int = 5, seed: int = 0) -> ListSplit:
    """Three classes that differ in colour."""
    rng = np.random.default_rng(seed)
    palette = np.array([[200, 40, 40], [40, 200, 40], [40, 40, 200]], np.uint8)
    labels = [np.kron(rng.integers(0, 3, (4, 6)), np.ones((8, 8), int)).astype(np.uint8) for _ in range(images)]
    return ListSplit([palette[label] for label in labels], labels, 3, SIZE)


def short(**changes) -> Recipe:
    return recipes.load("proxy", **{"iterations": 12, "batch_size": 3, "lr": 0.01, **changes})


def trained(r: Recipe, model: nn.Module | None = None, **options) -> dict[str, torch.Tensor]:
    model = model or tiny_net(3)
    train(model, colours(), r, size=SIZE, **options)
    return {name: value.clone() for name, value in model.state_dict().items()}


def assert_same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    for name, value in one.items():
        assert torch.equal(value, other[name]), name
