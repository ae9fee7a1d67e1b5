"""Screening: the networks within the budgets that are most like a start."""

from __future__ import annotations

import numpy as np
import pytest
from search_factories import problem

from search.config.problem import Key, Problem
from search.strategies.screening import DISTINCT, most_alike
from search_space.genes import keys
from search_space.nearness import apart


def largest(task: Problem) -> Key:
    drawn = task.genes.sample(np.random.default_rng(0), 200)
    return keys(drawn)[task.costs(drawn)[:, task.objectives.index("macs") - 1].argmax()]


@pytest.fixture
def start() -> Key:
    return largest(problem(limits={}))


@pytest.fixture
def tight(start: Key) -> Problem:
    free = problem(limits={})
    return problem(limits={"macs": free.table.cost(free.space.decode(start)).macs // 2})


class Compared(dict[Key, float]):
    """Stands for comparing networks with ``start``: by how their choices differ, some weighing more than others."""

    def __init__(self, start: Key) -> None:
        super().__init__()
        self.start = start

    def __call__(self, key: Key) -> float:
        assert key not in self, "none is compared twice"
        self[key] = float(np.linspace(0.1, 2.0, len(key)) @ (np.array(key) != np.array(self.start)))
        return self[key]


def test_the_most_alike_are_found_within_the_budgets(tight: Problem, start: Key) -> None:
    compared, told = Compared(start), list[tuple[int, float]]()
    found = most_alike(
        tight, start, compared, 300, 4, np.random.default_rng(0), lambda done, best: told.append((done, best))
    )
    assert len(compared) == 300 and all(tight.fits(key) for key in compared)
    scores = [compared[key] for key in found]
    assert len(found) == 4 and scores == sorted(scores) and scores[0] == min(compared.values())
    rows = np.array(found, dtype=np.int16)
    for index in range(1, 4):
        assert (apart(tight.genes, rows[index], rows[:index]) >= DISTINCT).all()
    assert [done for done, _ in told] == list(range(1, 301)) and told[-1][1] == scores[0]
    drawn = Compared(start)
    rng = np.random.default_rng(1)
    for _ in range(300):
        drawn(tight.random(rng, drawn.keys()))
    assert scores[0] < 0.8 * min(drawn.values()), "at random there is none like it"


def test_the_same_seed_finds_the_same(tight: Problem, start: Key) -> None:
    one, two, other = (
        most_alike(tight, start, Compared(start), 60, 3, np.random.default_rng(seed)) for seed in (0, 0, 1)
    )
    assert one == two != other


def test_a_space_that_is_used_up_ends_it(start: Key) -> None:
    class Few(Problem):
        """Only one network fits."""

        def fits(self, key: Key) -> bool:
            return key == start

    few = Few(**vars(problem(limits={})))
    compared = Compared(start)
    assert most_alike(few, start, compared, 50, 5, np.random.default_rng(0)) == [start]
    assert set(compared) == {start}


def test_where_no_way_leads_into_the_budgets_none_is_found(start: Key, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("search.strategies.walk.MOST_STEPS", 0)
    task = problem(limits={"params": 1})
    assert most_alike(task, start, Compared(start), 20, 5, np.random.default_rng(0)) == []
