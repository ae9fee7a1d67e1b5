"""Importances: what makes the score is found with its effect, what does not is not, and chance is told apart."""

from __future__ import annotations

import numpy as np
import pytest

from results.importance import ENOUGH, importances

RNG = np.random.default_rng(3)
CHOICES = [
    {"mixer": str(RNG.choice(["attention", "pooling"])), "width": str(RNG.choice([8, 16, 32])), "norm": "layer"}
    | {f"other {i}": str(RNG.integers(3)) for i in range(10)}
    for _ in range(120)
]
SCORES = [0.3 + 0.1 * (one["mixer"] == "attention") + 0.02 * RNG.normal() for one in CHOICES]


def test_the_choice_that_makes_the_score_is_found_with_its_effect() -> None:
    found = importances(CHOICES, SCORES, [0.0] * len(SCORES))
    first, *others = found.importances
    assert first.choice == "mixer" and first.matters and first.share > 0.8 and found.explained > 0.8
    gains = {effect.value: effect for effect in first.effects}
    assert gains["attention"].gain - gains["pooling"].gain == pytest.approx(0.1, abs=0.02)
    assert gains["attention"].low > 0 > gains["pooling"].high
    assert sum(effect.networks for effect in first.effects) == 120
    assert sum(one.matters for one in others) <= 1
    assert "norm" not in {one.choice for one in found.importances}, "it has one value"


def test_nothing_is_found_in_scores_without_meaning() -> None:
    scores = RNG.permutation(SCORES).tolist()
    found = importances(CHOICES, scores, [0.0] * len(scores))
    assert found.explained < 0.1
    assert sum(one.matters for one in found.importances) <= 1


def test_what_the_ancestors_were_trained_for_is_no_merit_of_a_choice() -> None:
    behind = [1000.0 * (one["width"] == "32") for one in CHOICES]
    scores = [score + 0.2 * (iterations > 0) for score, iterations in zip(SCORES, behind, strict=True)]
    plain = {one.choice: one for one in importances(CHOICES, scores, [0.0] * 120).importances}
    known = {one.choice: one for one in importances(CHOICES, scores, behind).importances}
    assert plain["width"].matters and not known["width"].matters
    assert known["mixer"].matters


@pytest.mark.parametrize(
    ("choices", "scores"),
    [
        ([], []),
        (CHOICES[: ENOUGH - 1], SCORES[: ENOUGH - 1]),
        (CHOICES, [0.1] * len(CHOICES)),
        ([{"a": "1"}] * len(CHOICES), SCORES),
    ],
    ids=["none", "few", "alike", "one network"],
)
def test_of_too_little_nothing_is_said(choices: list[dict[str, str]], scores: list[float]) -> None:
    found = importances(choices, scores, [0.0] * len(scores))
    assert (found.networks, found.importances) == (len(scores), [])
