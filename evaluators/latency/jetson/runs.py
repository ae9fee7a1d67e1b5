"""Runs of engines on a Jetson board: whether their times count, and the figure of several builds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median_low
from typing import Any

import numpy as np

from boostformer.figures import Figure
from evaluators.latency.backend import Measured
from evaluators.latency.jetson import board, trtexec
from evaluators.latency.jetson.script import Outcome


@dataclass(frozen=True)
class Run:
    """One run of one build: its figure, the number of queries, and what else was recorded."""

    figure: Figure
    queries: int
    state: dict[str, Any]


def judged(outcome: Outcome, report: trtexec.Report) -> tuple[Run | None, list[str]]:
    """Sum up a run, if its times are a figure, and say why it does not count, or nothing."""
    gpu, times = report.gpu, np.array(outcome.times)
    assert gpu is not None
    if not ((times > 0) & np.isfinite(times)).all():
        return None, ["among trtexec's times are some that are none"]
    # Without the single times, as on a full disk, the extremes stand for the quartiles.
    low, high, variation = gpu.minimum, gpu.maximum, report.unstable
    if times.size:
        low, high = (float(q) for q in np.quantile(times, [0.25, 0.75]))
        variation = float(100 * times.std() / times.mean())
    try:
        figure = Figure(gpu.median, low, high)
    except ValueError as error:
        return None, [f"trtexec's {trtexec.GPU}: {error}"]
    unstable = report.unstable is not None
    reasons = board.judge(outcome.before, outcome.after, outcome.during, variation, unstable=unstable)
    state = {
        "tensorrt": str(report.version),
        "before": outcome.before.to_dict(),
        "during": board.summary(outcome.during),
        "after": outcome.after.to_dict(),
        "variation_percent": variation,
        "throughput": report.throughput,
    }
    return Run(figure, len(times) or report.queries or 0, state), reasons


def median_build(runs: Sequence[Run]) -> Measured:
    """Pick the median build, between the least and the largest of several."""
    medians = [run.figure.ms for run in runs]
    run = runs[medians.index(median_low(medians))]
    figure = run.figure if len(runs) == 1 else Figure(run.figure.ms, min(medians), max(medians))
    return Measured(figure, run.queries, {**run.state, "builds_ms": medians})
