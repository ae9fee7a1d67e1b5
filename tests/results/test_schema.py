"""How trials are stored: every status comes back as it was, and what nobody here wrote is refused."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.trial import FrozenTrial, TrialState
from result_factories import OBJECTIVES, create_run, make_latency, make_trial, write_trial

from boostformer.errors import UserError
from results.run import read_run
from results.schema import end_attribute, frozen_trial, key_of, owner_of, read_trial, stored_values
from results.trial import COSTS, START, Parent, Status, Trial, minimised_values, objective

UNSCORED: dict[str, Any] = {"miou": None, "owner": "host.local-7-ab12cd34"}
ENDINGS: dict[Status, dict[str, Any]] = {
    Status.RUNNING: UNSCORED,
    Status.FINISHED: {"latency": make_latency(5.0, state={"builds": [4.9, 5.0], "clock": 921})},
    Status.FAILED: UNSCORED | {"reason": "nan", "seconds": 3.5},
    Status.INTERRUPTED: UNSCORED | {"reason": "given back", "reached": 40},
    Status.WAITING: {"reason": "no route to the board"},
    Status.OVER_BUDGET: UNSCORED | {"reason": "9.00 ms of 8.00 ms", "latency": make_latency(9.0), "feasible": False},
}


@pytest.mark.parametrize("status", Status)
def test_every_status_goes_through_the_study(tmp_path: Path, status: Status) -> None:
    study = create_run(tmp_path)
    trials = [make_trial(0), make_trial(1, status=status, iterations=100, **ENDINGS[status]), make_trial(2)]
    for trial in trials:
        write_trial(study, trial)
    assert read_run(tmp_path).trials == trials


def test_what_a_dead_worker_leaves_is_interrupted_and_abandoned(tmp_path: Path) -> None:
    """Nobody wrote how it ended: of a training, and of one that was scored already."""
    study = create_run(tmp_path)
    left = [make_trial(0, status=Status.RUNNING, **UNSCORED), make_trial(1, status=Status.RUNNING)]
    for trial in left:
        write_trial(study, trial)
        study.tell(trial.number, state=TrialState.FAIL)
    abandoned = [replace(trial, status=Status.INTERRUPTED, abandoned=True) for trial in left]
    assert read_run(tmp_path).trials == abandoned
    study.add_trial(frozen_trial(replace(left[0], status=Status.INTERRUPTED), OBJECTIVES))
    assert not read_run(tmp_path).trials[2].abandoned


def test_an_end_whose_worker_died_before_the_last_word_holds(tmp_path: Path) -> None:
    study = create_run(tmp_path)
    running = make_trial(0, status=Status.RUNNING, **UNSCORED)
    write_trial(study, running)
    study._storage.set_trial_user_attr(study.trials[0]._trial_id, *end_attribute(Status.FAILED, "nan", 3.5))
    assert read_run(tmp_path).trials[0].status is Status.RUNNING
    study.tell(0, state=TrialState.FAIL)
    assert read_run(tmp_path).trials == [replace(running, status=Status.FAILED, reason="nan", seconds=3.5)]


def stored(trial: Trial) -> FrozenTrial:
    """The trial after a journal or a database, which keep JSON."""
    found = frozen_trial(trial, OBJECTIVES)
    found.number, found.user_attrs = trial.number, json.loads(json.dumps(found.user_attrs))
    return found


counts = st.integers(0, 2**63 - 1)
digests = st.from_regex("[0-9a-f]{64}", fullmatch=True)
milliseconds = st.floats(1e-6, 1e9)
trials = st.builds(
    make_trial,
    st.integers(0, 9),
    rung=counts,
    seed=counts,
    status=st.sampled_from([Status.RUNNING, Status.FINISHED, Status.FAILED, Status.WAITING, Status.INTERRUPTED]),
    params=counts,
    macs=counts,
    feasible=st.booleans(),
    iterations=st.none() | counts,
    miou=st.floats(0, 1),
    seconds=st.floats(0, 1e9),
    provenance=st.text(),
    latency=st.none() | st.builds(make_latency, milliseconds, st.text(), labels_ms=st.none() | milliseconds),
    owner=st.from_regex(r"[a-z0-9-]{1,40}(\.[a-z-]{1,10}){0,4}", fullmatch=True),
    reached=counts,
    parent=st.none() | st.builds(Parent, st.sampled_from([START, "0123456789ab"]), digests, counts),
    weights=st.none() | digests,
    iou=st.none() | st.lists(st.none() | st.integers(0, 10**6).map(lambda parts: parts / 10**6)).map(tuple),
)


@given(trials, st.text())
def test_any_trial_is_read_as_it_was_written(trial: Trial, reason: str) -> None:
    if trial.status not in (Status.RUNNING, Status.FINISHED):
        trial = replace(trial, reason=reason)
    found = stored(trial)
    assert read_trial(found, "run") == trial
    assert (key_of(found), owner_of(found)) == (trial.key, trial.owner)


def test_only_finished_and_failed_trials_are_concluded() -> None:
    assert {status for status in Status if status.concludes} == {Status.FINISHED, Status.FAILED}


def test_values_are_natural_in_the_study_and_minimised_to_compare() -> None:
    names = ["params", "miou", "latency_ms"]
    trial = make_trial(miou=0.25, params=7, latency_ms=5.0)
    assert stored_values(trial, names) == [7.0, 0.25, 5.0]
    assert minimised_values(trial, names) == (7.0, -0.25, 5.0)
    assert [objective(name).direction for name in names] == ["minimize", "maximize", "minimize"]
    unknown = make_trial(miou=None, params=7)
    assert math.isnan(stored_values(unknown, names)[1]) and math.isnan(minimised_values(unknown, names)[2])
    assert COSTS == ("params", "macs", "latency_ms")


REMOVED = object()
HUGE = 10**400
OTHER = make_trial(5)


@pytest.mark.parametrize(
    ("keys", "value", "complaint"),
    [
        ("network.id", "../../etc", "the id '../../etc' is not the architecture's"),
        ("network.id", OTHER.id, f"the id '{OTHER.id}' is not the architecture's"),
        ("network.id", 7, "the id 7 is not the architecture's"),
        ("network.id", REMOVED, "KeyError: 'id'"),
        ("network.architecture", OTHER.architecture, "is not the architecture's"),
        ("network.architecture", {}, "architecture: version: missing"),
        ("network.architecture", "segformer_b0", "is not a mapping"),
        ("network.architecture", {**OTHER.architecture, "classes": HUGE}, "more than 65,535"),
        ("network.owner", "../../journal", "'../../journal' names no worker"),
        ("network.owner", "host/7", "'host/7' names no worker"),
        ("network.owner", "..", "'..' names no worker"),
        ("network.owner", "a\nb", r"'a\nb' names no worker"),
        ("network.owner", "a" * 5000, "names no worker"),
        ("network.owner", 7, "damaged"),
        ("network.owner", None, "damaged"),
        ("network.rung", -1, "rung is -1, a count from 0 is needed"),
        ("network.rung", HUGE, "a count from 0 is needed"),
        ("network.rung", True, "rung is True"),
        ("network.seed", 2**63, f"seed is {2**63}"),
        ("network.seed", "3", "seed is '3'"),
        ("network.seed", None, "seed is None"),
        ("network.params", -5, "params is -5"),
        ("network.macs", 1.5, "macs is 1.5"),
        ("network.macs", math.nan, "macs is nan"),
        ("network.iterations", -1, "iterations is -1"),
        ("network.reached", [], r"reached is []"),
        ("network.feasible", "no", "feasible is 'no'"),
        ("network", 7, "damaged"),
        ("network", [], "damaged"),
        ("score.miou", 40.0, "miou is 40.0, from 0 to 1 is allowed"),
        ("score.miou", -0.1, "miou is -0.1"),
        ("score.miou", math.nan, "miou is nan"),
        ("score.miou", "0.4", "miou is '0.4'"),
        ("score.miou", True, "miou is True"),
        ("score.seconds", -1, "seconds is -1"),
        ("score.seconds", HUGE, "damaged"),
        ("score", {"miou": 0.4, "seconds": 1.0, "iou": 0.4}, "damaged"),
        ("score", {"miou": 0.4, "seconds": 1.0, "iou": [0.4, 1.5]}, "damaged"),
        ("score", {"miou": 0.4, "seconds": 1.0, "iou": ["0.4"]}, "damaged"),
        ("score", [0.4], "damaged"),
        ("latency.ms", -5.0, "-5.0 ms between"),
        ("latency.ms", math.inf, "inf ms between"),
        ("latency.ms", "5", "damaged"),
        ("latency.ms", HUGE, "damaged"),
        ("latency.low", 6.0, "is not a figure"),
        ("latency.high", None, "damaged"),
        ("latency.labels_ms", "6", "damaged"),
        ("latency.labels_ms", -6.0, "damaged"),
        ("latency.state", 7, "damaged"),
        ("latency.provenance", "measured: here", "damaged"),
        ("latency.provenance.kind", "guessed", "kind is 'guessed', allowed: measured, predicted, estimated"),
        ("latency.provenance.kind", ["measured"], "kind is ['measured']"),
        ("latency.provenance.device", 7, "a provenance is made of words"),
        ("latency.provenance.settings", [7], "a provenance is made of words"),
        ("latency.provenance.settings", REMOVED, "KeyError: 'settings'"),
        ("latency", [], "damaged"),
    ],
)
def test_a_finished_trial_that_nobody_here_wrote_is_one_line(
    tmp_path: Path, keys: str, value: Any, complaint: str
) -> None:
    refuse(tmp_path, make_trial(1, latency_ms=5.0), keys, value, complaint)


@pytest.mark.parametrize(
    ("keys", "value", "complaint"),
    [
        ("end.status", "done", "'done' is not a valid Status"),
        ("end.status", ["failed"], "['failed'] is not a valid Status"),
        ("end.status", REMOVED, "KeyError: 'status'"),
        ("end.status", "running", "status is 'running'"),
        ("end.status", "finished", "status is 'finished'"),
        ("end.seconds", HUGE, "damaged"),
        ("end.seconds", "long", "seconds is 'long'"),
        ("end", "failed", "damaged"),
        ("end", ["failed"], "damaged"),
    ],
)
def test_a_failed_trial_that_nobody_here_wrote_is_one_line(
    tmp_path: Path, keys: str, value: Any, complaint: str
) -> None:
    failed = make_trial(1, miou=None, status=Status.FAILED, reason="nan", seconds=1.0)
    refuse(tmp_path, failed, keys, value, complaint)


def refuse(folder: Path, trial: Trial, keys: str, value: Any, complaint: str) -> None:
    """The run in ``folder`` is not read with ``value`` at ``keys`` of the stored trial, and left as it is."""
    study = create_run(folder)
    write_trial(study, make_trial(0))
    found = stored(trial)
    place: Any = found.user_attrs
    *above, last = keys.split(".")
    for key in above:
        place = place[key]
    assert last in place
    if value is REMOVED:
        del place[last]
    else:
        place[last] = value
    study.add_trial(found)
    before = {path: path.read_bytes() for path in folder.rglob("*")}
    with pytest.raises(UserError) as refused:
        read_run(folder)
    assert "journal.log: trial 1: " in str(refused.value) and complaint in str(refused.value)
    assert "\n" not in str(refused.value)
    assert {path: path.read_bytes() for path in folder.rglob("*")} == before


@pytest.mark.parametrize("owner", ["../../journal", "host/7", "..", None, 7, ["a"], {}])
def test_a_name_that_is_no_workers_is_never_part_of_a_path(owner: Any) -> None:
    found = stored(make_trial(owner="host-7"))
    assert owner_of(found) == "host-7"
    found.user_attrs["network"]["owner"] = owner
    assert owner_of(found) == ""
