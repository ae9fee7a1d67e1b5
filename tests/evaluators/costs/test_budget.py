"""Budgets: what fits, and how far what does not is over."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluators.costs.budget import Budget


def test_what_equals_its_limit_fits() -> None:
    budget = Budget((("params", 100), ("macs", 10)))
    assert budget.fits({"params": 100, "macs": 10})
    assert budget.violations({"params": 100, "macs": 10}) == {"params": 0.0, "macs": 0.0}
    assert not budget.fits({"params": 101, "macs": 10}) and not budget.fits({"params": 100, "macs": 11})
    assert budget.violations({"params": 150, "macs": 5}) == {"params": 0.5, "macs": -0.5}
    assert Budget(()).fits({"params": 10**12})


def test_a_figure_that_is_not_known_violates_nothing() -> None:
    budget = Budget((("params", 100), ("latency_ms", 20.0)))
    assert budget.fits({"params": 100, "latency_ms": None}) and not budget.fits({"params": 101, "latency_ms": None})
    assert budget.violations({"params": 100, "latency_ms": None}) == {"params": 0.0}
    assert budget.fits({"params": 100, "latency_ms": 20.0}) and not budget.fits({"params": 100, "latency_ms": 20.1})
    assert budget.violations({"params": 50, "latency_ms": 25.0}) == {"params": -0.5, "latency_ms": 0.25}


def test_a_figure_that_is_missing_is_a_mistake_of_ours() -> None:
    with pytest.raises(KeyError, match="macs"):
        Budget((("macs", 10),)).fits({"params": 1})


@given(st.integers(1, 10**12), st.integers(0, 10**12))
def test_whole_numbers_fit_exactly_up_to_their_limit(limit: int, cost: int) -> None:
    assert Budget((("params", limit),)).fits({"params": cost}) == (cost <= limit)
