"""A search for milliseconds: predicted before anything is trained, or measured on a device that is not always there."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from latency_factories import OTHER, PROVENANCE, Device, milliseconds, timed
from search_factories import Watcher, medium, quality, quick, run, small

from boostformer.architecture import Architecture
from boostformer.errors import UserError
from boostformer.figures import Figure, Latency
from evaluators.latency.backend import MeasureFailure, Unavailable
from evaluators.latency.devices import Entry
from evaluators.latency.estimate.estimate import Estimate
from evaluators.proxy import Progress, Score
from results.pareto import front, minimised
from results.run import read_run
from results.trial import Status, Trial
from search.cli.outcome import so_far
from search.config import timing
from search.strategies import STRATEGIES
from search.strategies.ranking import best_first
from search.study.queue import Queue
from search.worker import loop

every = pytest.mark.parametrize("strategy", STRATEGIES)


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> Device:
    """Stands for every device; nobody waits for it long."""
    made = Device()
    monkeypatch.setattr(Entry, "open", lambda entry: made)
    monkeypatch.setattr(timing, "PAUSES", (0.0,))
    return made


class Counted:
    """Trains nothing, and counts what it was asked to train."""

    def __init__(self) -> None:
        self.trained: list[str] = []

    def __call__(self, arch: Architecture, seed: int, progress: Progress, **how: Any) -> Score:
        self.trained.append(arch.id)
        return quick(arch, seed, progress)


def unavailable(number: int) -> None:
    raise Unavailable("no route to host")


def of_status(folder: Path, status: Status) -> list[Trial]:
    return [trial for trial in read_run(folder).trials if trial.status is status]


def said(watcher: Watcher) -> str:
    return "\n".join(message["says"] for message in watcher.messages if "says" in message)


def middle(space_of: list[float]) -> float:
    return float(np.median(space_of))


@every
def test_nothing_that_is_predicted_over_budget_is_ever_tried(tmp_path: Path, strategy: str) -> None:
    nano = Estimate("jetson-nano")
    limit = middle([nano.milliseconds(arch) for arch in medium()])
    this = timed(limit, device="jetson-nano", strategy=strategy)
    run(tmp_path, 20, search=this)
    trials = read_run(tmp_path).trials
    assert [trial.status for trial in trials] == ["finished"] * 20
    for trial in trials:
        found = nano.latency(Architecture.from_dict(trial.architecture))
        assert trial.feasible and found.ms <= limit
        assert trial.latency == found and found.provenance.kind == "estimated"
    assert len({trial.latency_ms for trial in trials}) > 5


def test_a_budget_that_equals_a_prediction_to_the_last_bit_is_kept_and_met(tmp_path: Path) -> None:
    """Sums over a population and one by one differ in their last bits."""
    nano = Estimate("jetson-nano")
    figures = sorted(nano.milliseconds(arch) for arch in small())
    for limit in figures[4::5]:
        this = timed(limit, small(), device="jetson-nano")
        folder = tmp_path / str(limit)
        run(folder, 100, search=this)
        trials = read_run(folder).trials
        assert {trial.reason for trial in trials} == {None} and all(trial.feasible for trial in trials)
        assert len(trials) == sum(figure <= limit for figure in figures)


@every
def test_what_is_measured_over_budget_is_set_aside(tmp_path: Path, device: Device, strategy: str) -> None:
    limit, evaluate = middle([milliseconds(arch) for arch in medium()]), Counted()
    watcher = run(tmp_path, 15, evaluate, search=timed(limit, strategy=strategy))
    finished, rejected = of_status(tmp_path, Status.FINISHED), of_status(tmp_path, Status.OVER_BUDGET)
    assert len(finished) == 15 and rejected, "those over budget do not count"
    assert evaluate.trained == [trial.id for trial in finished], "those over budget are not trained"
    trials = read_run(tmp_path).trials
    assert len(trials) == len(finished) + len(rejected)
    assert device.asked == [trial.id for trial in trials]
    assert max(Counter(device.asked).values()) == 1, "none is tried again"
    for trial in trials:
        ms = milliseconds(Architecture.from_dict(trial.architecture))
        assert trial.latency == Latency(Figure(ms, 0.9 * ms, 1.1 * ms), PROVENANCE, None, {"clock": 921})
        assert trial.feasible == (ms <= limit) == (trial.miou is not None)
    assert so_far(tmp_path) == f"15 networks finished, {len(rejected)} over budget"
    first = rejected[0]
    assert first.reason == f"{first.latency_ms:.2f} ms of {limit:.2f} ms"
    assert f"trial {first.number} {first.id}: over budget: {first.reason}" in said(watcher)
    assert {trial.id for trial in front(trials, ["miou", "latency_ms"])} <= set(evaluate.trained)


@every
def test_strategies_know_all_that_was_measured_over_budget(tmp_path: Path, device: Device, strategy: str) -> None:
    """So a search over a whole space comes to its end, with each network measured once."""
    limit = middle([milliseconds(arch) for arch in small()])
    watcher = run(tmp_path, 100, search=timed(limit, small(), strategy=strategy))
    assert watcher.ended_early == "all networks of the space that fit the budgets are known (24 tried)"
    assert Counter(device.asked) == Counter(arch.id for arch in small())
    assert len(of_status(tmp_path, Status.FINISHED)) == sum(milliseconds(arch) <= limit for arch in small())
    this = timed(limit, small())
    with Queue(tmp_path, this) as queue:
        history = queue.standing().history
    known = {small().decode(o.genes).id: (o.status, o.latency_ms) for o in history}
    assert known == {
        arch.id: (Status.FINISHED if milliseconds(arch) <= limit else Status.OVER_BUDGET, milliseconds(arch))
        for arch in small()
    }


def test_a_search_without_any_network_within_budget_ends(
    tmp_path: Path, device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "HOPELESS", 5)
    evaluate = Counted()
    watcher = run(tmp_path, 3, evaluate, search=timed(0.001))
    assert watcher.ended_early == "5 networks in a row were measured over budget"
    assert (len(device.asked), evaluate.trained) == (5, [])


def test_who_gives_up_brings_to_its_end_what_was_begun(
    tmp_path: Path, device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "HOPELESS", 20)
    fast = sorted(milliseconds(arch) for arch in medium())[len(list(medium())) // 8]
    watcher = run(tmp_path, 300, search=timed(fast, proxy={"iterations": [2, 6]}, final_seeds=2, strategy="random"))
    assert watcher.ended_early == "20 networks in a row were measured over budget"
    finished = of_status(tmp_path, Status.FINISHED)
    counts = [len({trial.id for trial in finished if trial.key.rung == rung}) for rung in (0, 1)]
    assert counts[1] == counts[0] // 3 > 0 and any(trial.key.seed for trial in finished)


def test_what_waits_is_measured_before_others_are_promoted(tmp_path: Path, device: Device) -> None:
    """As soon as the device has answered again."""
    device.before = lambda number: unavailable(number) if number < 9 else None
    run(tmp_path, 9, search=timed(proxy={"iterations": [2, 6]}))
    finished = of_status(tmp_path, Status.FINISHED)
    rungs = [trial.key.rung for trial in finished]
    assert rungs == [0] * 9 + [1] * 3
    order = best_first(minimised(finished[:9], ["miou", "latency_ms"]), 3)
    assert {trial.id for trial in finished[9:]} == {finished[i].id for i in order}


@pytest.mark.parametrize("limit", [None, 1000.0])
def test_a_network_that_cannot_be_measured_fails_with_the_reason(
    tmp_path: Path, device: Device, limit: float | None
) -> None:
    def before(number: int) -> None:
        if number == 1:
            raise MeasureFailure("board: no steady run")

    device.before = before
    run(tmp_path, 4, search=timed(limit))
    assert [(trial.status, trial.reason) for trial in read_run(tmp_path).trials] == [
        (Status.FINISHED, None),
        (Status.FAILED, "latency: board: no steady run"),
        (Status.FINISHED, None),
        (Status.FINISHED, None),
    ]
    assert max(Counter(device.asked).values()) == 1


def test_while_a_device_is_off_networks_are_scored_and_measured_later(tmp_path: Path, device: Device) -> None:
    evaluate = Counted()
    device.before = lambda number: unavailable(number) if number in (0, 2, 5) else None
    watcher = run(tmp_path, 5, evaluate, search=timed())
    trials = read_run(tmp_path).trials
    assert [(trial.status, trial.reason) for trial in trials] == [
        (Status.WAITING, "no route to host"),
        (Status.FINISHED, None),
        (Status.WAITING, "no route to host"),
        (Status.FINISHED, None),
        (Status.FINISHED, None),
        (Status.FINISHED, None),  # trial 0, at the second attempt
        (Status.FINISHED, None),  # trial 2
    ]
    assert f"trial 0 {trials[0].id}: waiting: no route to host" in said(watcher)
    assert [trial.id for trial in trials[5:]] == [trials[0].id, trials[2].id]
    assert evaluate.trained == [trial.id for trial in trials[:5]], "none is trained again"
    for trial in (*trials[:5], *trials[5:]):
        assert trial.miou == quality(Architecture.from_dict(trial.architecture))
        assert trial.seconds is not None and trial.provenance == "made up"
        assert (trial.latency is None) == (trial.status is Status.WAITING)
    assert "device 'host' cannot be reached (no route to host); trying again in 0 s" in said(watcher)
    assert so_far(tmp_path) == "5 networks finished"
    assert run(tmp_path, 5, evaluate, search=timed()).messages == []


def test_what_waits_is_measured_when_there_is_nothing_more_to_try(tmp_path: Path, device: Device) -> None:
    device.before = lambda number: unavailable(number) if number < 3 else None
    watcher = run(tmp_path, 100, search=timed(space=small()))
    assert len(of_status(tmp_path, Status.FINISHED)) == small().count
    assert watcher.ended_early is not None


def test_with_a_budget_a_device_that_is_off_is_waited_for(tmp_path: Path, device: Device) -> None:
    """No network is trained whose latency is not known."""
    evaluate = Counted()

    def before(number: int) -> None:
        assert len(evaluate.trained) == 0 or number > 3
        if number < 3:
            raise Unavailable("no route to host")

    device.before = before
    watcher = run(tmp_path, 2, evaluate, search=timed(1000.0))
    assert [trial.status for trial in read_run(tmp_path).trials] == ["finished"] * 2
    assert device.asked == [evaluate.trained[0]] * 4 + [evaluate.trained[1]]
    assert said(watcher).count("trying again") == 3


@pytest.mark.parametrize("limit", [None, 1000.0])
def test_ctrl_c_while_waiting_gives_the_trial_back(
    tmp_path: Path, device: Device, monkeypatch: pytest.MonkeyPatch, limit: float | None
) -> None:
    def sleep(seconds: float) -> None:
        raise KeyboardInterrupt

    evaluate = Counted()
    device.before = unavailable
    with monkeypatch.context() as patch:
        patch.setattr(time, "sleep", sleep)
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path, 1, evaluate, search=timed(limit))
    assert of_status(tmp_path, Status.INTERRUPTED) and not of_status(tmp_path, Status.RUNNING)
    device.before = lambda number: None
    run(tmp_path, 1, evaluate, search=timed(limit))
    (trial,) = of_status(tmp_path, Status.FINISHED)
    assert set(device.asked) == {trial.id} and evaluate.trained == [trial.id]


def test_what_was_measured_before_an_interruption_is_not_measured_again(tmp_path: Path, device: Device) -> None:
    def interrupted(arch: Architecture, seed: int, progress: Progress, **how: Any) -> Score:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, 1, interrupted, search=timed(1000.0))
    run(tmp_path, 1, search=timed(1000.0))
    (trial,) = of_status(tmp_path, Status.FINISHED)
    assert device.asked == [trial.id] and trial.latency_ms is not None


def test_figures_of_another_provenance_end_the_search_and_are_not_kept(tmp_path: Path, device: Device) -> None:
    this = timed()

    def before(number: int) -> None:
        if number == 2:
            device.told = OTHER

    device.before = before
    with pytest.raises(UserError, match=f"'{PROVENANCE}', those of now would be '{OTHER}'") as caught:
        run(tmp_path, 5, search=this)
    assert "device 'host': " in str(caught.value) and "\n" not in str(caught.value)
    device.told, device.before = PROVENANCE, lambda number: None
    run(tmp_path, 5, search=this)
    trials = read_run(tmp_path).trials
    assert trials[2].status is Status.INTERRUPTED and trials[2].latency is None
    assert {trial.latency.provenance for trial in trials if trial.latency is not None} == {PROVENANCE}
    assert len(of_status(tmp_path, Status.FINISHED)) == 5
