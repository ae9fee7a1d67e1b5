"""Limits as run files write them: absolute, in milliseconds, as shares of a baseline, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from boostformer.errors import short
from results.trial import COSTS
from search.config.limits import Limit
from search.config.sections import BudgetsConfig


@pytest.mark.parametrize(
    ("written", "limit"),
    [
        ("3M", 3_000_000),
        ("1.5G", 1_500_000_000),
        (2_500_000, 2_500_000),
        ("800k", 800_000),
        (" 8 K ", 8000),
        (1e6, 10**6),
    ],
)
@pytest.mark.parametrize("name", ["params", "macs"])
def test_counts(name: str, written: object, limit: int) -> None:
    found = Limit.read(name, written)
    assert not found.is_share and found.resolve(0) == limit and type(found.resolve(0)) is int


@pytest.mark.parametrize(
    ("written", "limit"), [(20, 20.0), (12.5, 12.5), ("20", 20.0), ("20 ms", 20.0), ("12.5ms", 12.5), (".5 ms", 0.5)]
)
def test_milliseconds(written: object, limit: float) -> None:
    found = Limit.read("latency_ms", written)
    assert not found.is_share and found.resolve(0) == limit and type(found.resolve(0)) is float


@pytest.mark.parametrize(("written", "limit"), [("80%", 800), ("12.5 %", 125), ("0.19%", 1), ("150%", 1500)])
def test_shares_are_of_the_baseline_and_rounded_down(written: str, limit: int) -> None:
    found = Limit.read("macs", written)
    assert found.is_share and found.resolve(1000) == limit


@pytest.mark.parametrize(("written", "named"), [(0.3, "0.3"), ("0.0004k", "'0.0004k'"), ("0.09%", "'0.09%'")])
def test_limits_that_come_to_nothing(written: object, named: str) -> None:
    with pytest.raises(ValueError) as refused:
        Limit.read("params", written).resolve(1000)
    assert str(refused.value) == f"{named} comes to less than 1, which no network fits"


@pytest.mark.parametrize(
    "written", ["lots", -3, 0, "0%", True, None, [3], "3 M M", "3m", "", "1e400", float("nan"), "²"]
)
def test_what_is_no_count(written: object) -> None:
    with pytest.raises(ValueError) as refused:
        Limit.read("params", written)
    assert str(refused.value) == f"{short(written)} is not a limit, allowed: 3M, 1.5G, 2500000 or, with a baseline, 80%"


@pytest.mark.parametrize("written", ["20 s", 0, -20, True, float("nan"), float("inf"), "3M", "80%", "soon", None])
def test_what_is_no_time(written: object) -> None:
    with pytest.raises(ValueError) as refused:
        Limit.read("latency_ms", written)
    assert str(refused.value) == f"{short(written)} is not a limit, allowed: milliseconds, such as 20 or 12.5"


def test_budgets_have_their_limits_in_one_order() -> None:
    found = BudgetsConfig.model_validate({"latency_ms": 20, "macs": "50%", "params": 5, "baseline": "segformer_b0"})
    assert tuple(found.limits) == COSTS
    assert found.counted == "deployed" and BudgetsConfig().limits == {}


@pytest.mark.parametrize(
    ("entries", "place", "said"),
    [
        ({"parms": "3M"}, "parms", "unknown budget; did you mean 'params'? allowed: baseline, counted, params, macs"),
        ({"latency": 20}, "latency", "unknown budget; did you mean 'latency_ms'?"),
        ({"counted": "folded", "params": 1}, "counted", "should be 'deployed' or 'trained'"),
        ({"counted": ["training"], "params": 1}, "counted", "should be 'deployed' or 'trained'"),
        ({"params": "80%"}, "params", "'80%' is a share, which needs `baseline` with a preset's name beside it"),
        ({"params": "lots"}, "params", "'lots' is not a limit, allowed: 3M"),
        ({"baseline": "segformer_b0", "latency_ms": "80%"}, "latency_ms", "'80%' is not a limit, allowed: millisec"),
        ({"baseline": "segformer_b0"}, "", "a baseline alone limits nothing; add params or macs or latency_ms"),
        ({"baseline": "segformer_b9", "params": "80%"}, "baseline", "unknown preset 'segformer_b9'; did you mean"),
        ({"baseline": 9, "params": 1}, "baseline", "valid string"),
        ({"zeros": 1, "ones": 1, "parms": 1}, "zeros", "unknown budget"),  # the first one in the file
        ("tight", "", "valid dictionary or instance"),
        ({"limits": {}}, "limits", "unknown budget; allowed: baseline, counted, params, macs, latency_ms"),
    ],
)
def test_budgets_that_are_wrong(entries: Any, place: str, said: str) -> None:
    with pytest.raises(ValidationError) as refused:
        BudgetsConfig.model_validate(entries)
    first = refused.value.errors()[0]
    assert (".".join(map(str, first["loc"])), said in first["msg"]) == (place, True), first
