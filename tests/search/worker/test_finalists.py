"""The front of a search that is over is measured once more, as far as its device allows."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from latency_factories import OTHER, PROVENANCE, Device, milliseconds, timed
from search_factories import run, small

from boostformer.architecture import Architecture
from boostformer.errors import UserError
from boostformer.figures import Figure, Latency
from evaluators.latency.backend import MeasureFailure, Unavailable
from evaluators.latency.devices import Entry
from results.pareto import front, pick
from results.run import note_finalist, open_study, read_run
from results.tables import to_rows
from results.trial import Trial
from search.config.opening import OpenExperiment
from search.worker.finalists import BUILDS, measure_finalists


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> Device:
    made = Device()
    monkeypatch.setattr(Entry, "open", lambda entry: made)
    return made


@pytest.fixture
def done(tmp_path: Path, device: Device) -> OpenExperiment:
    """That of a finished run in ``tmp_path``; from now on the device counts what it is asked."""
    made = timed(space=small())
    run(tmp_path, 24, search=made)
    device.asked.clear()
    device.how.clear()
    return made


def members(folder: Path) -> list[Trial]:
    found = read_run(folder)
    return front(found.trials, found.objectives)


def measured(folder: Path, search: OpenExperiment) -> list[str]:
    """What is said while they are measured."""
    said: list[str] = []
    assert search.experiment.latency is not None
    measure_finalists(folder, search.experiment.latency, said.append)
    return said


def are_measured(folder: Path) -> list[bool]:
    """Whether each on the front is."""
    return [member.final is not None for member in members(folder)]


def test_each_is_measured_once_in_several_builds_and_kept(tmp_path: Path, device: Device, done: OpenExperiment) -> None:
    before = members(tmp_path)
    assert len(before) > 2 and not any(are_measured(tmp_path))
    said = measured(tmp_path, done)
    assert said[0] == f"measuring finalist 1 of {len(before)} on 'host', 3 builds"
    assert device.asked == [member.id for member in before]
    assert set(device.how) == {(True, BUILDS)} and BUILDS >= 3
    for old, new in zip(before, members(tmp_path), strict=True):
        ms = milliseconds(Architecture.from_dict(new.architecture))
        assert new.final == Latency(Figure(ms, 0.9 * ms, 1.1 * ms), PROVENANCE, ms + 1, {"clock": 921})
        assert replace(new, final=None) == old
    assert measured(tmp_path, done) == []
    assert len(device.asked) == len(before)
    others = [trial for trial in read_run(tmp_path).trials if trial.id not in device.asked]
    assert others and all(trial.final is None for trial in others)


def test_the_final_figure_decides_what_is_on_the_front(tmp_path: Path, device: Device, done: OpenExperiment) -> None:
    before = members(tmp_path)
    limit = max(ms for trial in before if (ms := trial.latency_ms))
    run_of = open_study(tmp_path)
    run_of.set_user_attr("budgets", {"latency_ms": limit + 0.1})
    fastest = pick(before, ("miou", "latency_ms"), "fastest")
    device.slower = {fastest.id: limit}
    measured(tmp_path, done)
    after = members(tmp_path)
    assert fastest.id not in [trial.id for trial in after] and all(are_measured(tmp_path)) and after
    found = read_run(tmp_path)
    assert pick(found.trials, found.objectives, "fastest").id != fastest.id
    refused = next(trial for trial in found.trials if trial.id == fastest.id)
    assert refused.is_finished and not refused.feasible
    assert refused.reason is not None and "when it was measured again in the end" in refused.reason
    assert to_rows([refused])[0]["latency_ms"] == fastest.latency_ms, "the search's own stays to be seen"


@pytest.mark.parametrize(("limit", "feasible", "noise"), [(11.0, True, False), (9.5, False, True), (8.0, False, False)])
def test_over_budget_by_less_than_the_noise_is_said(
    tmp_path: Path, done: OpenExperiment, limit: float, feasible: bool, noise: bool
) -> None:
    one = members(tmp_path)[0]
    open_study(tmp_path).set_user_attr("budgets", {"latency_ms": limit})
    note_finalist(tmp_path, one.id, Latency(Figure(10.0, 9.0, 11.0), PROVENANCE))
    found = next(trial for trial in read_run(tmp_path).trials if trial.id == one.id)
    assert found.feasible is feasible
    assert ("within its noise" in (found.reason or "")) is noise


def test_a_device_that_drops_out_is_said_and_the_rest_is_measured_later(
    tmp_path: Path, device: Device, done: OpenExperiment
) -> None:
    def before(number: int) -> None:
        if number == 1:
            raise Unavailable("no route to host")

    device.before = before
    assert "no route to host" in measured(tmp_path, done)[-1]
    found = are_measured(tmp_path)
    assert found == [True] + [False] * (len(found) - 1)
    device.asked.clear()
    device.before = lambda number: None
    measured(tmp_path, done)
    assert device.asked == [member.id for member in members(tmp_path)][1:]
    assert all(are_measured(tmp_path))


def test_one_that_cannot_be_measured_does_not_keep_the_others_waiting(
    tmp_path: Path, device: Device, done: OpenExperiment
) -> None:
    def before(number: int) -> None:
        if number == 0:
            raise MeasureFailure("no steady run")

    device.before = before
    said = measured(tmp_path, done)
    assert f"finalist {members(tmp_path)[0].number} could not be measured: no steady run" in said
    assert are_measured(tmp_path) == [False] + [True] * (len(members(tmp_path)) - 1)


def test_what_the_user_has_to_mend_is_said_beside_the_front(
    tmp_path: Path, device: Device, done: OpenExperiment, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(entry: Entry) -> Device:
        raise UserError("nano: its host key is not trusted")

    monkeypatch.setattr(Entry, "open", refused)
    assert measured(tmp_path, done) == ["the finalists are not measured: nano: its host key is not trusted"]


def test_final_figures_are_of_the_run_s_provenance(tmp_path: Path, device: Device, done: OpenExperiment) -> None:
    device.told = OTHER
    said = measured(tmp_path, done)[-1]
    assert f"device 'host': its figures are '{PROVENANCE}', those of now would be '{OTHER}'" in said
    assert not any(are_measured(tmp_path))


def test_of_a_board_that_is_estimated_nothing_is_measured(
    tmp_path: Path, device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    made = timed(space=small(), device="jetson-nano")
    run(tmp_path, 3, search=made)
    assert measured(tmp_path, made) == []


def test_of_a_table_the_device_that_it_predicts_is_measured(
    tmp_path: Path, device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    made = timed(space=small(), device="host-table")
    run(tmp_path, 3, search=made)

    def opens(entry: Entry) -> Device:
        opened.append(entry.name)
        return device

    monkeypatch.setattr(Entry, "open", opens)
    measured(tmp_path, made)
    assert opened == ["host"] and all(are_measured(tmp_path))
