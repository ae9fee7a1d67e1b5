"""The command that says how far a search's short trainings can be trusted: ``trust``."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from results.tables import Format
from search.commands.output import FormatOption, emit


def register(app: typer.Typer) -> None:
    """Add this module's command to the program."""
    app.command()(trust)


def trust(
    run_dir: Annotated[Path, typer.Argument(metavar="RUN_DIR", help="The folder of a run.", show_default=False)],
    fmt: FormatOption = Format.table,
) -> None:
    """How well a run's short trainings predict longer ones: of higher rungs, and of what was retrained from it."""
    from results.record import read_run
    from results.trust import trust as examine
    from results.trust import trust_lines

    run = read_run(run_dir)
    found = examine(run)
    document = asdict(found)
    rows: list[dict[str, Any]] = [
        {
            "short": comparison.short_iterations,
            "long": comparison.iterations,
            "training": comparison.provenance,
            "networks": comparison.overall.networks,
            "tau": comparison.overall.tau,
            "low": comparison.overall.low,
            "high": comparison.overall.high,
            "top_networks": comparison.top.networks,
            "top_tau": comparison.top.tau,
            "top_low": comparison.top.low,
            "top_high": comparison.top.high,
            "params_tau": comparison.params.tau,
            "macs_tau": comparison.macs.tau,
        }
        for comparison in found.comparisons
    ]
    if fmt is Format.table and not rows:
        print(*trust_lines(run), sep="\n")
        return
    emit(fmt, document, rows, caption="\n".join(trust_lines(run)))
