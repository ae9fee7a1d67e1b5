"""What is said before a search begins."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from search_factories import opened, problem, scheduler, standing

from boostformer.architecture import Architecture
from boostformer.data import DataConfig, SceneCounts
from boostformer.model import BoostFormer
from evaluators.proxy import Proxy
from results.trial import Status, Trial, TrialKey
from search.cli import announce
from search.cli.announce import announcement, cost
from search.config.opening import OpenExperiment, open_proxy
from search.strategies.history import Observation
from search.study.scheduler import Done, Propose, Scheduler, Step, Train


@pytest.fixture(scope="module")
def proxy() -> Proxy:
    data = DataConfig(kind="scenes", size=(64, 64), scenes=SceneCounts(training=2, validation=1))
    diverging = opened(data=data, proxy={"iterations": 100_000, "batch_size": 2, "lr": 1e9})
    return open_proxy(diverging.experiment)


def search(evaluator: Proxy, **changes: Any) -> OpenExperiment:
    """One that trains as the ``evaluator`` does."""
    made = opened(**changes)
    made.proxy = evaluator  # type: ignore[misc]  # whatever data it has
    return made


def told(evaluator: Proxy, trials: list[Trial], networks: int = 3, **changes: Any) -> str:
    """The line about the cost."""
    made = search(evaluator, **changes)
    line = cost(made, trials, standing(networks, scheduler=Scheduler.of(made.experiment, networks)))
    assert line is not None and line.startswith("cost     ")
    return line


def ended(*seconds: float, rung: int = 0) -> list[Trial]:
    return [
        Trial(100 * rung + n, TrialKey(f"id{n}", rung, 0), Status.FINISHED, {}, 1, 1, 1, 0, True, seconds=each)
        for n, each in enumerate(seconds)
    ]


RUNGS: dict[str, Any] = {"proxy": {"iterations": [10, 30, 90]}}


def test_the_cost_is_measured_even_where_the_recipe_diverges(proxy: Proxy) -> None:
    text = told(proxy, [])
    assert text.startswith("cost     about ") and "from a few steps" in text


def test_the_cost_is_unknown_when_memory_runs_out(proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    def forward(self: BoostFormer, x: object) -> None:
        raise MemoryError("no room")

    monkeypatch.setattr(BoostFormer, "forward", forward)
    monkeypatch.setattr(proxy, "_paces", {})
    assert told(proxy, []) == "cost     unknown: out_of_memory: no room"


@pytest.fixture
def unmeasured(proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> Proxy:
    def estimate(arch: Architecture, rung: int = 0, *, from_scratch: bool = False) -> float:
        raise AssertionError("nothing is measured")

    monkeypatch.setattr(proxy, "estimate_seconds", estimate)
    return proxy


def test_trials_that_ended_tell_the_cost(unmeasured: Proxy) -> None:
    trials = ended(60.0, 120.0, 600.0)
    assert "about 2 min a training, 10 min in all" in told(unmeasured, trials, networks=8)
    assert cost(search(unmeasured), trials, standing(3, scheduler=scheduler(3))) is None
    others = [status for status in Status if status is not Status.FINISHED]
    more = [replace(trials[0], key=TrialKey(f"new{status}", 0, 0), status=status) for status in others]
    assert "10 min in all" in told(unmeasured, [*trials, *more], networks=9), "the one that failed is not repeated"


def test_each_rung_has_its_own_cost(unmeasured: Proxy, proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    trials = ended(60, 60, 60) + ended(240, 240, 240, rung=1) + ended(900, 900, 900, rung=2)
    assert told(unmeasured, trials, 18, **RUNGS).startswith(
        "cost     about 60 s, 4 min and 15 min a training, 27 min in all on this machine "
        "(the median of 3 trainings so far)"
    )
    seconds = {(0, False): 20.0, (1, False): 40.0, (2, False): 80.0, (2, True): 120.0}
    monkeypatch.setattr(
        proxy, "estimate_seconds", lambda arch, rung, *, from_scratch=False: seconds[rung, from_scratch]
    )
    assert told(proxy, trials[:3], 18, final_seeds=3, **RUNGS).startswith(
        "cost     about 60 s, 2 min and 4 min a training, 35 min in all on this machine, then 2 times 6 min for each "
        "network on the front (the median of 3 trainings so far and an estimate, from a few steps and from how long"
    )


def test_what_an_estimate_assumes_of_workers_that_share_a_card_is_said(
    proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(proxy, "estimate_seconds", lambda *arguments, **how: 8.0)

    def told(devices: int, workers: int, *trials: Trial) -> str:
        monkeypatch.setattr(announce, "visible", lambda: list(map(str, range(devices))))
        made = search(proxy)
        line = cost(made, list(trials), standing(63, scheduler=Scheduler.of(made.experiment, 63)), workers)
        assert line is not None
        return line

    shared = told(1, 14)
    assert "about 8 s a training, 36 s in all" in shared
    assert "measured alone on the card, which 14 workers share: if they take turns on it, up to 14 times" in shared
    assert shared.endswith("as long, 8 min; the first trainings will tell")
    assert "one of 2 cards, which 7 workers share" in told(2, 14)
    assert "measured alone, 4 workers beside each other take longer" in told(0, 4)
    assert "alone" not in told(1, 1) and "alone" not in told(0, 1)
    measured = told(1, 14, *ended(30.0, 28.0, 26.0))
    assert measured.startswith("cost     about 28 s a training, 2 min in all") and "alone" not in measured


def test_further_seeds_are_only_announced_when_they_come_next() -> None:
    def said(target: int, finished: int, step: Step) -> str:
        key = problem().random(np.random.default_rng(0), ())
        known = standing(target, finished, history=[Observation(key, Status.FINISHED, 0.5)], step=step)
        return announcement(opened(final_seeds=3), known).splitlines()[-1]

    assert said(12, 10, Propose(0)).endswith(": 10 done, 2 to do")
    assert said(10, 10, Train(TrialKey("x", 0, 1))).endswith(": 10 done, further seeds of the front to do")
    assert said(10, 10, Done()).endswith(": 10 done, 0 to do")


def test_budgets_that_exclude_nothing_are_remarked() -> None:
    def said(**limits: int) -> list[str]:
        return announcement(opened(limits=limits), standing(6)).splitlines()[:2]

    assert not any("exclude nothing" in line for line in said(params=40_000))
    space, budgets = said(params=10**9)
    assert "all of random draws fit" not in space and "all random draws fit" in space
    assert budgets.endswith("; they exclude nothing that a search would draw")
    space, budgets = said()
    assert space.endswith(" networks") and budgets == "budgets  none"


def test_what_is_trained_is_announced() -> None:
    def proxies(**changes: Any) -> str:
        made = opened(**changes)
        known = standing(18, scheduler=Scheduler.of(made.experiment, 18))
        lines = announcement(made, known).splitlines()
        (found,) = [line for line in lines if line.startswith("proxy ")]
        return found

    assert proxies(proxy={"iterations": 10}) == "proxy    10 iterations of 4 images, from scratch"
    assert proxies(proxy={"iterations": 1}) == "proxy    1 iteration of 4 images, from scratch"
    assert proxies(**RUNGS) == (
        "proxy    10 iterations of 4 images, from scratch, for 18 networks; "
        "carried on to 30 for up to 6 and to 90 for up to 2 of them"
    )
    assert proxies(**RUNGS, final_seeds=3).endswith("2 of them; at the end 3 seeds for each network on the front")


def test_that_several_workers_do_not_repeat_is_said_before_they_begin(proxy: Proxy) -> None:
    made = search(proxy)
    alone, together = (announcement(made, standing(3), workers) for workers in (1, 2))
    assert "--workers 1" in together and "--workers" not in alone
