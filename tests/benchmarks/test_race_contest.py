"""Landscapes, the referee of a race and the filter around peers."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from search.strategies.base import PATIENCE
from search.strategies.history import Key
from search_space.genes import keys

pytest.importorskip("scipy", reason="races need the extra 'benchmark'")

from racing import pairwise
from racing.contest import Contest, Over
from racing.filtered import run_filtered
from racing.hierarchical import Hierarchical
from racing.landscape import Landscape, normal, uniform
from racing.pairwise import Pairwise
from racing.tx2 import TX2


@pytest.fixture(scope="module")
def ground() -> Landscape:
    return Pairwise()


@pytest.mark.parametrize("kind", [Pairwise, Hierarchical])
def test_a_network_shows_the_same_whenever_it_is_trained_in_a_race(kind: type[Landscape]) -> None:
    ground = kind()
    genes = ground.genes.sample(np.random.default_rng(1), 50)
    together = ground.see(genes, 3)
    assert together[7:8] == ground.see(genes[7:8], 3)
    assert not np.allclose(together, ground.see(genes, 4))


@pytest.mark.parametrize("kind", [Pairwise, Hierarchical])
def test_budgets_agree_and_hold_a_fair_share(kind: type[Landscape]) -> None:
    ground = kind()
    genes = ground.genes.sample(np.random.default_rng(2), 2000)
    fits = ground.excess(genes) <= 0
    assert fits[:20].tolist() == [ground.fits(key) for key in keys(genes[:20])]
    assert 0.1 < fits.mean() < 0.4
    known: set[Key] = set()
    rng = np.random.default_rng(0)
    for _ in range(30):
        known.add(ground.random(rng, known))
    assert len(known) == 30
    assert all(map(ground.fits, known))


def test_noise_is_normal_and_differs_between_seeds(ground: Landscape) -> None:
    genes = ground.genes.sample(np.random.default_rng(0), 20_000)
    noise = normal(np.unique(genes, axis=0), 5)
    assert abs(noise.mean()) < 0.03
    assert noise.std() == pytest.approx(1, abs=0.03)
    assert abs(np.corrcoef(noise, normal(np.unique(genes, axis=0), 6))[0, 1]) < 0.03
    assert (uniform(genes, 1) > 0).all()
    assert (uniform(genes, 1) < 1).all()


def test_all_networks_of_the_pairwise_space_are_listed_once() -> None:
    genes = Pairwise().all()
    assert genes.shape == (995_328, len(pairwise.SIZES))
    assert genes.max(axis=0).tolist() == [size - 1 for size in pairwise.SIZES]
    assert (np.diff(genes.astype(np.int64) @ np.cumprod((1, *pairwise.SIZES[:0:-1]))[::-1]) == 1).all()


def test_the_tx2_table_is_read_by_genes(shared: Path) -> None:
    ground = TX2(shared / "bench" / "nb201_cifar10_tx2.csv")
    genes = np.array([[4, 2, 1, 2, 1, 1]], dtype=np.int16)
    assert ground.costs(genes).tolist() == [[0.129306, 5.8074]]
    assert ground.true(genes)[0] == pytest.approx(np.mean([0.82092, 0.81616, 0.8224]))
    seen = {round(float(ground.see(genes, seed)[0]), 6) for seed in range(40)}
    assert seen == {0.82092, 0.81616, 0.8224}
    assert keys(ground.all()[:2]) == [(0, 0, 0, 0, 0, 0), (0, 0, 0, 0, 0, 1)]


def test_a_contest_counts_new_networks_only(ground: Landscape) -> None:
    rng = np.random.default_rng(0)
    contest = Contest(ground, seed=0, evaluations=2)
    first = ground.random(rng, ())
    assert contest.train(first) == contest.train(first)
    contest.train(ground.random(rng, {first}))
    assert contest.train(first) == contest.seen[first]
    with pytest.raises(Over):
        contest.train(ground.random(rng, contest.seen))
    assert contest.genes.shape == (2, len(pairwise.SIZES))


def test_a_contest_refuses_to_train_what_is_over_budget(ground: Landscape) -> None:
    genes = ground.genes.sample(np.random.default_rng(0), 100)
    key = keys(genes[ground.excess(genes) > 0])[0]
    with pytest.raises(ValueError, match="over budget"):
        Contest(ground, 0, 10).train(key)


class Recorded:
    """A sampler that asks for what it is given, and keeps what it is told."""

    def __init__(self, *asked: Key) -> None:
        self._asked = iter(asked)
        self.told: list[tuple[Key, float | None]] = []
        self.added: list[tuple[Key, float]] = []

    def ask(self) -> Key:
        return next(self._asked)

    def tell(self, key: Key, miou: float | None) -> None:
        self.told.append((key, miou))

    def add(self, key: Key, miou: float) -> None:
        self.added.append((key, miou))


def test_the_filter_answers_repeats_and_refuses_what_is_over_budget(ground: Landscape) -> None:
    genes = ground.genes.sample(np.random.default_rng(0), 300)
    large = keys(genes[ground.excess(genes) > 0])[0]
    first, second = islice(keys(genes[ground.excess(genes) <= 0]), 2)
    contest = Contest(ground, 0, 2)
    sampler = Recorded(first, first, large, second, first)
    with pytest.raises(StopIteration):
        run_filtered(contest, sampler)
    score = contest.seen
    assert sampler.told == [
        (first, score[first]),
        (first, score[first]),
        (large, None),
        (second, score[second]),
        (first, score[first]),
    ]
    assert sampler.added == []


def test_the_filter_takes_a_random_network_when_all_is_refused(ground: Landscape) -> None:
    first = ground.random(np.random.default_rng(9), ())
    contest = Contest(ground, 0, 2)
    sampler = Recorded(*[first] * (1 + PATIENCE))
    with pytest.raises(StopIteration):
        run_filtered(contest, sampler)
    assert len(sampler.told) == 1 + PATIENCE
    assert [key for key, _ in sampler.added] == list(contest.seen)[1:]
    assert len(contest.seen) == 2
