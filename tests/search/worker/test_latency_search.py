"""A search for milliseconds: predicted before anything is trained, or measured on a device that is not always there."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from latency_factories import OTHER, PROVENANCE, Device, milliseconds, timed_plan
from search_factories import Watcher, medium, quality, quick, run, small

from boostformer.architecture import Architecture
from boostformer.errors import UserError
from evaluators.latency.backend import MeasureFailure, Unavailable
from evaluators.latency.device import DeviceConfig
from evaluators.latency.devices import Entry, find
from evaluators.latency.estimate.estimate import Estimate
from evaluators.proxy import Progress, Score
from results.pareto import front, minimised
from results.schema import Record, read_run
from search.cli.outcome import so_far
from search.config import timing as latency
from search.config.timing import Timing
from search.strategies import STRATEGIES
from search.strategies.ranking import best_first
from search.study.queue import INTERRUPTED, Store
from search.worker import loop as engine

every = pytest.mark.parametrize("strategy", STRATEGIES)


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> Device:
    """Stands for every device; nobody waits for it long."""
    made = Device()
    monkeypatch.setattr(Entry, "open", lambda entry: made)
    monkeypatch.setattr(latency, "PAUSES", (0.0,))
    return made


class Objective:
    """Trains nothing, and counts what it was asked to train."""

    def __init__(self) -> None:
        self.trained: list[str] = []

    def __call__(self, arch: Architecture, seed: int, progress: Progress, **how: Any) -> Score:
        self.trained.append(arch.id)
        return quick(arch, seed, progress)


def unavailable(number: int) -> None:
    raise Unavailable("no route to host")


def ended(folder: Path, how: str) -> list[Record]:
    """The records whose state or failure begins so."""
    return [record for record in read_run(folder).records if (record.failure or record.state).startswith(how)]


def said(watcher: Watcher) -> str:
    return "\n".join(message["says"] for message in watcher.messages if "says" in message)


def middle(space_of: list[float]) -> float:
    return float(np.median(space_of))


@every
def test_nothing_that_is_predicted_over_budget_is_ever_tried(tmp_path: Path, strategy: str) -> None:
    nano = Estimate("jetson-nano")
    limit = middle([nano.milliseconds(arch) for arch in medium()])
    this = timed_plan(limit, device="jetson-nano", strategy=strategy)
    run(tmp_path, 20, plan=this)
    records = read_run(tmp_path).records
    assert [record.state for record in records] == ["finished"] * 20
    for record in records:
        found = nano.latency(Architecture.from_dict(record.architecture))
        assert record.feasible and found.ms <= limit
        assert (record.latency_ms, record.latency_low_ms, record.latency_high_ms) == (
            found.ms,
            found.figure.low,
            found.figure.high,
        )
        assert record.latency_provenance == str(found.provenance) and found.provenance.kind == "estimated"
    assert len({record.latency_ms for record in records}) > 5


def test_a_budget_that_equals_a_prediction_to_the_last_bit_is_kept_and_met(tmp_path: Path) -> None:
    """Sums over a population and one by one differ in their last bits."""
    nano = Estimate("jetson-nano")
    figures = sorted(nano.milliseconds(arch) for arch in small())
    for limit in figures[4::5]:
        this = timed_plan(limit, small(), device="jetson-nano")
        folder = tmp_path / str(limit)
        run(folder, 100, plan=this)
        records = read_run(folder).records
        assert {record.failure for record in records} == {None} and all(record.feasible for record in records)
        assert len(records) == sum(figure <= limit for figure in figures)


@every
def test_what_is_measured_over_budget_is_set_aside(tmp_path: Path, device: Device, strategy: str) -> None:
    limit, objective = middle([milliseconds(arch) for arch in medium()]), Objective()
    watcher = run(tmp_path, 15, objective, plan=timed_plan(limit, strategy=strategy))
    finished, rejected = ended(tmp_path, "finished"), ended(tmp_path, "over budget: ")
    assert len(finished) == 15 and rejected, "those over budget do not count"
    assert objective.trained == [record.id for record in finished], "those over budget are not trained"
    records = read_run(tmp_path).records
    assert len(records) == len(finished) + len(rejected)
    assert device.asked == [record.id for record in records]
    assert max(Counter(device.asked).values()) == 1, "none is tried again"
    for record in records:
        ms = milliseconds(Architecture.from_dict(record.architecture))
        assert (record.latency_ms, record.latency_low_ms, record.latency_high_ms) == (ms, 0.9 * ms, 1.1 * ms)
        assert record.latency_provenance == str(PROVENANCE) and record.latency_state == {"clock": 921}
        assert record.feasible == (ms <= limit) == (record.miou is not None)
    assert so_far(tmp_path) == f"15 trials finished, {len(rejected)} over budget"
    first = rejected[0]
    assert first.failure == f"over budget: {first.latency_ms:.2f} ms of {limit:.2f} ms"
    assert f"trial {first.trial} {first.id}: {first.failure}" in said(watcher)
    assert {record.id for record in front(records, ["miou", "latency_ms"])} <= set(objective.trained)


@every
def test_strategies_know_all_that_was_measured_over_budget(tmp_path: Path, device: Device, strategy: str) -> None:
    """So a search over a whole space comes to its end, with each network measured once."""
    limit = middle([milliseconds(arch) for arch in small()])
    watcher = run(tmp_path, 100, plan=timed_plan(limit, small(), strategy=strategy))
    assert watcher.ended_early == "all networks of the space that fit the budgets are known (24 tried)"
    assert Counter(device.asked) == Counter(arch.id for arch in small())
    assert len(ended(tmp_path, "finished")) == sum(milliseconds(arch) <= limit for arch in small())
    this = timed_plan(limit, small())
    with Store(tmp_path, this, this.problem()) as store:
        history = store.standing().history
    known = {small().decode(o.genes).id: (o.state, o.latency_ms) for o in history}
    assert known == {
        arch.id: ("finished" if milliseconds(arch) <= limit else "rejected", milliseconds(arch)) for arch in small()
    }


def test_a_search_without_any_network_within_budget_ends(
    tmp_path: Path, device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "HOPELESS", 5)
    objective = Objective()
    watcher = run(tmp_path, 3, objective, plan=timed_plan(0.001))
    assert watcher.ended_early == "5 networks in a row were measured over budget"
    assert (len(device.asked), objective.trained) == (5, [])


def test_who_gives_up_brings_to_its_end_what_was_begun(
    tmp_path: Path, device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "HOPELESS", 20)
    fast = sorted(milliseconds(arch) for arch in medium())[len(list(medium())) // 8]
    watcher = run(tmp_path, 300, plan=timed_plan(fast, rungs=(2, 6), final_seeds=2, strategy="random"))
    assert watcher.ended_early == "20 networks in a row were measured over budget"
    finished = ended(tmp_path, "finished")
    counts = [len({record.id for record in finished if record.rung == rung}) for rung in (0, 1)]
    assert counts[1] == counts[0] // 3 > 0 and any(record.seed for record in finished)


def test_what_waits_is_measured_before_others_are_promoted(tmp_path: Path, device: Device) -> None:
    """As soon as the device has answered again."""
    device.before = lambda number: unavailable(number) if number < 9 else None
    run(tmp_path, 9, plan=timed_plan(rungs=(2, 6)))
    finished = ended(tmp_path, "finished")
    rungs = [record.rung for record in finished]
    assert rungs == [0] * 9 + [1] * 3
    order = best_first(minimised(finished[:9], ["miou", "latency_ms"]), 3)
    assert {record.id for record in finished[9:]} == {finished[i].id for i in order}


@pytest.mark.parametrize("limit", [None, 1000.0])
def test_a_network_that_cannot_be_measured_fails_with_the_reason(
    tmp_path: Path, device: Device, limit: float | None
) -> None:
    def before(number: int) -> None:
        if number == 1:
            raise MeasureFailure("board: no steady run")

    device.before = before
    run(tmp_path, 4, plan=timed_plan(limit))
    assert [r.failure or r.state for r in read_run(tmp_path).records] == [
        "finished",
        "latency: board: no steady run",
        "finished",
        "finished",
    ]
    assert max(Counter(device.asked).values()) == 1


def test_while_a_device_is_off_networks_are_scored_and_measured_later(tmp_path: Path, device: Device) -> None:
    objective = Objective()
    device.before = lambda number: unavailable(number) if number in (0, 2, 5) else None
    watcher = run(tmp_path, 5, objective, plan=timed_plan())
    records = read_run(tmp_path).records
    assert [r.failure or r.state for r in records] == [
        "waiting: no route to host",
        "finished",
        "waiting: no route to host",
        "finished",
        "finished",
        "finished",  # trial 0, at the second attempt
        "finished",  # trial 2
    ]
    assert [record.id for record in records[5:]] == [records[0].id, records[2].id]
    assert objective.trained == [record.id for record in records[:5]], "none is trained again"
    for record in (*records[:5], *records[5:]):
        assert record.miou == quality(Architecture.from_dict(record.architecture))
        assert record.seconds is not None and record.provenance == "made up"
        assert (record.latency_ms is None) == (record.state == "failed")
    assert "device 'host' cannot be reached (no route to host); trying again in 0 s" in said(watcher)
    assert so_far(tmp_path) == "5 trials finished"
    assert run(tmp_path, 5, objective, plan=timed_plan()).messages == []


def test_what_waits_is_measured_when_there_is_nothing_more_to_try(tmp_path: Path, device: Device) -> None:
    device.before = lambda number: unavailable(number) if number < 3 else None
    watcher = run(tmp_path, 100, plan=timed_plan(space=small()))
    assert len(ended(tmp_path, "finished")) == small().count
    assert watcher.ended_early is not None


def test_with_a_budget_a_device_that_is_off_is_waited_for(tmp_path: Path, device: Device) -> None:
    """No network is trained whose latency is not known."""
    objective = Objective()

    def before(number: int) -> None:
        assert len(objective.trained) == 0 or number > 3
        if number < 3:
            raise Unavailable("no route to host")

    device.before = before
    watcher = run(tmp_path, 2, objective, plan=timed_plan(1000.0))
    assert [record.state for record in read_run(tmp_path).records] == ["finished"] * 2
    assert device.asked == [objective.trained[0]] * 4 + [objective.trained[1]]
    assert said(watcher).count("trying again") == 3


@pytest.mark.parametrize("limit", [None, 1000.0])
def test_ctrl_c_while_waiting_gives_the_trial_back(
    tmp_path: Path, device: Device, monkeypatch: pytest.MonkeyPatch, limit: float | None
) -> None:
    def sleep(seconds: float) -> None:
        raise KeyboardInterrupt

    objective = Objective()
    device.before = unavailable
    with monkeypatch.context() as patch:
        patch.setattr(latency.time, "sleep", sleep)
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path, 1, objective, plan=timed_plan(limit))
    assert ended(tmp_path, INTERRUPTED) and not ended(tmp_path, "running")
    device.before = lambda number: None
    run(tmp_path, 1, objective, plan=timed_plan(limit))
    (record,) = ended(tmp_path, "finished")
    assert set(device.asked) == {record.id} and objective.trained == [record.id]


def test_what_was_measured_before_an_interruption_is_not_measured_again(tmp_path: Path, device: Device) -> None:
    def interrupted(arch: Architecture, seed: int, progress: Progress, **how: Any) -> Score:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, 1, interrupted, plan=timed_plan(1000.0))
    run(tmp_path, 1, plan=timed_plan(1000.0))
    (record,) = ended(tmp_path, "finished")
    assert device.asked == [record.id] and record.latency_ms is not None


def test_figures_of_another_provenance_end_the_search_and_are_not_kept(tmp_path: Path, device: Device) -> None:
    this = timed_plan()

    def before(number: int) -> None:
        if number == 2:
            device.told = OTHER

    device.before = before
    with pytest.raises(UserError, match=f"'{PROVENANCE}', those of now would be '{OTHER}'") as caught:
        run(tmp_path, 5, plan=this)
    assert "device 'host': " in str(caught.value) and "\n" not in str(caught.value)
    device.told, device.before = PROVENANCE, lambda number: None
    run(tmp_path, 5, plan=this)
    records = read_run(tmp_path).records
    assert [record.failure for record in records[2:3]] == [INTERRUPTED]
    assert {record.latency_provenance for record in records} == {str(PROVENANCE), None}
    assert len(ended(tmp_path, "finished")) == 5


def test_a_board_that_is_off_does_not_keep_a_run_from_being_resumed(monkeypatch: pytest.MonkeyPatch) -> None:
    def off(entry: Entry[DeviceConfig]) -> Device:
        raise Unavailable("no route to host")

    earlier = Timing.of("host")
    assert earlier.as_entry().device == find("host").device
    monkeypatch.setattr(Entry, "open", off)
    assert Timing.of("host", earlier) == earlier
    changed = Timing("host", earlier.entry | {"threads": 7}, earlier.folder, earlier.provenance)
    for other in (None, changed, Timing("mine", earlier.entry, earlier.folder, earlier.provenance)):
        with pytest.raises(UserError, match="device 'host' cannot be reached: no route to host"):
            Timing.of("host", other)
