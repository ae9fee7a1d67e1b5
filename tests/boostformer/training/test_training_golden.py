"""A loss curve that was once recorded: what changes it changes all trainings.

Run this file to record it anew, once a change is meant.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from data_fixtures import tiny_net
from training_cases import SIZE, colours, short

from boostformer.training import train

CURVE = Path(__file__).with_name("golden_losses.json")


def losses() -> list[float]:
    """The running mean of the loss over 50 iterations."""
    found: list[float] = []
    recipe = short(iterations=50, warmup_iterations=5, batch_size=4)
    train(tiny_net(3), colours(), recipe, size=SIZE, progress=lambda done, total, loss: found.append(loss))
    return found


def test_the_losses_are_those_that_were_recorded() -> None:
    """Other CPUs round otherwise, which grows with the iterations."""
    expected = json.loads(CURVE.read_text())
    found = losses()
    assert len(found) == len(expected) == 50 and expected[-1] < 0.6 * expected[0]
    assert found[:10] == pytest.approx(expected[:10], rel=1e-5)
    assert found == pytest.approx(expected, rel=1e-3)


if __name__ == "__main__":
    CURVE.write_text(json.dumps([round(loss, 8) for loss in losses()]) + "\n")
