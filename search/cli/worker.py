"""The command `worker`: one more process of a search that was started elsewhere."""

from __future__ import annotations

import shlex
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from boostformer.errors import UserError
from search.cli.outcome import so_far
from search.cli.output import next_step, note
from search.cli.run import FilesOption, StorageOption, database_of, full_disk, place_of


def register(app: typer.Typer) -> None:
    """Add this module's command to the program."""
    app.command()(worker)


def worker(
    run_dir: Annotated[Path | None, typer.Argument(metavar="[RUN_DIR]", help="The folder of a run.")] = None,
    storage: StorageOption = None,
    study: Annotated[str | None, typer.Option(help="Name of the search in the database.")] = None,
    files: FilesOption = None,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder here of the search; by default named as the study.")
    ] = None,
    data: Annotated[
        Path | None, typer.Option(metavar="ROOT", help="Where the search's data are on this machine.")
    ] = None,
    device: Annotated[int | None, typer.Option(min=0, help="Number of the CUDA device to train on.")] = None,
    child: Annotated[bool, typer.Option("--child", hidden=True)] = False,
) -> None:
    """Join a search that was started elsewhere, as one more process, from any machine; any number may."""
    if device is not None:
        from search.worker.accelerators import use

        use(device)
    from results.storage.location import storage_of
    from search.config.opening import OpenExperiment
    from search.study.folder import join, read_experiment
    from search.study.places import moved, require_data
    from search.study.retry import Patience
    from search.worker.launchers.nni.worker import shown_by_nni
    from search.worker.loop import work
    from search.worker.progress import ConsoleReporter, LineReporter

    if child:
        from search.worker.local import stop_with_parent

        stop_with_parent()
    if (storage is None) != (study is None) or (run_dir is None) != (storage is not None) or (run_dir and out):
        raise UserError("worker: name the search by RUN_DIR, or by --storage and --study (and --out)")
    if storage is not None and study is not None:
        run_dir = out or Path(study)
        join(run_dir, database_of(storage, study), place_of(files))
    elif files is not None:
        place_of(files)  # which the run's folder may name from now on
    assert run_dir is not None
    read = partial(read_experiment, run_dir)
    # A child's parent has just reached the database; else the address may be wrong.
    experiment = Patience(storage_of(run_dir), LineReporter().says)(read) if child else read()
    if data is not None:
        experiment = moved(experiment, data)
    opened = OpenExperiment(experiment)
    require_data(opened)
    opened.start  # noqa: B018  # says at once when it has changed, or is missing
    try:
        with full_disk(run_dir):
            if child:
                work(opened, run_dir, LineReporter())
                return
            with ConsoleReporter() as console, shown_by_nni(console) as reporter:
                work(opened, run_dir, reporter)
        note(f"nothing is left to do: {so_far(run_dir)}; a search with more --trials, or --hours, adds some")
        next_step(f"boostformer pareto {shlex.quote(str(run_dir))}")
    except KeyboardInterrupt:
        if not child:
            note(f"stopped: {so_far(run_dir)}; the same command joins again")
        raise typer.Exit(130) from None
