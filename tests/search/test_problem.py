"""Budgets and costs of a problem, against counting one network after the other."""

from __future__ import annotations

import numpy as np
import pytest
from search_factories import problem, small, table, tiny

from boostformer.errors import UserError
from search.problem import Exhausted


def test_the_estimated_share_is_that_of_single_draws() -> None:
    task = problem(limits={"params": 40_000, "macs": 3_000_000})
    rng = np.random.default_rng(1)
    single = np.mean([task.fits(task.space.sample(rng)) for _ in range(2000)])
    assert 0.1 < single < 0.9
    assert task.share() == pytest.approx(single, abs=0.04)


def test_random_networks_fit_are_new_and_follow_from_the_generator() -> None:
    task = problem(limits={"params": 30_000})
    draw = [task.random(np.random.default_rng(seed), ()) for seed in range(20)]
    assert all(task.fits(arch) and arch in task.space for arch in draw)
    assert draw == [task.random(np.random.default_rng(seed), ()) for seed in range(20)]
    assert len({arch.id for arch in draw}) > 15
    assert task.random(np.random.default_rng(0), {draw[0].id}) != draw[0]


def test_a_network_is_found_where_drawing_never_finds_one() -> None:
    """The cheapest of 10^13 networks, found by descent; then a budget that only its like can meet."""
    task = problem()
    cheapest = task._descend(lambda costs: costs[:, 0], np.random.default_rng(0))
    least = table().cost(task._architecture(cheapest)).params
    tight = problem(limits={"params": round(1.02 * least)})
    assert tight.share() == 0
    assert tight.fits(tight.random(np.random.default_rng(0), ()))


def test_unreachable_budgets_say_what_the_smallest_network_costs() -> None:
    costs = [table().cost(arch) for arch in small()]
    params, macs = min(cost.params for cost in costs), min(cost.macs for cost in costs)
    problem(small(), {"params": params}).check_reachable()
    with pytest.raises(UserError, match=f"{params:,} params .limit {params - 1:,}.") as caught:
        problem(small(), {"params": params - 1, "macs": 10**9}).check_reachable()
    assert f"{macs:,} macs" in str(caught.value)


def test_without_budgets_everything_fits() -> None:
    task = problem(small(), {})
    task.check_reachable()
    assert task.share() == 1
    known = {arch.id for arch in small()}
    with pytest.raises(Exhausted):
        task.random(np.random.default_rng(0), known)


def test_values_are_in_the_order_and_units_of_the_objectives() -> None:
    arch = tiny().sample(np.random.default_rng(0))
    cost = table().cost(arch)
    assert problem().values(arch, 0.25) == [0.25, cost.macs, cost.params]
