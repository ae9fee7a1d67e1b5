"""The front of a search that is over is measured once more, as far as its device allows."""

from __future__ import annotations

from pathlib import Path

import pytest
from latency_factories import OTHER, PROVENANCE, Device, milliseconds, timed_plan
from search_factories import run, small

from boostformer.architecture import Architecture
from boostformer.errors import UserError
from evaluators.latency.backend import MeasureFailure, Unavailable
from evaluators.latency.device import DeviceConfig
from evaluators.latency.devices import Entry
from results.pareto import front
from results.schema import Record, Run, read_run
from search.config.experiment import Plan
from search.worker.finalists import BUILDS, measure_finalists


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> Device:
    made = Device()
    monkeypatch.setattr(Entry, "open", lambda entry: made)
    return made


@pytest.fixture
def plan(tmp_path: Path, device: Device) -> Plan:
    """That of a finished run in ``tmp_path``; from now on the device counts what it is asked."""
    made = timed_plan(space=small())
    run(tmp_path, 24, plan=made)
    device.asked.clear()
    device.how.clear()
    return made


def members(folder: Path) -> list[Record]:
    found: Run = read_run(folder)
    return front(found.records, found.objectives)


def measured(folder: Path, plan: Plan) -> list[str]:
    """What is said while they are measured."""
    said: list[str] = []
    assert plan.timing is not None
    measure_finalists(folder, plan.timing, said.append)
    return said


def test_each_is_measured_once_in_several_builds_and_kept(tmp_path: Path, device: Device, plan: Plan) -> None:
    before = members(tmp_path)
    assert len(before) > 2 and all(member.final_latency_ms is None for member in before)
    said = measured(tmp_path, plan)
    assert said[0] == f"measuring finalist 1 of {len(before)} on 'host', 3 builds"
    assert device.asked == [member.id for member in before]
    assert set(device.how) == {(True, BUILDS)} and BUILDS >= 3
    for old, new in zip(before, members(tmp_path), strict=True):
        ms = milliseconds(Architecture.from_dict(new.architecture))
        assert (new.final_latency_ms, new.final_low_ms, new.final_high_ms) == (ms, 0.9 * ms, 1.1 * ms)
        assert (new.final_labels_ms, new.final_provenance) == (ms + 1, str(device.told))
        assert (new.trial, new.latency_ms, new.miou) == (old.trial, old.latency_ms, old.miou)
    assert measured(tmp_path, plan) == []
    assert len(device.asked) == len(before)
    others = [record for record in read_run(tmp_path).records if record.id not in device.asked]
    assert others and all(record.final_latency_ms is None for record in others)


def test_a_device_that_drops_out_is_said_and_the_rest_is_measured_later(
    tmp_path: Path, device: Device, plan: Plan
) -> None:
    def before(number: int) -> None:
        if number == 1:
            raise Unavailable("no route to host")

    device.before = before
    assert "no route to host" in measured(tmp_path, plan)[-1]
    found = [member.final_latency_ms is not None for member in members(tmp_path)]
    assert found == [True] + [False] * (len(found) - 1)
    device.asked.clear()
    device.before = lambda number: None
    measured(tmp_path, plan)
    assert device.asked == [member.id for member in members(tmp_path)][1:]
    assert all(member.final_latency_ms for member in members(tmp_path))


def test_one_that_cannot_be_measured_does_not_keep_the_others_waiting(
    tmp_path: Path, device: Device, plan: Plan
) -> None:
    def before(number: int) -> None:
        if number == 0:
            raise MeasureFailure("no steady run")

    device.before = before
    said = measured(tmp_path, plan)
    assert f"finalist {members(tmp_path)[0].trial} could not be measured: no steady run" in said
    assert [member.final_latency_ms is not None for member in members(tmp_path)] == [False] + [True] * (
        len(members(tmp_path)) - 1
    )


def test_what_the_user_has_to_mend_is_said_beside_the_front(
    tmp_path: Path, device: Device, plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(entry: Entry) -> Device:
        raise UserError("nano: its host key is not trusted")

    monkeypatch.setattr(Entry, "open", refused)
    assert measured(tmp_path, plan) == ["the finalists are not measured: nano: its host key is not trusted"]


def test_final_figures_are_of_the_run_s_provenance(tmp_path: Path, device: Device, plan: Plan) -> None:
    device.told = OTHER
    said = measured(tmp_path, plan)[-1]
    assert f"'host' is now '{OTHER}', other figures are '{PROVENANCE}'" in said
    assert all(member.final_latency_ms is None for member in members(tmp_path))


def test_of_a_board_that_is_estimated_nothing_is_measured(
    tmp_path: Path, device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    made = timed_plan(space=small(), device="jetson-nano")
    run(tmp_path, 3, plan=made)
    assert measured(tmp_path, made) == []


def test_of_a_table_the_device_that_it_predicts_is_measured(
    tmp_path: Path, device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    made = timed_plan(space=small(), device="host-table")
    run(tmp_path, 3, plan=made)

    def opens(entry: Entry[DeviceConfig]) -> Device:
        opened.append(entry.name)
        return device

    monkeypatch.setattr(Entry, "open", opens)
    measured(tmp_path, made)
    assert opened == ["host"] and all(member.final_latency_ms for member in members(tmp_path))
