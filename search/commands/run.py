"""The commands that run a search and show its front: `search`, `worker`, `pareto`."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from results.tables import Format
from search.commands.output import FormatOption, emit_records, note

if TYPE_CHECKING:
    from evaluators.proxy import Proxy
    from results.record import Record
    from search.plan import Plan
    from search.problem import Problem
    from search.store import Standing

RunDir = Annotated[Path, typer.Argument(metavar="RUN_DIR", help="The folder of a run.", show_default=False)]


def register(app: typer.Typer) -> None:
    app.command()(search)
    app.command()(worker)
    app.command()(pareto)


def search(
    run_file: Annotated[
        Path, typer.Argument(metavar="RUN.yaml", help="What to search: see configs/.", show_default=False)
    ],
    out: Annotated[Path, typer.Option(metavar="RUN_DIR", help="Folder of the run; resumed if it exists.")],
    trials: Annotated[
        int | None, typer.Option(min=1, help="Networks to try in all, instead of the run file's number.")
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes on this machine.")] = 1,
) -> None:
    """Search for the networks that score best within the budgets; the same command resumes."""
    from search.plan import Plan
    from search.progress import ConsoleReporter
    from search.run_folder import plan_of, set_up

    # The first time this decodes the images and counts the space's parts, which are kept for later runs.
    with _busy("preparing data and costs …"):
        plan, asked, proxy = Plan.read(run_file, plan_of(out))
        problem = plan.problem()
        set_up(out, plan, trials or asked, plan.references(problem))
    if workers > 1 and plan.timing is not None and plan.timing.entry["kind"] in ("host", "cuda"):
        device = plan.timing.device
        note(f"latencies on '{device}' are measured while {workers - 1} others train here: --workers 1 is quieter")
    with _resumable(out), ConsoleReporter(workers) as reporter:
        standing = _announce(plan, problem, proxy, out)
        if workers == 1:
            from search.engine import work

            work(plan, out, proxy.evaluate, reporter)
        else:
            from search.parallel import run_workers

            reporter.begins(standing)
            failed = run_workers(out, workers, reporter)
            if failed and reporter.concluded < reporter.target:
                note(f"{failed} of {workers} workers failed: {_so_far(out)}; the same command resumes")
                raise typer.Exit(1)
        if plan.timing is not None:
            from search.finalists import measure_finalists

            measure_finalists(out, plan.timing, note)
    _conclude(out)


def worker(
    run_dir: RunDir,
    child: Annotated[bool, typer.Option("--child", hidden=True)] = False,
) -> None:
    """Join a search that was started elsewhere, as one more process; any number may."""
    from search.engine import work
    from search.progress import ConsoleReporter, LineReporter
    from search.run_folder import read_plan

    if child:
        from search.parallel import stop_with_parent

        stop_with_parent()
    plan = read_plan(run_dir)
    proxy = plan.open_proxy()
    try:
        if child:
            work(plan, run_dir, proxy.evaluate, LineReporter())
            return
        with ConsoleReporter() as reporter:
            work(plan, run_dir, proxy.evaluate, reporter)
    except KeyboardInterrupt:
        if not child:
            note(f"stopped: {_so_far(run_dir)}")
        raise typer.Exit(130) from None


def pareto(
    run_dir: RunDir,
    fmt: FormatOption = Format.table,
    plot: Annotated[Path | None, typer.Option(metavar="FILE", help="Also draw the front, as .png or .html.")] = None,
) -> None:
    """Show the best networks of a run: feasible, none dominated by another."""
    from results.front import front
    from results.record import read_run

    run = read_run(run_dir)
    members = front(run.records, run.objectives)
    emit_records(fmt, members)
    _say_latency(members)
    if plot is not None:
        from results.plots import plot_front

        largest = max((record.params for record in run.records if record.state == "finished"), default=0)
        near = [reference for reference in run.references if reference["params"] <= 2 * largest]
        plot_front(run.records, members, near, run.objectives, plot, title=f"Pareto front of {run_dir.name}")
        note(f"drawn: {plot}")


@contextmanager
def _busy(what: str) -> Iterator[None]:
    """Shows on a terminal that something takes its time."""
    from rich.console import Console

    console = Console(stderr=True)
    if not console.is_terminal:
        yield
        return
    with console.status(what):
        yield


@contextmanager
def _resumable(run_dir: Path) -> Iterator[None]:
    """On Ctrl-C, says in one line how far the run is and how it is resumed."""
    try:
        yield
    except KeyboardInterrupt:
        again = shlex.join(["boostformer", *sys.argv[1:]])
        note(f"stopped: {_so_far(run_dir)}; to resume: {again}")
        raise typer.Exit(130) from None


def _announce(plan: Plan, problem: Problem, proxy: Proxy, run_dir: Path) -> Standing:
    from results.record import read_run
    from search.announce import announcement, cost
    from search.store import Store

    standing = Store(run_dir, problem, plan.recipe.seed).standing()
    note(announcement(plan, problem, standing))
    left = standing.target - standing.concluded
    if left > 0:
        note(cost(problem, proxy, read_run(run_dir).records, left))
    return standing


def _conclude(run_dir: Path) -> None:
    """The front, and what to type next."""
    from results.front import front
    from results.record import read_run

    run = read_run(run_dir)
    members = front(run.records, run.objectives)
    emit_records(Format.table, members)
    _say_latency(members)
    if not members:
        note(f"{_so_far(run_dir)}; the front is empty")
        return
    folder = shlex.quote(str(run_dir))
    note(
        f"{_so_far(run_dir)}; {len(members)} on the front. Next:\n"
        f"  boostformer pareto {folder} --plot front.html\n"
        f"  boostformer retrain {folder} --pick knee --out checkpoint"
    )


def _say_latency(members: Sequence[Record]) -> None:
    """From where the front's milliseconds come, above all when nobody measured them."""
    for column, source in (("latency_ms", "latency_provenance"), ("final_latency_ms", "final_provenance")):
        for provenance in sorted({found for member in members if (found := getattr(member, source))}):
            count = sum(getattr(member, source) == provenance for member in members)
            note(f"{column}: {provenance} ({count} of {len(members)})")


def _so_far(run_dir: Path) -> str:
    from results.record import read_run
    from search.store import INTERRUPTED, REJECTED, WAITING

    last = {record.id: record for record in read_run(run_dir).records if record.failure != INTERRUPTED}
    finished = sum(record.state == "finished" for record in last.values())
    reasons = [record.failure or "" for record in last.values() if record.state == "failed"]
    over, waiting = (sum(reason.startswith(how) for reason in reasons) for how in (REJECTED, WAITING))
    told = {"failed": len(reasons) - over - waiting, "over budget": over, "waiting for the device": waiting}
    return ", ".join([f"{finished} trials finished", *(f"{count} {what}" for what, count in told.items() if count)])
