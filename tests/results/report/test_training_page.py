"""The page and the curves of a training, whatever its checkpoint says of itself."""

from __future__ import annotations

import io
from typing import Any

import pytest
from matplotlib.image import imread
from result_factories import architecture

from results.history import Row
from results.report.draw_curves import draw_curves
from results.report.page import page
from results.report.training_page import training_document

ROWS: list[Row] = [
    {"iteration": 10 * n, "loss": 2 / n, "lr": 0.1 / n, "miou": 0.1 * n if n % 2 else None, "accuracy": None}
    for n in range(1, 6)
]
LABELS = [f"class {n}" for n in range(7)]
PROVENANCE = {
    "metrics": {"miou": 0.5, "accuracy": 0.75, "per_class": [0.9, 0.1, None, 0.5, 0.5, 0.5, 0.5]},
    "recipe_name": "from-scratch",
    "recipe": {"iterations": 50, "lr": 0.1},
    "data": {"root": "/home/somebody/secret", "kind": "ade20k"},
    "initialised_from": {"id": "nvidia/mit-b0"},
    "costs": {"deployed": {"params": 2_000_000, "macs": 10**9}},
}


def document(**changes: Any) -> dict[str, Any]:
    known = {"rows": ROWS, "network": architecture(), "labels": LABELS, "provenance": PROVENANCE} | changes
    return training_document("net", "runs/net", "Made today.", **known)


def test_it_tells_of_curves_classes_network_and_origin() -> None:
    found = {card["kind"]: card for card in document()["cards"]}
    assert list(found) == ["curves", "classes", "network", "data", "setup"]
    assert "50.00 %, after iteration 50" in found["curves"]["sentence"]
    assert [panel["name"] for panel in found["curves"]["panels"]] == ["loss", "miou", "lr"]
    assert "class 0 best (90 % IoU) and class 1 worst (10 %)" in found["classes"]["sentence"]
    facts = dict(found["setup"]["facts"])
    assert (facts["began from"], facts["params once it is folded"]) == ("nvidia/mit-b0", "2.000 M")
    assert b"/home/somebody" not in page(document())


def test_a_training_that_goes_on_has_curves_alone() -> None:
    found = document(network=None, labels=(), provenance=None)
    assert [card["kind"] for card in found["cards"]] == ["curves", "setup"]
    assert found["tiles"] == [["iterations", "50"]] and page(found)


@pytest.mark.parametrize("value", [None, 3, "x", [], {"miou": "<b>", "per_class": "x"}])
@pytest.mark.parametrize(
    "key", ["metrics", "recipe", "costs", "searched", "initialised_from", "data_summary", "teacher"]
)
def test_what_others_wrote_into_a_checkpoint_breaks_nothing(key: str, value: Any) -> None:
    assert page(document(provenance=PROVENANCE | {key: value}))


def test_curves_are_a_picture() -> None:
    assert imread(io.BytesIO(draw_curves(ROWS, "$net$"))).shape[:2] == (660, 792)
    without = [row | {"miou": None, "lr": None} for row in ROWS[:1]]
    assert draw_curves(without, "net").startswith(b"\x89PNG")
