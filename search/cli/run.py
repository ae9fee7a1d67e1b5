"""The command `search`, and what a search needs of a database, of shared files and of the disk."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from boostformer.errors import FULL, UserError
from search.cli.data_summary import keep_summary, say_data
from search.cli.outcome import conclude, so_far
from search.cli.output import busy, next_step, note
from search.cli.screening import screened

if TYPE_CHECKING:
    from results.storage.location import Database
    from search.config.experiment import Experiment
    from search.study.carried import Carried

StorageOption = Annotated[
    str | None, typer.Option(metavar="URL", help="PostgreSQL database of the search: postgresql://USER@HOST/DATABASE.")
]
FilesOption = Annotated[
    str | None,
    typer.Option(
        "--files",
        metavar="URL",
        help="With --storage: where all machines find weights and states: s3://BUCKET/FOLDER, gs://…, or a folder that "
        "all of them mount.",
        show_default=False,
    ),
]


@dataclass(frozen=True)
class Others:
    """Other runs whose results a new search has from the start, or, ``as_parents``, whose trained weights."""

    runs: tuple[Path, ...] = ()
    as_parents: bool = False


NONE = Others()


def register(app: typer.Typer) -> None:
    """Add this module's command to the program."""
    app.command()(search)


def search(
    run_file: Annotated[
        Path | None, typer.Argument(metavar="[RUN.yaml]", help="What to search: see configs/.", show_default=False)
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="RUN_DIR", help="Folder of the run; resumed if it exists.", show_default=False),
    ] = None,
    resume: Annotated[
        Path | None,
        typer.Option(metavar="RUN_DIR", help="Go on with this run, without a run file.", show_default=False),
    ] = None,
    data: Annotated[
        Path | None, typer.Option(metavar="ROOT", help="With --resume: where the run's data lie now.")
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Begin also with a latency table whose calibration fails.")
    ] = False,
    trials: Annotated[
        int | None, typer.Option(min=1, help="Networks to try in all, instead of the run file's number.")
    ] = None,
    hours: Annotated[
        float | None, typer.Option(help="Time for it over all sittings, instead of the run file's hours.")
    ] = None,
    known_from: Annotated[
        list[Path] | None,
        typer.Option("--from", metavar="RUN_DIR", help="A new search knows the results of this one; repeatable."),
    ] = None,
    as_parents: Annotated[
        bool, typer.Option("--as-parents", help="With --from: only trained weights, for networks to begin from.")
    ] = False,
    workers: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Processes on this machine, by default one for each core, or one on a GPU; 0 only sets the run up for "
            "`worker` and `launch`.",
        ),
    ] = None,
    storage: StorageOption = None,
    study: Annotated[str | None, typer.Option(help="Its name in the database; by default the folder's.")] = None,
    files: FilesOption = None,
) -> None:
    """Search for the networks that score best within the budgets; the same command resumes."""
    if resume is not None:
        if run_file or out or storage or study or known_from or files:
            raise UserError("--resume RUN_DIR: stands alone: no run file, --out, --from, --storage, --study or --files")
        out = resume
    elif run_file is None or out is None:
        raise UserError("search: needs a run file and --out RUN_DIR, or --resume RUN_DIR")
    elif data is not None:
        raise UserError("--data: is for --resume; the run file says where its data lie (data.root)")
    if study and storage is None:
        raise UserError("--study names a search in a database: --storage is missing")
    if hours is not None and not 0 < hours <= 1e6:
        raise UserError(f"--hours: {hours:g} is no time; allowed: above 0, such as 8 or 0.5")
    if as_parents and not known_from:
        raise UserError("--as-parents: is for --from RUN_DIR, whose weights are meant")
    database = database_of(storage, study or out.resolve().name) if storage is not None else None
    others = Others(tuple(known_from or ()), as_parents)
    place = place_of(files)
    run = run_search(
        run_file, out, trials, workers, database, data=data, force=force, hours=hours, others=others, files=place
    )
    if run is None:
        note("set up")
        next_step(*_joining(out))
        return
    with resumable(out):
        conclude(out, run.latency)


