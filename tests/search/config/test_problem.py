"""Budgets and costs of a problem, against counting one network after the other."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import numpy as np
import pytest
from search_factories import SMALL, problem, small, table

from boostformer.errors import UserError
from boostformer.parts import Part
from evaluators.costs.budget import Budget
from evaluators.latency.additive import Additive
from search.config.problem import Exhausted
from search_space import space_from_yaml


def test_the_estimated_share_is_that_of_single_draws() -> None:
    task = problem(limits={"params": 40_000, "macs": 3_000_000})
    rng = np.random.default_rng(1)
    single = np.mean([task.affords(task.space.sample(rng)) for _ in range(2000)])
    assert 0.1 < single < 0.9
    assert task.share() == pytest.approx(single, abs=0.04)


def test_random_networks_fit_are_new_and_follow_from_the_generator() -> None:
    task = problem(limits={"params": 30_000})
    draw = [task.random(np.random.default_rng(seed), ()) for seed in range(20)]
    assert all(task.fits(key) and task.space.decode(key) in task.space for key in draw)
    assert draw == [task.random(np.random.default_rng(seed), ()) for seed in range(20)]
    assert len(set(draw)) > 15
    assert task.random(np.random.default_rng(0), {draw[0]}) != draw[0]


def test_a_network_is_found_where_drawing_never_finds_one() -> None:
    """The cheapest of 10^13 networks, found by descent; then a budget that only its like can meet."""
    task = problem()
    cheapest = task._descend(lambda figures: figures["params"], np.random.default_rng(0))
    least = table().cost(task.space.decode(task._key(cheapest))).params
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
    known = {task.key(arch) for arch in small()}
    with pytest.raises(Exhausted):
        task.random(np.random.default_rng(0), known)


def test_costs_are_in_the_order_and_units_of_the_objectives() -> None:
    task = problem()
    genes = task.genes.sample(np.random.default_rng(0), 20)
    costs = [table().cost(task.space.decode(row)) for row in genes]
    assert task.costs(genes).tolist() == [[cost.macs, cost.params] for cost in costs]
    assert replace(task, objectives=("params", "miou")).costs(genes).tolist() == [[cost.params] for cost in costs]
    assert replace(task, objectives=("miou",)).costs(genes).shape == (20, 0)


def test_the_excess_is_the_worst_violation_as_a_share_of_its_limit() -> None:
    task = problem(limits={"params": 40_000, "macs": 3_000_000})
    genes = task.genes.sample(np.random.default_rng(0), 200)
    costs = [table().cost(task.space.decode(row)) for row in genes]
    worst = [max(cost.params / 40_000, cost.macs / 3_000_000) - 1 for cost in costs]
    assert task.excess(genes).tolist() == pytest.approx(worst, abs=1e-12)
    assert min(worst) < 0 < max(worst)
    assert (problem(limits={}).excess(genes) == -np.inf).all()


class Odd(Additive):
    """Predicts milliseconds whose every bit counts."""

    kind = "predicted"
    overhead_ms = 0.1
    band = (0.9, 1.1)

    def provenance(self) -> str:
        return "predicted: made up"

    def part(self, part: Part) -> float:
        # A divisor by which sums in another order differ in their last bits, as not all do.
        return int(hashlib.sha256(repr(part).encode()).hexdigest()[:8], 16) / 11e9


def test_a_predicted_latency_is_a_cost_like_the_others() -> None:
    task = replace(problem(small(), {}), latency=Odd(), objectives=("miou", "latency_ms"))
    archs = list(small())
    figures = [Odd().milliseconds(arch) for arch in archs]
    assert task.costs(small().encode(archs))[:, 0] == pytest.approx(figures, rel=1e-12)
    limit = sorted(figures)[7]
    tight = replace(task, budget=Budget((("latency_ms", limit),)))
    assert [tight.affords(arch) for arch in archs] == [ms <= limit for ms in figures]
    rng = np.random.default_rng(1)
    single = np.mean([tight.affords(small().sample(rng)) for _ in range(1000)])
    assert tight.share() == pytest.approx(single, abs=0.05)
    with pytest.raises(UserError, match=f"no network of the space fits; .* {min(figures):.4g} latency_ms"):
        replace(task, budget=Budget((("latency_ms", 0.99 * min(figures)),))).check_reachable()


def test_a_latency_that_is_not_known_is_no_number_and_violates_nothing() -> None:
    task = replace(problem(small(), {}), budget=Budget((("latency_ms", 2.0),)), objectives=("miou", "latency_ms"))
    arch = next(iter(small()))
    assert task.affords(arch) and task.fits(task.key(arch))
    assert task.affords(arch, 2.0) and not task.affords(arch, 2.1)
    genes = task.space.encode([arch])
    assert np.isnan(task.costs(genes)).tolist() == [[True]] and task.excess(genes) == -np.inf
    assert task.share() == 1
    task.check_reachable()


def test_no_network_is_drawn_that_is_over_the_budget_by_its_last_bit() -> None:
    """A population's sums are of another order than one network's."""
    text = SMALL.replace("depth: 1,", "depth: 3, arrangement: post,").replace("depth: [1, 2]", "depth: [3, 5]")
    space, latency = space_from_yaml(text, "deep.yaml"), Odd()
    task = replace(problem(space, {}), latency=latency, objectives=("miou", "latency_ms"))
    genes = space.genes.sample(np.random.default_rng(0), 50)
    alone = [latency.milliseconds(space.decode(row)) for row in genes]
    together = task.costs(genes)[:, 0]
    assert together == pytest.approx(alone, rel=1e-12) and (together != alone).any()
    for limit in alone:
        tight = replace(task, budget=Budget((("latency_ms", limit),)))
        for seed in range(5):
            assert latency.milliseconds(space.decode(tight.random(np.random.default_rng(seed), ()))) <= limit
