"""The correction of a table: it recovers what is known, and says honestly how well it does on what it has not seen."""

from __future__ import annotations

import numpy as np
import pytest

from evaluators.latency.table.correction import Correction, fit, leave_one_out, rank_correlation


def networks(count: int, seed: int = 0) -> np.ndarray:
    """Milliseconds of all elements, and their number."""
    rng = np.random.default_rng(seed)
    return np.column_stack([rng.uniform(5, 60, count), rng.integers(30, 120, count)])


@pytest.mark.parametrize("true", [Correction(1, 0, 0), Correction(1.2, 0.01, 0.5), Correction(0.8, 0.05, 2.0)])
def test_a_known_slope_launch_and_overhead_are_recovered(true: Correction) -> None:
    features = networks(40)
    found = fit(features, true.of_networks(features), strength=1e-9)
    assert found.slope == pytest.approx(true.slope, rel=1e-3)
    assert found.launch_ms == pytest.approx(true.launch_ms, abs=1e-4)
    assert found.overhead_ms == pytest.approx(true.overhead_ms, abs=1e-2)


def test_ten_networks_with_some_noise_are_enough_to_predict_others() -> None:
    true, rng = Correction(1.15, 0.02, 0.4), np.random.default_rng(3)
    features = networks(10)
    found = fit(features, true.of_networks(features) * (1 + 0.02 * rng.standard_normal(10)))
    unseen = networks(200, seed=4)
    assert np.abs(found.of_networks(unseen) / true.of_networks(unseen) - 1).mean() < 0.02


def test_where_the_sum_is_right_already_nothing_is_corrected() -> None:
    features = networks(5)
    found = fit(features, features[:, 0])
    assert found == Correction(pytest.approx(1), pytest.approx(0, abs=1e-9), pytest.approx(0, abs=1e-9))  # type: ignore[arg-type]


def test_the_fewer_networks_say_something_the_nearer_it_stays_to_the_plain_sum() -> None:
    true, features = Correction(2.0, 0, 0), networks(8)
    slopes = [fit(features, true.of_networks(features), strength).slope for strength in (1e-6, 0.1, 100)]
    assert slopes[0] > slopes[1] > slopes[2] > 1


def test_milliseconds_have_no_unit_that_matters() -> None:
    true, features = Correction(1.3, 0.02, 1.0), networks(10)
    measured = true.of_networks(features)
    one = fit(features, measured)
    slow = fit(features * [1000, 1], measured * 1000)
    assert slow.slope == pytest.approx(one.slope)
    assert (slow.launch_ms, slow.overhead_ms) == (
        pytest.approx(1000 * one.launch_ms),
        pytest.approx(1000 * one.overhead_ms),
    )


def test_of_an_element_and_of_networks_agree() -> None:
    correction = Correction(1.2, 0.01, 0.5)
    features = np.array([[30.0, 3.0]])
    together = sum(correction.of_element(ms) for ms in (5.0, 10.0, 15.0)) + correction.overhead_ms
    assert correction.of_networks(features) == pytest.approx([together])


def test_a_network_left_out_does_not_help_to_predict_itself() -> None:
    features, rng = networks(8), np.random.default_rng(1)
    measured = Correction(1.1, 0.01, 0.2).of_networks(features) * (1 + 0.05 * rng.standard_normal(8))
    measured[3] *= 2
    left_out, fitted = leave_one_out(features, measured), fit(features, measured).of_networks(features)
    assert left_out.shape == (8,)
    rest = np.arange(8) != 3
    assert left_out[3] == pytest.approx(fit(features[rest], measured[rest]).of_networks(features)[3])
    assert abs(left_out[3] / measured[3] - 1) > abs(fitted[3] / measured[3] - 1) + 0.02, "the fit knows its outlier"


def test_rank_correlation_is_spearman_s() -> None:
    assert rank_correlation([1, 2, 3, 4], [10, 20, 30, 400]) == pytest.approx(1)
    assert rank_correlation([1, 2, 3, 4], [4, 3, 2, 1]) == pytest.approx(-1)
    assert rank_correlation([1, 2, 3, 4, 5], [2, 1, 4, 3, 5]) == pytest.approx(0.8)
