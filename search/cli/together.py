"""Several runs in one table: what `pareto RUN_A RUN_B` shows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from boostformer.errors import UserError
from boostformer.shown import number_of
from results.summary import limits
from results.tables import Format, render, to_rows
from search.cli.output import note, width


def show_together(run_dirs: Sequence[Path], fmt: Format, *, every: bool) -> None:
    """Print the front of several runs, each trial with its run; with ``every`` all their trials.

    Raises :class:`UserError` when one cannot be read, is named twice, or cannot be compared with the first.
    """
    from results.together import RUN, load

    places = [run_dir.resolve() for run_dir in run_dirs]
    for number, run_dir in enumerate(run_dirs):
        if places[number] in places[:number]:
            raise UserError(f"{run_dir}: is named twice; name each run once")
    found = load(*run_dirs)
    members = found.members()
    trials = [(name, trial) for name, run in found.runs.items() for trial in run.trials] if every else members
    rows = [{RUN: name} | row for (name, _), row in zip(trials, to_rows([t for _, t in trials]), strict=True)]
    if rows or fmt is not Format.table:
        print(render(rows, fmt, width=width(), first=[RUN]), end="", flush=True)
    else:
        note("nothing to show: no finished trial fits its run's budgets")
    if any(run.objectives != found.objectives for run in found.runs.values()):
        note(f"compared by what all runs search for: {', '.join(found.objectives)}")
    if len({limits(run.budgets) for run in found.runs.values()}) > 1:
        own = "; ".join(f"{name}: {limits(run.budgets)}" for name, run in found.runs.items())
        note(f"each network is within the budgets of its own run: {own}")
    iterations = sorted({trial.iterations for _, trial in members if trial.iterations is not None})
    if any(trial.iterations not in iterations for run in found.runs.values() for trial in run.trials):
        note(f"compared: trainings of {' and '.join(number_of(each, 'iteration') for each in iterations)}")
