"""What is shown while a search runs."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from search_factories import MadeUp, opened, problem, quick, standing

from evaluators.proxy import Score
from results.run import read_run
from results.schema import Trial
from search.study.folder import set_up
from search.study.queue import Queue
from search.study.scheduler import Ladder
from search.worker.loop import work
from search.worker.progress import ConsoleReporter, LineReporter, duration, relay


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
                ticket = other.claim(lambda history: problem().space.decode(problem().random(rng, ())))
                assert ticket is not None
                other.finish(ticket, Score(0.5, 1.0, ""))
        return quick(*arguments, **how)

    rng = np.random.default_rng(5)
    with ConsoleReporter() as reporter:
        work(opened(), tmp_path, reporter, MadeUp(meanwhile))
    assert [line.partition(" ")[0] for line in capsys.readouterr().err.splitlines()] == ["[1/4]", "[3/4]", "[4/4]"]


def test_failures_and_an_early_end_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    failed = Trial(3, "abc", "failed", {}, 10**6, 10**9, 0, 0, True, seconds=2.0, reason="diverged")
    reporter = ConsoleReporter()
    reporter.begins(standing(9, 4))
    reporter.ended(failed)
    reporter.exhausted("nothing left")
    lines = capsys.readouterr().err
    assert "[5/9] trial 3 abc: failed: diverged" in lines
    assert "the search ends early: nothing left" in lines


def test_what_a_child_writes_its_parent_shows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    set_up(tmp_path, opened(), 2)
    written = io.StringIO()
    work(opened(), tmp_path, LineReporter(written), MadeUp(quick))
    parent = ConsoleReporter(workers=2)
    parent.begins(standing(2))
    for line in written.getvalue().splitlines():
        relay(line, parent)
    shown = capsys.readouterr().err
    assert all(record.id in shown for record in read_run(tmp_path).trials)


def test_what_is_set_aside_is_shown_and_does_not_count(capsys: pytest.CaptureFixture[str]) -> None:
    over = Trial(
        3, "abc", "failed", {}, 10**6, 10**9, 0, 0, False, latency_ms=25.0, reason="over budget: 25 ms of 20 ms"
    )
    written = io.StringIO()
    child, parent = LineReporter(written), ConsoleReporter()
    parent.begins(standing(9, 4))
    for reporter in (child, parent):
        reporter.set_aside(over)
        reporter.says("build 2 of 3")
    expected = ["trial 3 abc: over budget: 25 ms of 20 ms", "build 2 of 3"]
    assert capsys.readouterr().err.splitlines() == expected and parent.concluded == 4
    for line in written.getvalue().splitlines():
        relay(line, parent)
    assert capsys.readouterr().err.splitlines() == expected


def test_what_is_trained_again_says_how(capsys: pytest.CaptureFixture[str]) -> None:
    reporter = ConsoleReporter()
    reporter.begins(standing(9, 4, ladder=Ladder(9, 0, (4, 8))))
    record = Trial(3, "abc", "finished", {}, 10**6, 10**9, 0, 0, True, miou=0.5, seconds=2.0, iterations=8)
    reporter.ended(record)
    reporter.ended(replace(record, rung=1, seed=2))
    first, second = capsys.readouterr().err.splitlines()
    assert "iterations" not in first and ", 8 iterations, seed 2" in second


def test_longer_trainings_take_longer(capsys: pytest.CaptureFixture[str]) -> None:
    ladder = Ladder(9, 0, (10, 30, 90))
    reporter = ConsoleReporter(workers=2)
    reporter.begins(standing(13, 6, ladder=ladder, iterations_left=3 * 10 + 3 * 20 + 60))
    record = Trial(6, "abc", "finished", {}, 10**6, 10**9, 0, 0, True, miou=0.5, seconds=10.0, iterations=10)
    reporter.ended(record)
    reporter.ended(replace(record, rung=1, iterations=30, seconds=20.0))
    first, second = capsys.readouterr().err.splitlines()
    assert first.endswith("10 s, about 70 s left") and second.endswith("20 s, about 60 s left")


def test_a_measured_latency_is_shown_beside_the_costs(capsys: pytest.CaptureFixture[str]) -> None:
    reporter = ConsoleReporter()
    reporter.begins(standing(9, 4))
    reporter.ended(Trial(3, "abc", "finished", {}, 10**6, 10**9, 0, 0, True, miou=0.5, latency_ms=12.345, seconds=2.0))
    assert "mIoU 50.00 %, 1.000 M params, 1.000 G MACs, 12.35 ms, 2 s" in capsys.readouterr().err
