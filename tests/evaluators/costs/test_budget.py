"""Budgets: absolute limits, shares of a baseline, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from boostformer import presets
from boostformer.errors import UserError
from evaluators.costs.budget import COUNTED, Budget, counted_deployed
from evaluators.costs.counting import Cost
from evaluators.costs.table import CostTable

TABLE = CostTable(file=None)


def resolve(**entries: Any) -> Budget:
    return Budget.resolve(entries, TABLE, classes=11, size=(64, 96), source="run.yaml")


@pytest.mark.parametrize(
    ("value", "limit"),
    [("3M", 3_000_000), ("1.5G", 1_500_000_000), (2_500_000, 2_500_000), ("800k", 800_000), (1e6, 10**6)],
)
def test_absolute_limits(value: object, limit: int) -> None:
    assert resolve(params=value).to_dict() == {"params": limit}


@pytest.mark.parametrize(
    ("value", "limit"), [(20, 20.0), (12.5, 12.5), ("20", 20.0), ("20 ms", 20.0), ("12.5ms", 12.5), (".5 ms", 0.5)]
)
def test_milliseconds(value: object, limit: float) -> None:
    assert resolve(latency_ms=value).to_dict() == {"latency_ms": limit}
    assert resolve(params="3M", latency_ms=value).to_dict() == {"params": 3_000_000, "latency_ms": limit}


def test_a_latency_that_is_not_known_violates_nothing() -> None:
    budget = Budget((("params", 100), ("latency_ms", 20.0)))
    assert budget.fits(Cost(100, 7, 3)) and not budget.fits(Cost(101, 7, 3))
    assert budget.violations(Cost(100, 7, 3)) == {"params": 0.0}
    assert budget.fits(Cost(100, 7, 3), 20.0) and not budget.fits(Cost(100, 7, 3), 20.1)
    assert budget.violations(Cost(50, 7, 3), 25.0) == {"params": -0.5, "latency_ms": 0.25}


def test_shares_are_of_the_baseline_at_the_runs_own_size_and_classes() -> None:
    cost = TABLE.cost(presets.load("segformer_b0", classes=11, size=(64, 96)))
    found = resolve(baseline="segformer_b0", params="80%", macs="12.5%").to_dict()
    assert found == {"params": int(cost.params * 0.8), "macs": int(cost.macs * 0.125)}


def test_shares_are_of_what_the_table_counts() -> None:
    baseline, share = presets.load("segformer_b0", classes=11, size=(64, 96)), {}
    for deployed in (True, False):
        table = CostTable(file=None, deployed=deployed)
        entries = {"baseline": "segformer_b0", "counted": COUNTED[not deployed], "macs": "50%"}
        found = Budget.resolve(entries, table, classes=11, size=(64, 96), source="run.yaml").to_dict()
        assert found == {"macs": table.cost(baseline).macs // 2}
        share[deployed] = found["macs"]
    assert share[True] < share[False]


def test_what_is_counted() -> None:
    assert COUNTED == ("deployed", "training")
    assert counted_deployed({}, "run.yaml") and counted_deployed({"counted": "deployed"}, "run.yaml")
    assert not counted_deployed({"counted": "training"}, "run.yaml")


def test_what_equals_its_limit_fits() -> None:
    budget = Budget((("params", 100), ("macs", 10)))
    assert budget.fits(Cost(100, 7, 3))
    assert budget.violations(Cost(100, 7, 3)) == {"params": 0.0, "macs": 0.0}
    assert not budget.fits(Cost(101, 7, 3))
    assert budget.violations(Cost(150, 4, 1)) == {"params": 0.5, "macs": -0.5}
    assert Budget(()).fits(Cost(10**12, 10**12, 0))


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        ({"parms": "3M"}, "run.yaml: budgets.parms: unknown budget; did you mean 'params'?"),
        (
            {"counted": "folded", "params": 1},
            "run.yaml: budgets.counted: unknown 'folded'; allowed: deployed, training",
        ),
        ({"params": "80%"}, "run.yaml: budgets.params: '80%' is a share, which needs `baseline`"),
        ({"params": "lots"}, "run.yaml: budgets.params: 'lots' is not a limit, allowed: 3M"),
        ({"params": -3}, "run.yaml: budgets.params: -3 is not a limit"),
        ({"params": 0}, "run.yaml: budgets.params: 0 is not a limit"),
        ({"params": True}, "run.yaml: budgets.params: True is not a limit"),
        ({"latency_ms": "20 s"}, "run.yaml: budgets.latency_ms: '20 s' is not a limit, allowed: milliseconds, such as"),
        ({"latency_ms": 0}, "run.yaml: budgets.latency_ms: 0 is not a limit"),
        ({"latency_ms": -20}, "run.yaml: budgets.latency_ms: -20 is not a limit"),
        ({"latency_ms": True}, "run.yaml: budgets.latency_ms: True is not a limit"),
        ({"latency_ms": float("nan")}, "run.yaml: budgets.latency_ms: nan is not a limit"),
        ({"latency_ms": "3M"}, "run.yaml: budgets.latency_ms: '3M' is not a limit"),
        ({"latency": 20}, "run.yaml: budgets.latency: unknown budget; did you mean 'latency_ms'?"),
        (
            {"baseline": "segformer_b0", "latency_ms": "80%"},
            "run.yaml: budgets.latency_ms: '80%' is not a limit, allowed: milliseconds",
        ),
        ({"params": 0.3}, "run.yaml: budgets.params: 0.3 comes to less than 1"),
        (
            {"baseline": "segformer_b0", "params": "0.00001%"},
            "run.yaml: budgets.params: '0.00001%' comes to less than 1",
        ),
        ({"baseline": "segformer_b0"}, "run.yaml: budgets: a baseline alone limits nothing; add params or macs"),
        ({"baseline": "segformer_b9", "params": "80%"}, "unknown preset 'segformer_b9'; did you mean"),
    ],
)
def test_what_is_wrong_is_named(entries: dict[str, Any], expected: str) -> None:
    with pytest.raises(UserError) as caught:
        resolve(**entries)
    assert str(caught.value).startswith(expected)
