"""The front's arithmetic against brute force, and what is picked from it."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from result_factories import make_trial

from boostformer.errors import UserError
from results.pareto import crowding_distance, front, minimised, non_dominated_rank, pick
from results.trial import Status, Trial


def points(most: int, objectives: st.SearchStrategy[int]) -> st.SearchStrategy[np.ndarray[Any, Any]]:
    """Few distinct values, so that ties and repeats are common."""

    def of(width: int) -> st.SearchStrategy[np.ndarray[Any, Any]]:
        rows = st.lists(st.tuples(*[st.integers(0, 6)] * width), max_size=most)
        return rows.map(lambda found: np.array(found, dtype=float).reshape(-1, width))

    return objectives.flatmap(of)


def dominates(a: Any, b: Any) -> bool:
    return all(x <= y for x, y in zip(a, b, strict=True)) and any(x < y for x, y in zip(a, b, strict=True))


@given(points(12, st.integers(1, 4)))
def test_ranks_peel_off_one_front_after_another(values: np.ndarray[Any, Any]) -> None:
    left, expected = dict(enumerate(values.tolist())), {}
    for rank in itertools.count():
        if not left:
            break
        layer = [i for i, v in left.items() if not any(dominates(other, v) for other in left.values())]
        expected.update(dict.fromkeys(layer, rank))
        left = {i: v for i, v in left.items() if i not in layer}
    assert dict(enumerate(non_dominated_rank(values).tolist())) == expected


def test_crowding_distance_by_hand() -> None:
    values = np.array([[0.0, 10.0], [1.0, 6.0], [3.0, 5.0], [4.0, 0.0]])
    expected = [math.inf, 3 / 4 + 5 / 10, 3 / 4 + 6 / 10, math.inf]
    assert crowding_distance(values).tolist() == pytest.approx(expected)
    shuffled = [2, 0, 3, 1]
    assert crowding_distance(values[shuffled]).tolist() == pytest.approx([expected[i] for i in shuffled])
    assert crowding_distance(np.ones((2, 2))).tolist() == [math.inf, math.inf]
    assert crowding_distance(np.empty((0, 2))).shape == (0,)


@pytest.mark.parametrize("function", [non_dominated_rank, crowding_distance])
def test_nan_cannot_be_ranked(function: Any) -> None:
    with pytest.raises(ValueError, match="NaN"):
        function(np.array([[1.0, math.nan]]))


trials_of_a_run = st.lists(
    st.builds(
        dict,
        id=st.sampled_from(["aaaa", "bbbb", "cccc", "dddd", "eeee"]),
        status=st.sampled_from([*3 * [Status.FINISHED], *Status]),
        miou=st.sampled_from([0.1, 0.2, 0.3, math.nan, None]),
        params=st.integers(1, 4),
        macs=st.integers(1, 3),
        latency_ms=st.sampled_from([1.0, 2.0, None]),
        feasible=st.booleans(),
    ),
    max_size=12,
).map(lambda found: [make_trial(number, **fields) for number, fields in enumerate(found)])
objectives = st.sampled_from([["miou", "params"], ["miou", "macs", "params"], ["miou", "latency_ms"], ["miou"]])


def better_or_equal(a: Trial, b: Trial, names: list[str]) -> bool:
    values = [(getattr(a, name), getattr(b, name)) for name in names]
    return all(x >= y if name == "miou" else x <= y for name, (x, y) in zip(names, values, strict=True))


@given(trials_of_a_run, objectives, st.randoms())
def test_front_against_its_definition(found: list[Trial], names: list[str], random: Any) -> None:
    usable: dict[str, Trial] = {}
    for trial in found:
        known = all(getattr(trial, n) is not None and not math.isnan(getattr(trial, n)) for n in names)
        if trial.is_finished and trial.feasible and known:
            usable.setdefault(trial.id, trial)
    expected = {
        trial.number
        for trial in usable.values()
        if not any(
            better_or_equal(other, trial, names) and not better_or_equal(trial, other, names)
            for other in usable.values()
        )
    }
    shuffled = random.sample(found, len(found))
    result = front(shuffled, names)
    assert {trial.number for trial in result} == expected
    assert [trial.params for trial in result] == sorted(trial.params for trial in result)
    assert front(found, names) == result


def test_unknown_objective_names_the_nearest() -> None:
    with pytest.raises(UserError, match="unknown objective 'param'; did you mean 'params'"):
        minimised([make_trial()], ["miou", "param"])


def curve(*values: tuple[float, int], **fields: Any) -> list[Trial]:
    return [
        make_trial(i, miou=miou, params=params, macs=500 * params, **fields) for i, (miou, params) in enumerate(values)
    ]


#: Steep up to trial 2, flat behind it.
BENT = curve((0.10, 100), (0.30, 150), (0.50, 200), (0.53, 400), (0.55, 700), (0.56, 1000))


@pytest.mark.parametrize("names", [["miou", "params"], ["miou", "macs", "params"], ["macs", "miou"]])
def test_knee_is_the_bend_however_many_correlated_costs_there_are(names: list[str]) -> None:
    assert pick(BENT, names, "knee").number == 2
    assert pick(BENT[::-1], names, "knee").number == 2


def test_knee_by_hand() -> None:
    # Scaled: (loss, cost) = (1, 0), (.5, .2), (0, 1); only the second is beneath the line loss + cost = 1.
    assert pick(curve((0.2, 0), (0.3, 20), (0.4, 100)), ["miou", "params"], "knee").number == 1
    # The middle point lies above the line: an end is deepest, and the better mIoU breaks the tie.
    assert pick(curve((0.2, 0), (0.22, 80), (0.4, 100)), ["miou", "params"], "knee").number == 2


@pytest.mark.parametrize(("values", "number"), [([(0.3, 5)], 0), ([(0.3, 5), (0.4, 9)], 1)])
def test_knee_of_the_smallest_fronts(values: list[tuple[float, int]], number: int) -> None:
    assert pick(curve(*values), ["miou", "params"], "knee").number == number


def test_other_picks() -> None:
    names = ["miou", "macs", "params"]
    assert pick(BENT, names, "best-miou").number == 5
    assert pick(BENT, names, "smallest").number == 0
    with pytest.raises(UserError, match="cannot pick 'fastest': no latency_ms in this run"):
        pick(BENT, names, "fastest")
    timed = curve((0.2, 10), (0.3, 20), latency_ms=4.0)
    assert pick(timed, ["miou", "latency_ms"], "fastest").number == 1  # equally fast, and better
    infeasible = make_trial(6, miou=0.9, params=1, macs=1, feasible=False)
    assert pick([*BENT, infeasible], names, "best-miou").number == 5


def test_pick_by_trial_or_id() -> None:
    names = ["miou", "params"]
    found = [
        *BENT,
        make_trial(6, status=Status.FAILED, miou=None, reason="nan"),
        make_trial(7, status=Status.RUNNING, miou=None),
        make_trial(8, id=BENT[1].id, miou=0.2),
        make_trial(9, id="123456789012"),
    ]
    assert pick(found, names, 3).number == pick(found, names, "3").number == 3
    assert pick(found, names, BENT[1].id).number == 1
    assert pick(found, names, "123456789012").number == 9
    with pytest.raises(UserError, match=r"trial 6 \(.*\) is failed: nan; a finished trial is needed"):
        pick(found, names, 6)
    with pytest.raises(UserError, match=r"trial 7 \(.*\) is running; a finished"):
        pick(found, names, "7")
    with pytest.raises(UserError, match="no trial or id 'kne'; finished trials: 0, 1, 2, 3, 4, 5, 8, 9; rules: "):
        pick(found, names, "kne")


def test_nothing_to_pick_says_what_there_is() -> None:
    found = [make_trial(0, feasible=False), make_trial(1, status=Status.FAILED), make_trial(2, status=Status.RUNNING)]
    with pytest.raises(UserError, match=r"no finished trial fits the budgets \(1 finished, 1 failed, 1 running\)"):
        pick(found, ["miou", "params"], "knee")
