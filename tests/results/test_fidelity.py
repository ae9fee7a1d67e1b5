"""Runs with several lengths of training and several seeds: what is compared, and how it is shown."""

from __future__ import annotations

import json
import math
from pathlib import Path
from statistics import stdev

import pytest
from matplotlib.image import imread
from result_factories import make_trial

from results.fidelity import standing
from results.pareto import front, pick
from results.report.picture import AXES, Picture
from results.report.plots import plot_front
from results.tables import render, to_rows
from results.trial import Status, Trial

OBJECTIVES = ["miou", "params"]


def training(number: int, network: str, miou: float, params: int, rung: int = 0, seed: int = 0) -> Trial:
    return make_trial(
        number,
        id=network,
        miou=miou,
        params=params,
        rung=rung,
        seed=seed,
        iterations=(100, 300)[rung],
        promoted=network in "abc" and rung == 0,
    )


#: Four networks, three of them promoted, two of these with three seeds.
RUN = [
    training(0, "a", 0.30, 10),
    training(1, "b", 0.35, 20),
    training(2, "c", 0.40, 30),
    training(3, "d", 0.99, 5),
    training(4, "a", 0.40, 10, rung=1),
    training(5, "b", 0.39, 20, rung=1),
    training(6, "c", 0.50, 30, rung=1),
    training(7, "b", 0.45, 20, rung=1, seed=1),
    training(8, "b", 0.48, 20, rung=1, seed=2),
    training(9, "c", 0.51, 30, rung=1, seed=1),
    training(10, "b", 0.99, 20, rung=1, seed=1),  # again, which is no second chance
]


def test_only_the_longest_trainings_are_compared_and_seeds_by_their_mean() -> None:
    members = front(RUN, OBJECTIVES)
    assert [member.id for member in members] == ["a", "b", "c"]
    assert [member.number for member in members] == [4, 5, 6]
    assert [member.seeds for member in members] == [1, 3, 2]
    assert [member.miou for member in members] == pytest.approx([0.40, 0.44, 0.505])
    assert members[0].miou_std is None
    assert members[1].miou_std == pytest.approx(stdev([0.39, 0.45, 0.48]))
    assert front(RUN[::-1], OBJECTIVES) == members


def test_before_a_longer_training_ended_all_short_ones_are_compared() -> None:
    running = [*RUN[:4], make_trial(4, id="a", rung=1, status=Status.RUNNING, miou=None, promoted=False)]
    assert [member.id for member in front(running, OBJECTIVES)] == ["d"]
    failed = [*running[:4], make_trial(4, id="a", rung=1, miou=math.nan)]
    assert [member.id for member in front(failed, OBJECTIVES)] == ["d"]


def test_a_network_stands_as_it_is_where_nothing_is_known_of_other_seeds() -> None:
    assert standing([]) == []
    assert standing(RUN[:4]) == RUN[:4]
    unknown = [make_trial(0, id="a", miou=None), make_trial(1, id="a", miou=0.4, seed=9)]
    assert standing(unknown) == unknown[:1]


def test_an_id_means_its_longest_training_a_number_that_trial() -> None:
    assert pick(RUN, OBJECTIVES, "b").number == 5
    assert pick(RUN, OBJECTIVES, 1).number == 1
    assert pick(RUN, OBJECTIVES, "d").number == 3


def test_tables_show_lengths_seeds_and_spread() -> None:
    lines = render(to_rows(front(RUN, OBJECTIVES))).splitlines()
    assert all(name in lines[1] for name in ("miou_std", "seeds", "iterations"))
    assert all(text in lines[4] for text in ("44.00 %", "4.58 %", " 3 ", " 300 "))
    assert "promoted" not in lines[1]
    one = render(to_rows([make_trial(0, iterations=100)])).splitlines()
    assert not any(name in one[1] for name in ("miou_std", "seeds", "iterations"))
    found = json.loads(render(to_rows(RUN), "json"))
    assert [row["promoted"] for row in found[:5]] == [True, True, True, False, False]
    assert {row["rung"] for row in found} == {0, 1} and {row["iterations"] for row in found} == {100, 300}


def test_shorter_trainings_are_drawn_apart(tmp_path: Path) -> None:
    members = front(RUN, OBJECTIVES)
    drawn = Picture.of(RUN, members, [], OBJECTIVES, "a run")
    assert [trial.number for trial in drawn.shorter] == [0, 1, 2, 3]
    assert [trial.id for trial in drawn.dots] == ["a", "b", "c"] and drawn.others() == []
    assert drawn.lengths() == "shorter training (100 iterations)"
    assert [trial.id for trial in drawn.staircase(AXES[0])] == ["a", "b", "c"]
    plot_front(RUN, members, [], OBJECTIVES, tmp_path / "front.png")
    assert imread(tmp_path / "front.png").shape[0] > 500


def test_a_run_of_one_length_and_seed_is_drawn_as_ever() -> None:
    drawn = Picture.of(RUN[:4], front(RUN[:4], OBJECTIVES), [], OBJECTIVES, "a run")
    assert drawn.shorter == [] and len(drawn.dots) == 4
