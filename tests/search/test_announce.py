"""What is said before a search begins."""

from __future__ import annotations

import pytest
from search_factories import problem

from boostformer.architecture import Architecture
from boostformer.data import DataConfig, SceneCounts
from boostformer.model import BoostFormer
from boostformer.training import recipe
from evaluators.proxy import Proxy
from results.record import Record
from search.announce import cost


@pytest.fixture(scope="module")
def proxy() -> Proxy:
    data = DataConfig(kind="scenes", size=(64, 64), scenes=SceneCounts(training=2, validation=1))
    return Proxy(data, recipe("proxy", iterations=100_000, batch_size=2, lr=1e9))


def test_the_cost_is_measured_even_where_the_recipe_diverges(proxy: Proxy) -> None:
    text = cost(problem(), proxy, [], 3)
    assert text.startswith("cost     about ") and "from a few steps" in text


def test_the_cost_is_unknown_when_memory_runs_out(proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    def forward(self: BoostFormer, x: object) -> None:
        raise MemoryError("no room")

    monkeypatch.setattr(BoostFormer, "forward", forward)
    assert cost(problem(), proxy, [], 3) == "cost     unknown: out_of_memory: no room"


def test_trials_that_ended_tell_the_cost(proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    def estimate(arch: Architecture) -> float:
        raise AssertionError("nothing is measured")

    monkeypatch.setattr(proxy, "estimate_seconds", estimate)
    records = [
        Record(number, "id", "finished", {}, 1, 1, 1, 0, True, seconds=seconds)
        for number, seconds in enumerate((60.0, 120.0, 600.0))
    ]
    assert "about 2 min a trial, 10 min in all" in cost(problem(), proxy, records, 5)
