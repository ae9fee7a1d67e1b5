"""Screening: the most promising networks within the budgets, bred from a start."""

from __future__ import annotations

import math

import numpy as np
import pytest
from search_factories import problem

from search.config.problem import Key, Problem
from search.strategies.screening import DISTINCT, most_promising
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


class Seen(dict[Key, float]):
    """Stands for a glance: the score is how many choices are those of ``start``, some weighing more than others."""

    def __init__(self, start: Key) -> None:
        super().__init__()
        self.start = start

    def __call__(self, key: Key) -> float:
        assert key not in self, "none is seen twice"
        weights = np.linspace(0.1, 2.0, len(key))
        self[key] = 1 - float(weights @ (np.array(key) != np.array(self.start))) / weights.sum()
        return self[key]


def test_the_best_are_found_within_the_budgets(tight: Problem, start: Key) -> None:
    seen = Seen(start)
    found = most_promising(tight, start, seen, 300, 4, np.random.default_rng(0))
    assert len(seen) == 300 and all(tight.fits(key) for key in seen)
    scores = [seen[key] for key in found]
    assert len(found) == 4 and scores == sorted(scores, reverse=True) and scores[0] == max(seen.values())
    rows = np.array(found, dtype=np.int16)
    for index in range(1, 4):
        assert (apart(tight.genes, rows[index], rows[:index]) >= DISTINCT).all()
    drawn, rng = Seen(start), np.random.default_rng(1)
    for _ in range(300):
        drawn(tight.random(rng, drawn.keys()))
    assert 1 - scores[0] < 0.8 * (1 - max(drawn.values())), "at random there is none like it"


def test_the_same_seed_finds_the_same(tight: Problem, start: Key) -> None:
    one, two, other = (
        most_promising(tight, start, Seen(start), 60, 3, np.random.default_rng(seed)) for seed in (0, 0, 1)
    )
    assert one == two != other


def test_a_space_that_is_used_up_ends_it(start: Key) -> None:
    class Few(Problem):
        """Only one network fits."""

        def fits(self, key: Key) -> bool:
            return key == start

    seen = Seen(start)
    few = Few(**vars(problem(limits={})))
    assert most_promising(few, start, seen, 50, 5, np.random.default_rng(0)) == [start] and set(seen) == {start}


def test_where_no_way_leads_into_the_budgets_none_is_found(start: Key, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("search.strategies.walk.MOST_STEPS", 0)
    task = problem(limits={"params": 1})
    assert most_promising(task, start, Seen(start), 20, 5, np.random.default_rng(0)) == []


def test_what_fails_or_is_known_is_not_given(tight: Problem, start: Key) -> None:
    class Failing(Seen):
        def __call__(self, key: Key) -> float:
            return super().__call__(key) if len(self) % 2 else self.setdefault(key, -math.inf)

    seen, again = Failing(start), Failing(start)
    found = most_promising(tight, start, seen, 60, 60, np.random.default_rng(0))
    assert found and all(math.isfinite(seen[key]) for key in found)
    others = most_promising(tight, start, again, 60, 60, np.random.default_rng(0), is_new=lambda key: key != found[0])
    assert again == seen and found[0] not in others and others