def run_search(
    run_file: Path | None,
    out: Path,
    trials: int | None = None,
    workers: int | None = None,
    database: Database | None = None,
    *,
    data: Path | None = None,
    force: bool = False,
    hours: float | None = None,
    others: Others = NONE,
    files: str | None = None,
    screen: bool = True,
) -> Experiment | None:
    """Set a search up or resume it, say what it will cost, and run it to its end.

    Exits with code 1 where workers failed, and 130 on Ctrl-C, after a line that says how to go on.

    Args:
        run_file: what to search; None goes on with the run in ``out``.
        out: the run's folder.
        trials: networks to try in all, instead of the run file's number.
        workers: processes on this machine; by default as many as pay; 0 only sets the run up.
        database: keeps the study; by default it stays where it is, else in a journal in the folder.
        data: without a run file, where the data lie now.
        force: begin also with a latency table whose calibration fails.
        hours: time for it over all sittings, instead of the run file's.
        others: runs whose results or weights a new search has from the start.
        files: the place that machines share for weights and states; by default where they lie already.
        screen: screen networks as a search with a start begins; else only say what it would cost.

    Returns:
        The search, or None where it was only set up and something is left to do.
    """
    carried: Carried | None = None
    with busy("preparing data and costs …"):
        from evaluators.latency.devices import use_beside
        from results.run import read_run
        from search.cli.announce import announcement, cost
        from search.config.opening import resolve
        from search.config.run_file import read_run_file
        from search.study.carrying import carry_over
        from search.study.folder import earlier_experiment, place_for, read_hours, read_known, reopened, set_up
        from search.study.queue import Queue
        from search.worker.local import default_workers, threads_of_one_worker
        from search.worker.progress import ConsoleReporter

        # The first time this decodes the images and counts the space's parts, which are kept for later runs.
        if run_file is None:
            opened, asked = reopened(out, data)
            hours = hours or read_hours(out)
        else:
            use_beside(run_file)
            earlier = earlier_experiment(out, database)
            opened, asked = resolve(run_file, earlier, force=force)
            hours = hours or read_run_file(run_file).config.search.hours
            if others.runs and earlier is None:
                carried = carry_over(others.runs, opened, as_parents=others.as_parents)
        place_for(out, opened, database, files=files)
    if run_file is not None and earlier is None:
        opened = screened(
            opened, trials or asked, carried.known.ids if carried else (), hours=hours, only_say=not screen
        )
    with busy("preparing data and costs …"):
        opened = set_up(
            out, opened, trials or asked, database, hours=hours, runs=others.runs, carried=carried, files=files
        )
    latency = opened.experiment.latency
    is_disturbed = latency is not None and latency.is_disturbed
    if workers is None:
        workers = default_workers(trials or asked, is_disturbed=is_disturbed)
    elif workers > 1 and latency is not None and is_disturbed:
        beside = f"while {workers - 1} others train here: --workers 1 is quieter"
        note(f"latencies on '{latency.device}' are measured {beside}")
    with resumable(out):
        standing = Queue(out, opened, note).standing()
        keep_summary(out, opened.proxy.training)
        say_data(opened.proxy.training)
        note(announcement(opened, standing, workers))
        for source in read_known(out).sources:
            note(f"{'known':<8} {source}")
        for line in opened.proxy.remarks():
            note(line)
        with threads_of_one_worker(workers), busy("measuring a few steps of a training …"):
            price = cost(opened, read_run(out).trials, standing, workers)
        if price:
            note(price)
        if workers == 0 and not standing.is_complete:
            return None
        with ConsoleReporter(workers) as reporter:
            if workers == 1:
                from search.worker.loop import work

                work(opened, out, reporter)
            else:
                from search.worker.local import run_workers

                reporter.begins(standing)
                if failed := run_workers(out, workers, reporter):
                    note(f"{failed} of {workers} workers failed: {so_far(out)}; the same command resumes")
                    raise typer.Exit(1)
    return opened.experiment


def place_of(files: str | None) -> str | None:
    """Read ``--files``: where machines share weights and states."""
    from search.study.stores import named_by_user

    return named_by_user(files) if files is not None else None


def database_of(storage: str, study: str) -> Database:
    """Read ``--storage``: the database of the search ``study``."""
    from results.storage.database import named_by_user
    from results.storage.location import Database

    return Database(named_by_user(storage), study)


@contextmanager
def resumable(run_dir: Path) -> Iterator[None]:
    """Say on Ctrl-C, in one line, how far the run is and how to resume it."""
    try:
        with full_disk(run_dir):
            yield
    except KeyboardInterrupt:
        # A password in an address is not to be shown.
        again = shlex.join(["boostformer", *(re.sub(r"//([^:/@]*):.*@", r"//\1@", word) for word in sys.argv[1:])])
        note(f"stopped: {so_far(run_dir)}; to resume: {again}")
        raise typer.Exit(130) from None


@contextmanager
def full_disk(run_dir: Path) -> Iterator[None]:
    """End with one line and exit code 1 when the disk is full, which is nobody's bug."""
    try:
        yield
    except OSError as error:
        if error.errno not in FULL:
            raise
        note(f"error: {run_dir}: {error.strerror}; what is finished is kept, free space, then the same command resumes")
        raise typer.Exit(1) from None


def _joining(run_dir: Path) -> list[str]:
    """Return the commands that put workers on a run."""
    from results.storage.location import Database, storage_of

    folder, where = shlex.quote(str(run_dir)), storage_of(run_dir)
    lines = [
        f"boostformer worker {folder}",
        f"boostformer launch {folder} --workers 4 --on local   # or slurm, kubernetes, ray, nni",
    ]
    if isinstance(where, Database):
        elsewhere = ["boostformer", "worker", "--storage", where.url, "--study", where.study]
        lines.append(f"{shlex.join(elsewhere)}   # on any machine; --data ROOT where its images are")
    return lines
