"""The outcome of a run: the command `pareto`, and what is printed when a search ends or is stopped."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from boostformer.errors import UserError
from boostformer.shown import number_of
from results.summary import NOTATION, why
from results.tables import Format
from search.cli.output import FormatOption, WhereOption, emit_trials, next_step, note
from search.cli.together import show_together

if TYPE_CHECKING:
    from results.trial import Trial
    from search.config.timing import Timing


def register(app: typer.Typer) -> None:
    """Add this module's command to the program."""
    app.command(epilog=NOTATION)(pareto)


def pareto(
    run_dirs: Annotated[
        list[Path], typer.Argument(metavar="RUN_DIR...", help="The folder of a run, or of several.", show_default=False)
    ],
    where: WhereOption = None,
    every: Annotated[bool, typer.Option("--all", help="All trials, not those on the front alone.")] = False,
    fmt: FormatOption = Format.table,
    plot: Annotated[Path | None, typer.Option(metavar="FILE", help="Also draw the front, as .png.")] = None,
) -> None:
    """Show the best networks of a run, or of several together: feasible, none dominated by another.

    Marked are the knee of the front and its best mIoU; with --all its others, too. The share of the budget is of each
    limit, in their order. Trials of the front are sorted by the first objective that has a budget.
    """
    from results.pareto import front
    from results.run import read_run
    from results.where import read_where

    if len(run_dirs) > 1:
        if plot is not None or where is not None:
            raise UserError(f"--{'where' if plot is None else 'plot'}: is for one run; give one RUN_DIR")
        show_together(run_dirs, fmt, every=every)
        return
    [run_dir] = run_dirs
    run = read_run(run_dir)
    satisfies = None if where is None else read_where(where, run.trials)
    members = front(run.trials, run.objectives, satisfies)
    if plot is not None:  # first, since it may be refused
        from results.report.plots import plot_front

        largest = max((trial.params for trial in run.trials if trial.is_finished), default=0)
        near = [reference for reference in run.references if reference["params"] <= 2 * largest]
        title = f"Pareto front of {run_dir.resolve().name}"
        plot_front(run.trials, members, near, run.objectives, plot, title=title, budgets=run.budgets)
        note(f"drawn: {plot}")
    shown = as_they_are(run.trials, run_dir) if every else members
    if every and satisfies is not None:
        shown = [trial for trial in shown if satisfies(trial)]
    if shown or fmt is not Format.table:
        emit_trials(fmt, shown, run.budgets, members, run.objectives)
    elif satisfies is not None and front(run.trials, run.objectives):
        note(f"nothing to show: no network of the run satisfies --where '{where}'")
    else:
        note(f"nothing to show: {so_far(run_dir)}")
    _say_compared(run.trials, members)
    _say_latency(members)
    _say_refused(run.trials)
    if members:
        folder = shlex.quote(str(run_dir))
        next_step(f"boostformer report {folder}", f"boostformer retrain {folder} --pick knee --out checkpoint", fmt=fmt)


def as_they_are(trials: Sequence[Trial], run_dir: Path) -> Sequence[Trial]:
    """Give the trials; one that its worker died at and nobody has taken over yet is not running any more."""
    from results.storage.location import storage_of
    from results.trial import Status
    from search.study.leases import left_behind

    running = [trial for trial in trials if trial.status is Status.RUNNING]
    if not running:
        return trials
    lost = left_behind(storage_of(run_dir), run_dir, running)
    why = "its worker died; a search that goes on repeats it"
    return [
        replace(trial, status=Status.INTERRUPTED, reason=why) if trial.number in lost else trial for trial in trials
    ]


def conclude(run_dir: Path, latency: Timing | None) -> None:
    """Measure the finalists; then print the front, how far to trust it, and what to type next.

    Exits with code 1 when every network failed.
    """
    if not (count := show_end(run_dir, latency)):
        return
    folder = shlex.quote(str(run_dir))
    note(f"{so_far(run_dir)}; {count} on the front")
    next_step(f"boostformer report {folder}", f"boostformer retrain {folder} --pick knee --out checkpoint")


