"""Every registered strategy must pass these; what is said of one strategy only comes last."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from search_factories import network, problem, propose, quality, simulate, small
from volumes import hypervolume

from results.trial import Status
from search.config.problem import Exhausted, Problem
from search.strategies import STRATEGIES, strategy_class
from search.strategies.base import Strategy
from search.strategies.history import Observation

every = pytest.mark.parametrize("name", STRATEGIES)


def make(name: str, task: Problem | None = None, seed: int = 5) -> Strategy:
    return strategy_class(name)(task or problem(), seed)


@every
def test_proposals_are_in_the_space_within_budget_and_never_known(name: str) -> None:
    task = problem()
    history = simulate(make(name, task), 45)  # with failed and running ones among them
    assert all(task.space.decode(observation.genes) in task.space for observation in history)
    assert all(task.fits(observation.genes) for observation in history)
    assert len({observation.genes for observation in history}) == 45


@every
def test_a_tight_budget_is_kept(name: str) -> None:
    task = problem(limits={"params": 16_000, "macs": 2_000_000})  # few of the random draws fit
    history = simulate(make(name, task), 30)
    assert all(task.fits(observation.genes) for observation in history)


@every
@pytest.mark.slow
def test_after_200_candidates_proposals_are_still_within_budget_and_new(name: str) -> None:
    task = problem(limits={"params": 30_000, "macs": 2_500_000})
    history = simulate(make(name, task), 205, simulate(make("random", task), 200))
    assert all(task.fits(observation.genes) for observation in history)
    assert len({observation.genes for observation in history}) == 205


@every
def test_a_proposal_follows_from_seed_and_history_alone(name: str) -> None:
    first = simulate(make(name), 30)
    used = make(name)
    simulate(used, 12)  # has proposed before, which must not matter
    for length in (0, 5, 24, 30):
        again = propose(make(name), first[:length])
        assert propose(used, first[:length]) == again
        if length < len(first):
            assert again == first[length].genes
    assert propose(make(name, seed=6), first) != propose(make(name), first)


def test_proposals_do_not_depend_on_the_process() -> None:
    """Sets of words are ordered otherwise in every process; no proposal may hang on that."""
    code = (
        "import json, sys; sys.path.insert(0, sys.argv[1])\n"
        "from search_factories import simulate, problem\n"
        "from search.strategies import STRATEGIES, strategy_class\n"
        "ids = {n: [o.genes for o in simulate(strategy_class(n)(problem(), 5), 25)] for n in STRATEGIES}\n"
        "print(json.dumps(ids))"
    )
    here = Path(__file__).parents[1]
    environment = os.environ | {"PYTHONHASHSEED": "12345", "PYTHONPATH": str(here.parent.parent)}
    done = subprocess.run(
        [sys.executable, "-c", code, str(here)], env=environment, capture_output=True, text=True, check=True
    )
    expected = {name: [list(o.genes) for o in simulate(make(name), 25)] for name in STRATEGIES}
    assert json.loads(done.stdout) == expected


@every
def test_a_small_space_is_tried_completely_and_then_ends(name: str) -> None:
    task = problem(small(), {"params": 11_500})
    fitting = {task.key(arch) for arch in small() if task.affords(arch)}
    assert 0 < len(fitting) < small().count
    strategy = make(name, task)
    history = simulate(strategy, len(fitting))
    assert {observation.genes for observation in history} == fitting
    with pytest.raises(Exhausted, match=f"{len(fitting)} tried"):
        propose(strategy, history)


@every
def test_running_ones_alone_are_no_obstacle(name: str) -> None:
    history = [Observation(o.genes, Status.RUNNING) for o in simulate(make("random"), 25)]
    assert propose(make(name), history) not in {o.genes for o in history}


@cache
def volume(name: str) -> float:
    """Compute the volume that the fronts of two searches of 36 networks each dominate."""
    limits = {"params": 30_000, "macs": 2_500_000}
    task = problem(limits=limits)

    def of_front(strategy: Strategy) -> float:
        history: list[Observation] = []
        for _ in range(36):
            key = propose(strategy, history)
            history.append(Observation(key, Status.FINISHED, quality(network(strategy, key))))
        costs = task.costs(np.array([o.genes for o in history], dtype=np.int16)) / [limits["macs"], limits["params"]]
        scaled = np.column_stack([[-(o.miou or 0.0) for o in history], costs])
        return hypervolume(scaled, [0, 1, 1])

    return sum(of_front(make(name, task, seed)) for seed in range(2))


@pytest.mark.parametrize("name", [name for name in STRATEGIES if name != "random"])
@pytest.mark.slow
def test_the_front_becomes_better_than_a_blind_one(name: str) -> None:
    assert volume(name) > 1.05 * volume("random")
