"""The command ``report``: a search or a training as one page that needs nothing else."""

from __future__ import annotations

import shlex
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import boostformer
from boostformer.errors import UserError, os_refusal
from boostformer.files import is_file, read_json, replacing
from search.cli.output import busy, exporting, next_step, note

if TYPE_CHECKING:
    from results.report.run_page import Beside, Now
    from results.run import Run
    from results.trial import Trial

NAME = "report.html"
_DATABASE_SECONDS = 5.0
"""A database is asked for news so often; a journal's size is looked at every second."""
_LATEST = 8


def register(app: typer.Typer) -> None:
    """Add this module's command to the program."""
    app.command()(report)


def report(
    folder: Annotated[
        Path, typer.Argument(metavar="RUN_DIR|CKPT", help="The folder of a run or of a training.", show_default=False)
    ],
    out: Annotated[Path | None, typer.Option(metavar="FILE.html", help="By default report.html in the folder.")] = None,
    against: Annotated[
        Path | None,
        typer.Option(metavar="RUN_DIR", help="Another run of the same kind to hold beside it, such as a random one."),
    ] = None,
    pictures: Annotated[bool, typer.Option(help="Whether to open the data, for samples and predictions.")] = True,
    live: Annotated[
        bool, typer.Option("--live", help="Follow a search that runs, on a page for this machine alone; Ctrl-C ends.")
    ] = False,
    port: Annotated[int, typer.Option(min=0, max=65535, help="With --live: 0 takes any that is free.")] = 0,
) -> None:
    """Write a search or a training as one page: what was found, why to trust it, what to do next."""
    from results.report.page import page
    from results.storage.location import is_run

    if live and (out is not None or not is_run(folder)):
        raise UserError("--live: is for the folder of a run, and writes no file; leave out --out")
    if port and not live:
        raise UserError("--port: is for --live")
    if not is_run(folder):
        if against is not None:
            raise UserError("--against: is for the folder of a run")
        document, step = _training(folder), exporting(folder)
    elif live:
        _follow(folder, against, port)
        return
    else:
        with busy("drawing …"):
            document, step = _run(folder, against, pictures)
    target = out or folder / NAME
    try:
        with replacing(target) as part:
            part.write_bytes(content := page(document))
    except OSError as error:
        raise os_refusal(target, "cannot be written", error) from None
    note(f"written: {target}, {len(content) / 2**20:.1f} MB; open it in any browser, it needs nothing else")
    if step:
        next_step(step)


def _run(run_dir: Path, against: Path | None, pictures: bool) -> tuple[dict[str, Any], str]:
    """Gather the page of a run; the second value is the command that comes next, empty where there is no front."""
    from dataclasses import replace

    from results.report.run_page import run_document
    from results.run import read_run

    run, beside = read_run(run_dir), _beside(run_dir, against)
    picks = _picks(run)
    if pictures:
        from search.cli.report_pictures import pictures_of

        found = pictures_of(run_dir, run, picks)
        beside = replace(beside, samples=found.samples, remark=found.remark, predictions=found.predictions)
    step = f"boostformer retrain {shlex.quote(str(run_dir))} --pick knee --out checkpoint" if picks else ""
    return run_document(_as_it_is(run, run_dir), run_dir.resolve().name, beside), step


def _picks(run: Run) -> list[Trial]:
    """Give what rules pick off the front, then the rest of it, the best first."""
    from results.pareto import PICKS, front, pick

    members = front(run.trials, run.objectives)
    if not members:
        return []
    rules = PICKS if any(trial.latency_ms is not None for trial in members) else PICKS[:-1]
    chosen = [pick(run.trials, run.objectives, rule) for rule in rules]
    rest = sorted(members, key=lambda trial: -(trial.miou or 0.0))
    return list({trial.number: trial for trial in [*chosen, *rest]}.values())


def _beside(run_dir: Path, against: Path | None) -> Beside:
    from results.report.run_page import Beside
    from results.run import DATA_SUMMARY, read_run
    from search.strategies import strategy_class
    from search.study.folder import read_experiment

    experiment = read_experiment(run_dir)
    strategy = experiment.search.strategy
    at_random = 0 if experiment.start is not None else strategy_class(strategy).startup
    if strategy == "random":
        at_random = len(read_run(run_dir).trials)
    summary = read_json(run_dir / DATA_SUMMARY) if is_file(run_dir / DATA_SUMMARY) else None
    return Beside(
        place=shlex.quote(str(run_dir)),
        made=_made(),
        at_random=at_random,
        against=None if against is None else (against.resolve().name, _comparable(against, run_dir)),
        data=summary if isinstance(summary, dict) else None,
    )


