"""What is shown while a search runs."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from search_factories import MadeUp, opened, problem, quick, scheduler, standing

from boostformer.figures import Figure, Latency, Provenance
from evaluators.proxy import Score
from results.run import read_run
from results.trial import Status, Trial, TrialKey
from search.strategies.base import Proposal
from search.study.folder import set_up
from search.study.queue import Queue
from search.study.state import Scored
from search.worker.loop import work
from search.worker.progress import ConsoleReporter, LineReporter, duration, relay

THREE_RUNGS = scheduler(9, rungs=(10, 30, 90))


def make_trial(**changes: Any) -> Trial:
    """One of a network `abc`, of a million parameters and a billion multiply-adds, that was trained for two seconds."""
    values: dict[str, Any] = {
        "number": 3,
        "key": TrialKey("abc", 0, 0),
        "status": Status.FINISHED,
        "architecture": {},
        "params": 10**6,
        "macs": 10**9,
        "conv_linear_macs": 10**9,
        "attention_macs": 0,
        "feasible": True,
        "iterations": 10,
        "miou": 0.5,
        "seconds": 2.0,
    }
    return Trial(**(values | changes))


FAILED = make_trial(status=Status.FAILED, miou=None, reason="nan")
OVER_BUDGET = make_trial(status=Status.OVER_BUDGET, miou=None, feasible=False, reason="25.00 ms of 20.00 ms")
WAITING = make_trial(status=Status.WAITING, reason="no route to host")
INTERRUPTED = make_trial(status=Status.INTERRUPTED, miou=None)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0.4 s"), (59.6, "60 s"), (90, "2 min"), (3600, "60 min"), (5400, "1 h 30 min"), (36_000, "10 h 0 min")],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_without_a_terminal_there_is_a_line_per_trial(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    set_up(tmp_path, opened(), 2)
    with ConsoleReporter() as reporter:
        work(opened(), tmp_path, reporter, MadeUp(quick))
    first, second = capsys.readouterr().err.splitlines()
    one, two = read_run(tmp_path).trials
    assert first.startswith(f"[1/2] trial 0 {one.id}: mIoU {100 * (one.miou or 0):.2f} %") and "left" in first
    assert second.startswith(f"[2/2] trial 1 {two.id}") and "left" not in second


def test_what_others_did_counts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A worker that joins, and one that works on a run that others finish part of."""
    set_up(tmp_path, opened(), 4)

    def meanwhile(*arguments: Any, **how: Any) -> Score:
        if len(read_run(tmp_path).trials) == 1:
            with Queue(tmp_path, opened()) as other:
                claim = other.claim(lambda history: Proposal(problem().random(rng, ())))
                assert claim is not None
                other.finish(claim, Scored(0.5, 1.0, ""))
        return quick(*arguments, **how)

    rng = np.random.default_rng(5)
    with ConsoleReporter() as reporter:
        work(opened(), tmp_path, reporter, MadeUp(meanwhile))
    assert [line.partition(" ")[0] for line in capsys.readouterr().err.splitlines()] == ["[1/4]", "[3/4]", "[4/4]"]


def test_failures_and_an_early_end_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    reporter = ConsoleReporter()
    reporter.begins(standing(9, 4))
    reporter.ended(FAILED)
    reporter.exhausted("nothing left")
    lines = capsys.readouterr().err
    assert "[5/9] trial 3 abc: failed: the loss became no number, 1.000 M params" in lines
    assert "the search ends early: nothing left" in lines


def test_what_a_child_writes_its_parent_shows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    set_up(tmp_path, opened(), 2)
    written = io.StringIO()
    work(opened(), tmp_path, LineReporter(written), MadeUp(quick))
    parent = ConsoleReporter(workers=2)
    parent.begins(standing(2))
    for line in written.getvalue().splitlines():
        relay(line, parent)
    shown = capsys.readouterr().err.splitlines()
    for number, trial in enumerate(read_run(tmp_path).trials):
        assert shown[number].startswith(
            f"[{number + 1}/2] trial {number} {trial.id}: mIoU {100 * (trial.miou or 0):.2f} %"
        )


