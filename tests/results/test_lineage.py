"""Lineages as trials tell them, and what was changed between two architectures."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from result_factories import architecture, make_trial

from boostformer.architecture import BlockSpec
from results.lineage import begins_at_start, changes, lineage, told
from results.trial import START, Parent, Trial


def child(number: int, parent: Trial | None = None, start: bool = False) -> Trial:
    above = Parent(parent.id, str(parent.weights), 100) if parent else Parent(START, "s" * 64, 0) if start else None
    return make_trial(
        number, id=f"id{number}", parent=above, weights=f"{number}" * 64, iterations=100, miou=number / 10
    )


def test_a_lineage_goes_back_to_the_start() -> None:
    first = child(1, start=True)
    second = child(2, first)
    third = child(4, second)
    members = lineage([third, child(3, first), second, first], third)
    assert [member.number for member in members] == [1, 2, 4] and begins_at_start(members)
    assert told(members) == "start, trial 1 (10.0%), trial 2 (20.0%), trial 4 (40.0%)"


def test_without_a_start_it_begins_with_random_weights() -> None:
    first = child(1)
    members = lineage([first, child(2, first)], child(2, first))
    assert [member.number for member in members] == [1, 2] and not begins_at_start(members)
    assert lineage([first], first) == [first] and told([first]) == "trial 1 (10.0%)"


def test_only_the_training_whose_weights_were_inherited_is_the_parent() -> None:
    first = child(1)
    again = replace(first, number=5, weights="9" * 64)
    second = child(2, first)
    assert [member.number for member in lineage([again, first, second], second)] == [1, 2]


def test_a_circle_has_an_end() -> None:
    one, two = child(1), child(2)
    one, two = (
        replace(one, parent=Parent("id2", two.weights or "", 0)),
        replace(two, parent=Parent("id1", one.weights or "", 0)),
    )
    assert [member.number for member in lineage([one, two], one)] == [2, 1]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, []),
        ({"width": 24, "depth": 1}, ["stages.0.width 32 → 24", "stages.0.depth 2 → 1"]),
        ({"mixer": BlockSpec.of("identity")}, ["stages.0.mixer efficient_attention → identity"]),
        ({"ffn": BlockSpec.of("mix_ffn", ratio=2)}, ["stages.0.ffn.ratio 4 → 2"]),
    ],
)
def test_changes_are_told_field_by_field(change: dict[str, Any], expected: list[str]) -> None:
    before = architecture()
    after = replace(before, stages=(replace(before.stages[0], **change), *before.stages[1:]))
    assert changes(before.to_dict(), after.to_dict()) == expected