def _comparable(against: Path, run_dir: Path) -> Run:
    """Read the run to hold beside another; UserError unless both have the same objectives, budgets, data and proxy."""
    from results.run import read_run
    from search.config.experiment import difference

    found, own = read_run(against), read_run(run_dir)
    free = ("search", "inherit", "start", "versions", "references")
    configs = [{key: value for key, value in run.config.items() if key not in free} for run in (own, found)]
    if differs := difference(*configs):
        raise UserError(f"--against: {against} cannot be held beside {run_dir}: {differs}")
    return found


def _as_it_is(run: Run, run_dir: Path) -> Run:
    from dataclasses import replace

    from search.cli.outcome import as_they_are

    return replace(run, trials=list(as_they_are(run.trials, run_dir)))


def _made() -> str:
    return f"Made by boostformer {boostformer.__version__} on {time.strftime('%d %B %Y, %H:%M')}."


# A training


def _training(folder: Path) -> dict[str, Any]:
    from boostformer.weights import checkpoint
    from boostformer.weights.card import PICTURE
    from results.history import METRICS, read_history
    from results.report.training_page import training_document
    from search.cli.full_training import SAMPLES

    has_weights = is_file(folder / checkpoint.CONFIG)
    if not has_weights and not is_file(folder / METRICS):
        raise UserError(f"{folder}: neither a run nor a training: no journal.log, no config.json, no metrics.csv")
    rows = read_history(folder)
    if not rows and folder.name == "best":  # which lies in the folder of its training
        rows = read_history(folder.parent)
    about = (folder.resolve().name, shlex.quote(str(folder)), _made(), rows)
    if not has_weights:
        return training_document(*about)
    config = checkpoint.read_config(folder)
    pictures = [name for name in (SAMPLES, PICTURE) if is_file(folder / name)][:1]
    return training_document(
        *about,
        network=config.architecture,
        labels=config.labels,
        provenance=config.provenance,
        pictures=[_embedded(folder / name) for name in pictures],
    )


def _embedded(file: Path) -> dict[str, str]:
    import base64

    content = base64.b64encode(file.read_bytes()).decode()
    return {"name": file.name, "image": f"data:image/png;base64,{content}", "alt": "images, their labels, predictions"}


# A search that runs


def _follow(run_dir: Path, against: Path | None, port: int) -> None:
    """Serve the page of a run until Ctrl-C."""
    import threading

    from results.report.live import LiveServer, Watched
    from results.report.run_page import run_document
    from results.run import read_run

    beside, name = _beside(run_dir, against), run_dir.resolve().name

    def read() -> dict[str, Any]:
        run = _as_it_is(read_run(run_dir), run_dir)
        return run_document(run, name, beside, _now(run, run_dir))

    with busy("reading the run …"):
        watched = Watched(read, lambda: _stamp(run_dir))
    with LiveServer(watched, port) as server:
        note(f"{server.address} follows {run_dir}, for this machine alone; Ctrl-C ends it, and the search goes on")
        threading.Thread(target=watched.follow, daemon=True).start()
        try:
            server.serve_forever(poll_interval=0.5)
        finally:
            watched.close()


def _now(run: Run, run_dir: Path) -> Now:
    from results.report.run_page import Now
    from results.trial import Status
    from search.study.curves import read_curve
    from search.worker.progress import describe

    running = []
    for trial in run.trials:
        if trial.status is Status.RUNNING:
            points = read_curve(run_dir, trial.number)
            done, total = points[-1][:2] if points else (0, trial.iterations or 0)
            loss = [(place, value) for place, _, value in _thinned(points)]
            running.append({"number": trial.number, "id": trial.id, "done": done, "total": total, "loss": loss})
    ended = [trial for trial in run.trials if trial.status.concludes]
    return Now(running, [describe(trial) for trial in ended[: -_LATEST - 1 : -1]])


def _thinned(points: Sequence[tuple[int, int, float]], most: int = 300) -> Sequence[tuple[int, int, float]]:
    step = -(-len(points) // most) or 1
    return [*points[:-1:step], *points[-1:]]


def _stamp(run_dir: Path) -> object:
    """Give what changes when the run does: the journal's size, a database's time, and how far trainings are."""
    from results.storage.location import JOURNAL_NAME
    from search.study.curves import CURVES

    journal = _size(run_dir / JOURNAL_NAME) or time.monotonic() // _DATABASE_SECONDS
    return journal, [(file.name, _size(file)) for file in sorted((run_dir / CURVES).glob("*.csv"))]


def _size(file: Path) -> int:
    """Give a file's size; 0 where there is none, or none any more."""
    try:
        return file.stat().st_size
    except OSError:
        return 0
