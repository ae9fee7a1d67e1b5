"""The command ``show``: what a run searches for, as it was frozen when the search began."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated, Any

import typer

from results.summary import limits
from results.tables import Format
from search.cli.output import FormatOption, RunDir, emit, next_step


def register(app: typer.Typer) -> None:
    """Add this module's command to the program."""
    app.command()(show)


def show(
    run_dir: RunDir,
    config: Annotated[
        bool, typer.Option("--config", help="Write the run file back, in YAML, with all that was left open.")
    ] = False,
    fmt: FormatOption = Format.table,
) -> None:
    """Show what a run searches for, and how far it is."""
    if config:
        from search.config.frozen import run_file_of
        from search.study.folder import read_frozen

        print(run_file_of(*read_frozen(run_dir)), end="")
        return
    document = _summary(run_dir)
    readable = document | {
        "data": document["data"] | {"size": "x".join(map(str, document["data"]["size"]))},
        "budgets": limits(document["budgets"]),
    }
    rows = [{"what": key, "value": _worded(value)} for key, value in readable.items()]
    emit(fmt, document, rows)
    next_step(f"boostformer pareto {shlex.quote(str(run_dir))}", fmt=fmt)


def _summary(run_dir: Path) -> dict[str, Any]:
    from results.run import read_run
    from search.cli.outcome import so_far

    run = read_run(run_dir)
    config = run.config
    return {
        "space": config["space_name"],
        "data": {"kind": config["data"]["kind"], "size": config["data"]["size"], **config["images"]},
        "classes": len(config["labels"]),
        "objectives": run.objectives,
        "budgets": run.budgets,
        "latency": (config.get("latency") or {}).get("device"),
        "search": config["search"],
        "proxy": {key: config["proxy"][key] for key in ("iterations", "batch_size", "lr", "schedule", "seed")},
        "versions": config["versions"],
        "trials": so_far(run_dir),
    }


def _worded(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_worded(inner)}" for key, inner in value.items() if inner is not None) or "none"
    return ", ".join(map(str, value)) if isinstance(value, list) else str("none" if value is None else value)
