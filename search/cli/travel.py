"""The commands ``export-run`` and ``import-run``: a run in one file, for another machine."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from boostformer.errors import UserError
from boostformer.shown import number_of
from search.cli.output import RunDir, busy, next_step, note

ZipFile = Annotated[Path, typer.Argument(metavar="FILE.zip", help="The file.", show_default=False)]


def register(app: typer.Typer) -> None:
    """Add this module's commands to the program."""
    app.command("export-run")(export_run)
    app.command("import-run")(import_run)


def export_run(
    run_dir: RunDir,
    file: ZipFile,
    weights: Annotated[
        bool, typer.Option("--weights", help="With the trained weights that the run keeps, and its start.")
    ] = False,
) -> None:
    """Write a run into one file: all trials, the configuration, tables and the front, and weights if asked.

    The run may be going on, and may be kept in a database. The tables are read by pandas: see docs/runs.md.
    """
    if file.suffix.lower() != ".zip":
        raise UserError(f"{file}: a name that ends in .zip is needed")
    with busy("writing …"):
        from search.study.travel import export_run as write

        run = write(run_dir, file, note, weights=weights)
    note(f"{file}: {number_of(len(run.trials), 'trial')}, {file.stat().st_size / 1e6:.1f} MB")
    next_step(f"boostformer import-run {shlex.quote(file.name)} FOLDER   # on the other machine")


def import_run(
    file: ZipFile,
    run_dir: Annotated[Path, typer.Argument(metavar="RUN_DIR", help="Folder to make.", show_default=False)],
) -> None:
    """Make a run's folder of a file that `boostformer export-run` wrote, and check all of it."""
    with busy("reading …"):
        from search.study.travel import import_run as read

        run = read(file, run_dir)
    data = "" if run.config["data"].get("root") is None else " --data ROOT"
    folder = shlex.quote(str(run_dir))
    note(f"{run_dir}: {number_of(len(run.trials), 'trial')}")
    next_step(f"boostformer pareto {folder}", f"boostformer search --resume {folder}{data}")
