"""Searches within budgets of megabytes."""

from __future__ import annotations

from pathlib import Path

import pytest
from search_factories import medium, opened, run, small, table

from boostformer.architecture import Architecture
from boostformer.errors import UserError
from evaluators.costs.memory import Peaks
from results.run import read_run
from results.tables import to_rows
from results.where import read_where


def test_nothing_over_the_budgets_is_tried(tmp_path: Path) -> None:
    peaks = Peaks(None)
    figures = sorted({peaks.peak(arch) / 1e6 for arch in small()})
    limits = {"activations_mb": figures[0], "weights_mb": 0.08}
    fitting = [a.id for a in small() if peaks.peak(a) / 1e6 <= figures[0] and table().cost(a).params * 4 <= 80_000]
    assert 0 < len(fitting) < 24
    watcher = run(tmp_path, 24, search=opened(small(), limits))  # type: ignore[arg-type]
    trials = read_run(tmp_path).trials
    assert {trial.id for trial in trials} == set(fitting) and watcher.ended_early
    for trial, row in zip(trials, to_rows(trials), strict=True):
        arch = Architecture.from_dict(trial.architecture)
        assert row["activations_mb"] == trial.activations_mb == peaks.peak(arch) / 1e6 <= figures[0]
        assert row["weights_mb"] == trial.params * 4 / 1e6 <= 0.08
    where = read_where(f"activations_mb<={figures[0]}MB and weights_mb<0.05", trials)
    assert [where(trial) for trial in trials] == [trial.params < 12500 for trial in trials]


def test_a_run_that_does_not_limit_them_does_not_ask(tmp_path: Path) -> None:
    run(tmp_path, 2, search=opened(medium(), {"weights_mb": 0.1}))
    assert {trial.activations for trial in read_run(tmp_path).trials} == {None}


def test_budgets_that_nothing_fits_say_what_the_smallest_needs() -> None:
    with pytest.raises(UserError, match=r"no network of the space fits; .* 0\.\d+ activations_mb \(limit 0\.001\)"):
        opened(small(), {"activations_mb": 0.001}).problem.check_reachable()  # type: ignore[dict-item]