def test_what_is_set_aside_is_shown_and_does_not_count(capsys: pytest.CaptureFixture[str]) -> None:
    written = io.StringIO()
    child, parent = LineReporter(written), ConsoleReporter()
    parent.begins(standing(9, 4))
    for reporter in (child, parent):
        for trial in (OVER_BUDGET, WAITING, INTERRUPTED):
            reporter.set_aside(trial)
        reporter.says("build 2 of 3")
    expected = [
        "trial 3 abc: over budget: 25.00 ms of 20.00 ms",
        "trial 3 abc: waiting: no route to host",
        "trial 3 abc: interrupted",
        "build 2 of 3",
    ]
    assert capsys.readouterr().err.splitlines() == expected and parent.concluded == 4
    for line in written.getvalue().splitlines():
        relay(line, parent)
    assert capsys.readouterr().err.splitlines() == expected


def test_what_is_trained_again_says_how(capsys: pytest.CaptureFixture[str]) -> None:
    reporter = ConsoleReporter()
    reporter.begins(standing(9, 4, scheduler=THREE_RUNGS))
    reporter.ended(make_trial())
    reporter.ended(make_trial(key=TrialKey("abc", 1, 2), iterations=30))
    first, second = capsys.readouterr().err.splitlines()
    assert "iterations" not in first and "seed" not in first and ", 30 iterations, seed 2" in second


def test_longer_trainings_take_longer(capsys: pytest.CaptureFixture[str]) -> None:
    alone, parent, written = ConsoleReporter(workers=2), ConsoleReporter(workers=2), io.StringIO()
    child = LineReporter(written)
    for reporter in (alone, parent, child):
        reporter.begins(standing(13, 6, scheduler=THREE_RUNGS, iterations_left=3 * 10 + 3 * 20 + 60))
    for reporter in (alone, child):
        reporter.ended(make_trial(seconds=10.0))
        reporter.ended(make_trial(key=TrialKey("abc", 1, 0), iterations=30, seconds=20.0))
    first, second = shown = capsys.readouterr().err.splitlines()
    assert first.endswith("10 s, about 70 s left") and second.endswith("20 s, about 60 s left")
    for line in written.getvalue().splitlines():
        relay(line, parent)
    assert capsys.readouterr().err.splitlines() == shown, "a parent knows what its child does"


def test_a_measured_latency_is_shown_beside_the_costs(capsys: pytest.CaptureFixture[str]) -> None:
    reporter = ConsoleReporter()
    reporter.begins(standing(9, 4))
    provenance = Provenance("measured", "onnxruntime 1.32", "this machine", "fp32")
    reporter.ended(make_trial(latency=Latency(Figure(12.345, 12.0, 13.0), provenance)))
    assert "mIoU 50.00 %, 1.000 M params, 1.000 G MACs, 12.35 ms, 2 s" in capsys.readouterr().err


def test_the_trainings_that_run_have_live_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each worker's one; a child tells its parent, which shows no more of them than there are workers."""
    monkeypatch.setattr("search.worker.progress.EVERY", 0.0)
    written = io.StringIO()
    alone, child, parent = ConsoleReporter(), LineReporter(written), ConsoleReporter(workers=2)
    for reporter in (alone, parent):
        reporter.begins(standing(9, 4))
        reporter.told("trial 3", 10, 1.0, 0.25)
    for number in (3, 4, 5):
        for reporter in (alone, child):
            reporter.trial(make_trial(number=number, iterations=10), standing(9, 4))
            reporter.step(6, 10, 0.5)
    for line in written.getvalue().splitlines():
        relay(line, parent)
    lines = [{task.description: task.fields["note"] for task in one._bars.tasks[1:]} for one in (alone, parent)]
    expected = "iteration 6/10, loss 0.500, best mIoU so far 25.00 %"
    assert lines == [{"trial 5": expected}, {"trial 4": expected, "trial 5": expected}]
