"""Marks of a front: the knee, the best, the others; shares of budgets; the order of a table."""

from __future__ import annotations

from dataclasses import replace

import pytest
from result_factories import OBJECTIVES, make_latency, make_trial

from results.marks import by_limiting, marks, of_budgets
from results.pareto import front
from results.tables import MARK, OF_BUDGETS, render, to_rows
from results.terms import Terms
from results.trial import LIMITABLE

TRIALS = [
    make_trial(0, miou=0.2, params=1_000_000, macs=900_000_000),
    make_trial(1, miou=0.6, params=1_500_000, macs=300_000_000),
    make_trial(2, miou=0.65, params=3_000_000, macs=400_000_000),
    make_trial(3, miou=0.1, params=3_500_000, macs=950_000_000),
]
MEMBERS = front(TRIALS, OBJECTIVES)


def test_knee_and_best_are_marked_and_the_others_where_all_are_shown() -> None:
    assert marks(MEMBERS, MEMBERS, OBJECTIVES) == {1: "knee", 2: "best"}
    assert marks(TRIALS, MEMBERS, OBJECTIVES) == {0: "front", 1: "knee", 2: "best"}
    alone = MEMBERS[:1]
    assert marks(alone, alone, OBJECTIVES) == {0: "knee+best"} and marks(TRIALS, [], OBJECTIVES) == {}


def test_shares_of_budgets_come_in_their_order() -> None:
    assert of_budgets(TRIALS[1], {"params": 3e6, "macs": 4e8}) == "50 / 75"
    assert of_budgets(TRIALS[1], {"latency_ms": 5, "macs": 4e8}) == "– / 75"
    assert of_budgets(TRIALS[1], {}) is None


@pytest.mark.parametrize("name", LIMITABLE)
def test_whatever_a_budget_limits_has_its_share_and_its_constraint(name: str) -> None:
    trial = replace(TRIALS[1], activations=2_000_000, latency=make_latency(4.0))
    value = getattr(trial, name)
    assert of_budgets(trial, {name: 2 * value}) == "50"
    assert Terms(budgets={name: 2 * value}).constraints(trial) == {name: pytest.approx(-0.5)}


def test_the_first_objective_with_a_budget_sorts() -> None:
    assert [t.number for t in by_limiting(TRIALS, OBJECTIVES, {"params": 1})] == [0, 1, 2, 3]
    assert [t.number for t in by_limiting(TRIALS, OBJECTIVES, {"params": 1, "macs": 1})] == [1, 2, 0, 3]
    assert [t.number for t in by_limiting(TRIALS, OBJECTIVES, {})] == [1, 2, 0, 3]


def test_a_front_with_all_that_it_can_have_fits_80_columns() -> None:
    full = [
        replace(trial, activations=12_345_678, latency=make_latency(12.34), final=make_latency(12.45), miou_std=0.0123)
        for trial in (*TRIALS, make_trial(34, params=123_456_789, macs=123_456_789_000, miou=0.5, seeds=3))
    ]
    rows = [row | {MARK: "knee+best", OF_BUDGETS: "100 / 100 / 100"} for row in to_rows(full)]
    table = render(rows, width=80)
    assert max(map(len, table.splitlines())) <= 80
    assert all(word in table for word in ("34", "miou", "latency_ms", "params", "macs"))


def test_only_terminals_with_colours_get_styles_and_nothing_else_that_they_obey() -> None:
    rows = [row | {MARK: "knee", OF_BUDGETS: "50"} for row in to_rows(MEMBERS[:1])]
    rows[0]["reason"] = "\x1b[2Jgone"
    plain, styled = render(rows), render(rows, colours=True)
    assert "\x1b" not in plain and "knee" in plain and "% of budget" in plain
    assert "\x1b[1;32m" in styled and "\x1b[2J" not in styled and "gone" in styled
