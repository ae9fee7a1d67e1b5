"""The command ``trust``: how far a search's short trainings can be trusted."""

from __future__ import annotations

import shlex
from dataclasses import asdict
from operator import attrgetter

import typer

from results.tables import Format
from search.cli.output import FormatOption, RunDir, emit, next_step

_COLUMNS = {
    "short": "short_iterations",
    "long": "iterations",
    "training": "provenance",
    "networks": "overall.networks",
    "tau": "overall.tau",
    "low": "overall.low",
    "high": "overall.high",
    "top_networks": "top.networks",
    "top_tau": "top.tau",
    "top_low": "top.low",
    "top_high": "top.high",
    "params_tau": "params.tau",
    "macs_tau": "macs.tau",
}
"""Columns of the table, and the fields of a comparison that fill them."""
_DROP = ("top_low", "top_high", "top_networks", "training", "macs_tau", "params_tau")
"""Columns that a narrow table goes without, the first of them first."""


def register(app: typer.Typer) -> None:
    """Add this module's command to the program."""
    app.command()(trust)


def trust(
    run_dir: RunDir,
    fmt: FormatOption = Format.table,
) -> None:
    """Show how well a run's short trainings predict longer ones: those of higher rungs, and its retrained networks."""
    from results.agreement import trust as examine
    from results.agreement import trust_lines
    from results.pareto import front
    from results.run import read_run

    run = read_run(run_dir)
    found = examine(run)
    document = asdict(found)
    rows = [{name: attrgetter(path)(comparison) for name, path in _COLUMNS.items()} for comparison in found.comparisons]
    if fmt is Format.table and not rows:
        print(*trust_lines(run), sep="\n")
    else:
        emit(fmt, document, rows, columns=list(_COLUMNS), caption="\n".join(trust_lines(run)), drop=_DROP)
    if front(run.trials, run.objectives):
        next_step(f"boostformer retrain {shlex.quote(str(run_dir))} --pick knee --out checkpoint", fmt=fmt)