def show_end(run_dir: Path, latency: Timing | None) -> int:
    """Measure the finalists; then print the front and how far to trust it, and give the number of its networks.

    Exits with code 1 when every network failed.
    """
    from results.agreement import trust_lines
    from results.pareto import front
    from results.run import read_run

    if latency is not None:
        from search.worker.finalists import measure_finalists

        measure_finalists(run_dir, latency, note)
    run = read_run(run_dir)
    members = front(run.trials, run.objectives)
    if members:
        emit_trials(Format.table, members, run.budgets, members, run.objectives)
    _say_compared(run.trials, members)
    _say_latency(members)
    _say_refused(run.trials)
    for line in trust_lines(run) if members else ():
        note(line)
    if not members:
        note(f"{so_far(run_dir)}; the front is empty")
        if reason := _only_failures(run_dir):
            note(f"error: {run_dir}: every network failed, most often: {reason}; begin another run with another recipe")
            raise typer.Exit(1)
    return len(members)


def so_far(run_dir: Path) -> str:
    """Tell how many networks a run has trained, and what became of its trials."""
    from results.run import read_run
    from results.trial import Status

    try:
        trials = read_run(run_dir).trials
    except UserError as error:  # its database may be away, and what is said besides is needed all the same
        return f"how far the run is cannot be read ({error})"
    last = {trial.key: trial.status for trial in trials if trial.status is not Status.INTERRUPTED}
    counts: Counter[Status] = Counter(last.values())
    networks = len({key.arch_id for key, status in last.items() if status is Status.FINISHED})
    others = {Status.FAILED: "failed", Status.OVER_BUDGET: "over budget", Status.WAITING: "waiting for the device"}
    told = [f"{counts[status]} {what}" for status, what in others.items() if counts[status]]
    finished = number_of(networks, "network")
    if networks < counts[Status.FINISHED]:
        finished = f"{counts[Status.FINISHED]} trainings of {finished}"
    return ", ".join([f"{finished} finished", *told])


def _only_failures(run_dir: Path) -> str | None:
    """Give the usual reason of the failures where trials failed and none finished; else None."""
    from results.run import read_run
    from results.trial import Status

    trials = read_run(run_dir).trials
    reasons = Counter(why(trial.reason) for trial in trials if trial.status is Status.FAILED)
    if not reasons or any(trial.is_finished for trial in trials):
        return None
    return reasons.most_common(1)[0][0]


def _say_compared(trials: Sequence[Trial], members: Sequence[Trial]) -> None:
    """Say that the front of a run with several lengths of training is of the longest."""
    finished = [trial for trial in trials if trial.is_finished]
    networks = len({trial.id for trial in finished})
    longest = {trial.id for trial in finished if members and trial.key.rung == members[0].key.rung}
    if 0 < len(longest) < networks:
        length = number_of(members[0].iterations or 0, "iteration")
        note(f"compared: the {len(longest)} of {networks} networks with {length}")


def _say_latency(members: Sequence[Trial]) -> None:
    """Say where the front's milliseconds come from, above all when nobody measured them."""
    for column, which in (("latency_ms", attrgetter("latency")), ("final_latency_ms", attrgetter("final"))):
        counts = Counter(str(found.provenance) for member in members if (found := which(member)) is not None)
        for provenance, count in sorted(counts.items()):
            note(f"{column}: {provenance} ({count} of {len(members)})")


def _say_refused(trials: Sequence[Trial]) -> None:
    """Say which finalists are off the front because their final figure is over the budget."""
    refused = {trial.id: trial for trial in reversed(trials) if trial.final is not None and not trial.feasible}
    for trial in sorted(refused.values(), key=attrgetter("number")):
        note(f"not on the front: trial {trial.number}, {trial.reason}")
