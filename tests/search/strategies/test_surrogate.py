"""The model and the expected gain of our own strategy, against plain definitions."""

from __future__ import annotations

import numpy as np
import pytest
from search_factories import problem, propose, quality, tiny
from volumes import hypervolume

from results.trial import Status
from search.config.problem import Problem
from search.strategies.gaussian_process import GaussianProcess, learn_kernel
from search.strategies.history import History, Key, Observation
from search.strategies.improvement import LIMIT, Improvement
from search.strategies.kernel import Inputs, Kernel, negative_log_likelihood
from search.strategies.surrogate import Surrogate
from search_space.genes import Genes, keys


def inputs(genes: Genes, numbers: int = 2) -> Inputs:
    task = problem()
    logs = np.log(task.costs(genes))[:, :numbers]
    return Inputs.of(task.genes, genes, (logs - logs.mean(axis=0)) / logs.std(axis=0))


def test_the_model_ranks_unseen_networks_and_knows_what_it_does_not_know() -> None:
    genes = problem().genes.sample(np.random.default_rng(0), 240)
    scores = np.array([quality(tiny().decode(row)) for row in genes])
    seen = inputs(genes)
    known = seen[np.arange(140)]
    model = GaussianProcess(learn_kernel(problem().genes, known, scores[:140]), known, scores[:140])
    mean, deviation = model.predict(seen[np.arange(140, 240)])
    assert np.corrcoef(mean, scores[140:])[0, 1] > 0.65
    errors = np.abs(mean - scores[140:])
    assert (errors < 2 * np.hypot(deviation, np.sqrt(model.kernel.sigma_n2) * model.scale)).mean() > 0.5
    assert model.predict(known)[1].mean() < deviation.mean()


def test_the_gradient_is_that_of_the_likelihood() -> None:
    genes = problem().genes.sample(np.random.default_rng(0), 25)
    seen, rng = inputs(genes), np.random.default_rng(1)
    scores = rng.normal(size=25)
    count = len(problem().genes.choices)
    point = rng.normal(0, 0.3, 6 + count + 2)
    point[:6] -= 1.5

    def loss(at: np.ndarray) -> tuple[float, np.ndarray]:
        values = np.exp(at)
        return negative_log_likelihood(
            Kernel(values[:5], values[5], values[6 : 6 + count] / count, values[6 + count :]), seen, scores
        )

    _, slope = loss(point)
    for i in [*range(6), 6, 9, 20, len(point) - 2, len(point) - 1]:
        step = np.zeros(len(point))
        step[i] = 1e-2  # the kernel is in single precision
        ahead, behind = loss(point + step)[0], loss(point - step)[0]
        assert slope[i] == pytest.approx((ahead - behind) / 2e-2, rel=2e-2, abs=2e-3)


def test_equal_scores_and_a_lone_example_are_no_obstacle() -> None:
    genes = problem().genes.sample(np.random.default_rng(0), 12)
    seen = inputs(genes)
    for count in (1, 8):
        known, scores = seen[np.arange(count)], np.full(count, 0.3)
        mean, deviation = GaussianProcess(learn_kernel(problem().genes, known, scores), known, scores).predict(seen)
        assert mean == pytest.approx(np.full(12, 0.3)) and np.isfinite(deviation).all()


@pytest.mark.parametrize("costs", [1, 2, 3])
def test_the_expected_gain_is_the_mean_gain_of_hypervolume(costs: int) -> None:
    rng = np.random.default_rng(costs)
    front_scores, front_costs = rng.random(6), rng.random((6, costs)) * 0.9
    gain = Improvement(front_scores, front_costs, 0.1)
    mean, deviation, at = rng.random(5), np.full(5, 0.2), rng.random((5, costs))
    expected = gain.expected(mean, deviation, at)
    reference = [-0.1, *[LIMIT] * costs]
    front = np.column_stack([-front_scores, front_costs])
    before = hypervolume(front, reference)
    for i in range(5):
        # Quantiles of the normal distribution instead of draws: the mean over them converges faster.
        draws = mean[i] + deviation[i] * _normal_quantiles(400)
        volumes = [hypervolume(np.vstack([front, [-score, *at[i]]]), reference) - before for score in draws]
        assert expected[i] == pytest.approx(np.mean(volumes), rel=0.02, abs=1e-4)


def _normal_quantiles(count: int) -> np.ndarray:
    from scipy.special import ndtri

    found: np.ndarray = ndtri((np.arange(count) + 0.5) / count)
    return found


def test_with_more_points_than_cells_the_gain_is_near() -> None:
    rng = np.random.default_rng(0)
    costs = np.sort(rng.random(200))[:, None]
    costs = np.hstack([costs, costs[::-1]])
    scores = rng.random(200)
    gain = Improvement(scores, costs, 0.0)
    found = gain.expected(np.array([0.9]), np.array([1e-6]), np.array([[0.3, 0.4]]))
    front = np.column_stack([-scores, costs])
    exact = hypervolume(np.vstack([front, [-0.9, 0.3, 0.4]]), [0, LIMIT, LIMIT]) - hypervolume(front, [0, LIMIT, LIMIT])
    assert found[0] == pytest.approx(exact, rel=0.35)


def measured(key: Key) -> float:
    """Made-up milliseconds."""
    return 0.5 + sum(gene + 1 for gene in key[:40]) / 40


def observed(task: Problem, limit: float) -> list[Observation]:
    found = []
    for key in keys(task.genes.sample(np.random.default_rng(0), 60)):
        ms = measured(key)
        state = "rejected" if ms > limit else "finished"
        found.append(Observation(key, state, None if ms > limit else quality(tiny().decode(key)), ms))
    return found


def test_latency_that_only_a_board_can_tell_is_predicted_and_its_budget_kept() -> None:
    task = Problem(tiny(), ("miou", "latency_ms"), problem(limits={}).budget, problem().table)
    drawn = [measured(key) for key in keys(task.genes.sample(np.random.default_rng(1), 500))]
    limit = float(np.median(drawn))
    history = observed(task, limit)
    strategy = Surrogate(task, 0)
    within = 0
    for _ in range(10):
        key = propose(strategy, history)
        within += measured(key) <= limit
        history.append(Observation(key, Status.RUNNING))
    assert within >= 8  # a random network is within it half the time


def test_networks_in_training_are_not_proposed_again_and_spread_the_next() -> None:
    task = problem()
    rng = np.random.default_rng(0)
    done = [
        Observation(k, Status.FINISHED, quality(tiny().decode(k))) for k in {task.random(rng, ()) for _ in range(40)}
    ]
    strategy = Surrogate(task, 0)
    history = list(done)
    for _ in range(6):
        history.append(Observation(propose(strategy, history), Status.RUNNING))
    assert len({o.genes for o in history}) == len(done) + 6


def test_a_history_learns_what_changed() -> None:
    task = problem()
    one, two = keys(task.genes.sample(np.random.default_rng(0), 2))
    history = History(task)
    history.learn([Observation(one, Status.RUNNING)])
    history.learn([Observation(one, Status.FINISHED, 0.5), Observation(two, Status.FAILED)])
    fresh = History(task)
    fresh.learn(history.observations)
    assert history.scored.tolist() == fresh.scored.tolist() == [0]
    assert np.array_equal(history.costs, fresh.costs) and np.array_equal(history.genes, fresh.genes)
    history.learn([Observation(two, Status.FINISHED, 0.1)])  # another history altogether
    assert list(history.known) == [two] and len(history.genes) == len(history.costs) == 1
