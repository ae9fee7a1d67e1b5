"""Command that lists the recipes of training: ``recipes``."""

from __future__ import annotations

import shlex
from typing import Annotated

import typer

from results.tables import Format
from search.cli.output import FormatOption, emit, next_step


def register(app: typer.Typer) -> None:
    """Add this module's command to the program."""
    app.command()(recipes)


def recipes(
    name: Annotated[str | None, typer.Argument(metavar="[NAME|FILE]", help="One recipe, with all its values.")] = None,
    fmt: FormatOption = Format.table,
) -> None:
    """List the recipes of training; with a name print one, whole, as a file to change and give to `--recipe`."""
    import yaml

    from boostformer import recipes as shipped

    if name is None:
        rows = []
        for each in shipped.names():
            recipe = shipped.load(each)
            sizes = {"iterations": recipe.iterations, "batch_size": recipe.batch_size, "lr": recipe.lr}
            rows.append({"recipe": each, **sizes, "schedule": recipe.schedule, "about": shipped.about(each)})
        emit(fmt, rows, rows, drop=("schedule", "lr", "batch_size"))
        next_step(f"boostformer recipes {rows[0]['recipe']}", fmt=fmt)
        return
    recipe = shipped.load(name)
    document = {"about": shipped.about(name), "task": shipped.task_of(recipe), **recipe.model_dump(mode="json")}
    if fmt is Format.table:
        print(yaml.safe_dump(document, sort_keys=False, allow_unicode=True), end="", flush=True)
        command = "pretrain" if document["task"] == "classification" else "train"
        next_step(f"boostformer {command} boostformer_b0 --recipe {shlex.quote(name)} --data DIR --out net")
        return
    emit(fmt, document, [{"key": key, "value": str(value)} for key, value in document.items()])
