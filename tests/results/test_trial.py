"""An objective is stated once: whatever is there has its field, its column, its direction and its wording."""

from __future__ import annotations

import dataclasses

import pytest
from result_factories import make_trial

from results.report.picture import AXES
from results.summary import human
from results.tables import COLUMNS, render, to_rows
from results.trial import COSTS, COUNTED, OBJECTIVES, Trial, minimised_values


@pytest.mark.parametrize("name", OBJECTIVES)
def test_every_objective_is_shown_and_compared_by_its_own_statement(name: str) -> None:
    objective, trial = OBJECTIVES[name], make_trial(0, latency_ms=7.5)
    value = objective.value(trial)
    assert value is not None and name in COLUMNS
    assert minimised_values(trial, [name]) == ((-value if objective.maximised else value),)
    assert human(name, value) == objective.show(value)
    assert objective.show(value) in render(to_rows([trial]), "table")


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("macs", 62_337_843_200, "62.338 G"),
        ("macs", 127_000_000, "0.127 G"),
        ("macs", 4_040_000, "4.040 M"),
        ("macs", 40_400, "40.400 k"),
        ("params", 3_714_658, "3.715 M"),
        ("params", 39_500, "39.500 k"),
        ("params", 0, "0.000 k"),
    ],
)
def test_a_count_is_written_in_a_unit_that_fits(name: str, value: float, shown: str) -> None:
    assert OBJECTIVES[name].show(value) == shown


def test_costs_are_all_objectives_but_the_score_and_have_an_axis_each() -> None:
    assert [axis.cost.name for axis in AXES] == list(COSTS) == [name for name in OBJECTIVES if name != "miou"]
    assert set(COUNTED) <= {field.name for field in dataclasses.fields(Trial)} & set(COLUMNS)
