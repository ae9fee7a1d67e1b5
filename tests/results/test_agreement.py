"""The trust report against counts made by hand, and what it says of runs made up for it."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from statistics import stdev
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from result_factories import make_trial

from results.agreement import AGREES, ENOUGH, agreement, trust, trust_lines
from results.run import Retraining, Run
from results.trial import Status, Trial


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=2, max_size=9))
def test_tau_b_by_its_definition(pairs: list[tuple[int, int]]) -> None:
    concord = tied = others_tied = 0
    for (a, b), (c, d) in itertools.combinations(pairs, 2):
        concord += int(np.sign(a - c) * np.sign(b - d))
        tied += a == c
        others_tied += b == d
    count = math.comb(len(pairs), 2)
    one, other = np.array(pairs, float).T
    found = agreement(one, other).tau
    norm = math.sqrt((count - tied) * (count - others_tied))
    assert found == pytest.approx(concord / norm if norm else 0)


def test_intervals_hold_tau_narrow_with_the_number_and_repeat() -> None:
    rng = np.random.default_rng(1)
    truth = rng.normal(size=200)
    seen = truth + rng.normal(size=200)
    few, many = agreement(truth[:12], seen[:12]), agreement(truth, seen)
    for found in (few, many):
        assert -1 <= found.low < found.tau < found.high <= 1
    assert many.high - many.low < (few.high - few.low) / 2
    assert agreement(truth[:12], seen[:12]) == few
    same = agreement(truth, truth)
    assert (same.tau, same.low, same.high) == pytest.approx((1, 1, 1))
    assert agreement(truth, -truth).tau == pytest.approx(-1)


def run_of(trials: list[Trial], retrainings: list[Retraining] | None = None) -> Run:
    numbered = [replace(trial, number=number) for number, trial in enumerate(trials)]
    return Run(numbered, ["miou", "params"], {}, {}, [], retrainings or [])


def short(network: int, miou: float, iterations: int = 100, **changes: Any) -> Trial:
    return make_trial(id=f"n{network}", miou=miou, params=100 + network, macs=network, iterations=iterations, **changes)


def long(network: int, miou: float, iterations: int = 300, rung: int = 1, **changes: Any) -> Trial:
    return short(network, miou, iterations, rung=rung, **changes)


def ladder(scores: list[float]) -> list[Trial]:
    """Networks whose short scores rise; the longer ones are given. Parameters fall."""
    networks = range(len(scores))
    shorts = [replace(short(i, 0.3 + i / 100), params=1000 - i) for i in networks]
    return shorts + [replace(long(i, scores[i]), params=1000 - i) for i in networks]


def test_the_same_order_is_trusted() -> None:
    found = trust(run_of([*ladder([0.5 + i / 100 for i in range(12)]), short(99, 0.1)]))
    (comparison,) = found.comparisons
    assert found.verdict == "trust it" and found.decisive == comparison and found.noise is None
    assert (comparison.short_iterations, comparison.iterations) == (100, 300)
    assert comparison.overall.tau == comparison.top.tau == comparison.macs.tau == 1 and comparison.params.tau == -1
    assert (comparison.overall.networks, comparison.top.networks) == (12, 5)
    first, second = trust_lines(run_of(ladder([0.5 + i / 100 for i in range(12)])))
    assert first == (
        "the proxy's ranking: trust it; tau 1.00 (1.00 to 1.00) between 100 and 300 iterations of 12 networks, "
        "1.00 within the best 5"
    )
    assert second == "merely counting reaches tau -1.00 (params) and 1.00 (MACs): the short trainings rank no better"


def test_an_order_that_is_lost_within_the_top() -> None:
    scores = [0.5 + i / 100 for i in range(15)]
    scores[10:] = scores[10:][::-1]
    found = trust(run_of(ladder(scores)))
    assert found.verdict == "trust it overall but not within the top"
    assert found.comparisons[0].overall.tau > AGREES and found.comparisons[0].top.tau == -1


def test_no_order_is_not_trusted() -> None:
    scores = [0.5 + (7 * i % 12) / 100 for i in range(12)]
    assert trust(run_of(ladder(scores))).verdict == "do not trust it"
    assert trust(run_of(ladder([0.5] * 12))).verdict == "do not trust it", "nothing is ranked at all"


def test_of_few_networks_nothing_is_concluded() -> None:
    assert trust_lines(run_of([])) == [
        f"the proxy's ranking: not known until at least {ENOUGH} networks are trained longer; none was so far"
    ]
    assert trust(run_of([short(i, 0.1 * i) for i in range(9)])).verdict.endswith("; none was so far")
    few = trust(run_of(ladder([0.5 + i / 100 for i in range(7)])))
    assert few.verdict.endswith("; 7 were so far") and few.decisive is None
    assert [comparison.overall.networks for comparison in few.comparisons] == [7]
    assert trust(run_of(ladder([0.5, 0.6]))).comparisons == []


def test_scores_that_are_all_alike_rank_nothing() -> None:
    """As of trainings that are too short: background everywhere."""
    flat = [short(network, 0.09971) for network in range(6)]
    (said,) = trust_lines(run_of([*flat, short(7, 0.2)]))
    assert "do not trust it: 6 of 7 networks score 9.97 %" in said and "proxy.iterations" in said
    assert "not known" in trust_lines(run_of([short(network, 0.1 + 0.01 * network) for network in range(7)]))[0]


def test_lengths_are_not_mixed_and_the_longest_of_enough_networks_decides() -> None:
    """At 900 iterations, with six networks, the order is another; longer trainings score higher throughout."""
    trials = ladder([0.5 + i / 100 for i in range(12)])
    trials += [long(i, 0.9 - i / 100, iterations=900, rung=2) for i in range(6, 12)]
    found = trust(run_of(trials))
    assert [(c.iterations, c.overall.networks, c.overall.tau) for c in found.comparisons] == [
        (300, 12, 1),
        (900, 6, -1),
    ]
    assert found.decisive == found.comparisons[0] and found.verdict == "trust it"


def test_failed_trainings_and_unknown_scores_are_left_out() -> None:
    trials = ladder([0.5 + i / 100 for i in range(9)])
    trials += [short(20, 0.1), long(20, math.nan), short(21, 0.1), long(21, 0.9, status=Status.FAILED)]
    assert [comparison.overall.networks for comparison in trust(run_of(trials)).comparisons] == [9]


def retrained(scores: list[float], iterations: int = 3000, seed: int = 0, how: str = "full") -> list[Retraining]:
    return [Retraining(f"n{i}", score, iterations, seed, how) for i, score in enumerate(scores)]


def test_retrainings_count_by_length_and_recipe() -> None:
    shorts = [short(i, 0.3 + i / 100) for i in range(10)]
    rising = [0.5 + i / 100 for i in range(10)]
    mixed = retrained(rising[:5]) + retrained(rising, how="other data")[5:]
    assert trust(run_of(shorts, mixed)).verdict.endswith("; 5 were so far")
    found = trust(run_of(shorts, [*mixed, *retrained(rising)]))
    assert found.verdict == "trust it" and found.decisive is not None
    assert (found.decisive.iterations, found.decisive.provenance) == (3000, "full")
    seeds = [*retrained(rising[::-1], seed=0), *retrained([4 * score for score in rising], seed=1)]
    assert trust(run_of(shorts, seeds)).verdict == "trust it", "the mean over seeds"
    assert trust(run_of(shorts, retrained(rising, iterations=50))).verdict.endswith("; none was so far")


def test_noise_from_seeds() -> None:
    trials = [short(0, 0.30, seed=0), short(0, 0.34, seed=1), short(0, 0.32, seed=2)]
    trials += [short(1, 0.34, seed=0), short(1, 0.33, seed=1), short(2, 0.90, seed=0), short(3, 0.1)]
    noise = trust(run_of(trials)).noise
    assert noise is not None
    pooled = math.sqrt((2 * stdev([0.30, 0.34, 0.32]) ** 2 + stdev([0.34, 0.33]) ** 2) / 3)
    assert (noise.std, noise.networks) == (pytest.approx(pooled), 2)
    # On the front are the networks 0, 1 and 2; the first two are .015 apart, their means' noise is some .03.
    assert (noise.alike, noise.members) == (2, 3)
    assert trust_lines(run_of(trials))[1].startswith(
        "noise: from seed to seed the mIoU of a network varies by 1.68 % (standard deviation, 2 networks); "
        "2 of the 3 on the front"
    )


def test_finalists_stand_with_the_mean_of_their_seeds() -> None:
    trials = ladder([0.5 + i / 100 for i in range(9)])
    lifted = [long(0, 0.9, seed=seed) for seed in (1, 2)]  # by two seeds far above its first one
    assert trust(run_of(trials)).comparisons[0].overall.tau == 1
    assert trust(run_of(trials + lifted)).comparisons[0].overall.tau == pytest.approx(1 - 2 * 8 / 36)
