"""Constraints on trials as users write them."""

from __future__ import annotations

import pytest
from result_factories import OBJECTIVES, make_trial

from boostformer.errors import UserError
from results.pareto import front, pick
from results.where import read_where

TRIALS = [
    make_trial(0, params=1_000_000, macs=900_000_000, miou=0.50, latency_ms=10.0),
    make_trial(1, params=2_000_000, macs=800_000_000, miou=0.60, latency_ms=20.0),
    make_trial(2, params=3_000_000, macs=700_000_000, miou=0.65, latency_ms=None),
    make_trial(3, params=4_000_000, macs=600_000_000, miou=0.70, latency_ms=40.0),
]


def numbers(text: str) -> list[int]:
    where = read_where(text, TRIALS)
    return [trial.number for trial in TRIALS if where(trial)]


@pytest.mark.parametrize(
    ("text", "satisfying"),
    [
        ("params<3M", [0, 1]),
        ("params <= 3M", [0, 1, 2]),
        ("params=3000000", [2]),
        ("params == 3000k", [2]),
        ("params != 3000K", [0, 1, 3]),
        ("macs<0.7G or params<1.5e6", [0, 3]),
        ("miou>=60%", [1, 2, 3]),
        ("miou>.6", [2, 3]),
        ("latency_ms<15 ms", [0]),
        ("latency_ms<30ms and miou>55%", [1]),
        ("latency_ms<1000", [0, 1, 3]),
        ("latency_ms!=10", [1, 3]),
        ("trial>2", [3]),
        ("params<2M or params>3M and miou>69%", [0, 3]),
        ("(params<2M or params>3M) and miou>69%", [3]),
        ("((trial=1))AND(miou>0)", [1]),
        ("miou>99.5%", []),
    ],
)
def test_what_satisfies(text: str, satisfying: list[int]) -> None:
    assert numbers(text) == satisfying


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "the end at position 1: a column was expected; the run has "),
        ("parms<3M", "'parms' at position 1: a column was expected; did you mean 'params'"),
        ("params<3M and", "the end at position 14: a column was expected"),
        ("params<3M miou>1%", "'miou' at position 11: 'and', 'or' or the end was expected"),
        ("params~3M", "'~' at position 7: one of <=, >=, "),
        ("params<M", "'M' at position 8: a number was expected, for params as 2 or 2k or 2K or 2M or 2G"),
        ("params<3%", "'3%' at position 8: '%' is no unit of params"),
        ("latency_ms<3M", "'M' is no unit of latency_ms, which is written as 2 or 2ms"),
        ("miou>60", "'60' at position 6: miou is a share from 0 to 1, or 60%"),
        ("(params<3M", "the end at position 11: ')' was expected"),
        ("params<3M)", "')' at position 10: 'and', 'or' or the end was expected"),
        ("3M>params", "'3M' at position 1: a column was expected"),
        ("__import__('os')", "'__import__' at position 1: a column was expected"),
        ("final_latency_ms<3", "'final_latency_ms' at position 1: a column was expected"),
        ("(" * 60 + "params<3M" + ")" * 60, "at most 50 parentheses"),
        ("params<-1", "'-' at position 8: a number was expected"),
    ],
)
def test_what_is_wrong_is_named_with_its_position(text: str, said: str) -> None:
    with pytest.raises(UserError) as refused:
        read_where(text, TRIALS)
    assert said in str(refused.value) and str(refused.value).startswith(f"--where '{text}': ")


def test_picks_are_made_among_what_satisfies() -> None:
    found = [trial.number for trial in front(TRIALS, OBJECTIVES, read_where("params<3.5M", TRIALS))]
    assert found == [0, 1, 2]
    assert pick(TRIALS, OBJECTIVES, "best-miou").number == 3
    assert pick(TRIALS, OBJECTIVES, "best-miou", "params<3.5M").number == 2
    assert pick(TRIALS, OBJECTIVES, "fastest", "latency_ms>10").number == 1
    with pytest.raises(UserError, match="no network of the run satisfies --where 'params<1k'"):
        pick(TRIALS, OBJECTIVES, "knee", "params<1k")
    with pytest.raises(UserError, match="'2' names one network"):
        pick(TRIALS, OBJECTIVES, 2, "params<3M")


def test_a_dominated_network_comes_forward_when_what_dominates_it_is_left_out() -> None:
    trials = [make_trial(0, latency_ms=30.0, miou=0.6), make_trial(1, latency_ms=10.0, miou=0.5)]
    assert [t.number for t in front(trials, OBJECTIVES)] == [0]
    assert [t.number for t in front(trials, OBJECTIVES, read_where("latency_ms<20", trials))] == [1]


def test_the_mean_over_the_seeds_is_compared() -> None:
    trials = [make_trial(0, id="a" * 12, miou=0.5), make_trial(1, id="a" * 12, seed=4, miou=0.7)]
    assert front(trials, OBJECTIVES, read_where("miou>=60%", trials))
    assert not front(trials, OBJECTIVES, read_where("miou>65%", trials))
