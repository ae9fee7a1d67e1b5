"""What a run has come to: the command `pareto`, and what is said when a search ends or is stopped."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from boostformer.errors import UserError
from results.tables import Format
from search.cli.output import FormatOption, RunDir, emit_records, note

if TYPE_CHECKING:
    from results.schema import Record
    from search.config.experiment import Plan


def register(app: typer.Typer) -> None:
    """Add this module's command to the program."""
    app.command()(pareto)


def pareto(
    run_dir: RunDir,
    every: Annotated[bool, typer.Option("--all", help="All trials, not those on the front alone.")] = False,
    fmt: FormatOption = Format.table,
    plot: Annotated[Path | None, typer.Option(metavar="FILE", help="Also draw the front, as .png or .html.")] = None,
) -> None:
    """Show the best networks of a run: feasible, none dominated by another."""
    from results.pareto import front
    from results.schema import read_run

    run = read_run(run_dir)
    members = front(run.records, run.objectives)
    if plot is not None:  # first, since it may be refused
        from results.report.plots import plot_front

        largest = max((record.params for record in run.records if record.state == "finished"), default=0)
        near = [reference for reference in run.references if reference["params"] <= 2 * largest]
        plot_front(run.records, members, near, run.objectives, plot, title=f"Pareto front of {run_dir.name}")
        note(f"drawn: {plot}")
    shown = run.records if every else members
    if shown or fmt is not Format.table:
        emit_records(fmt, shown)
    else:
        note(f"nothing to show: {so_far(run_dir)}")
    _say_compared(run.records, members)
    _say_latency(members)


def conclude(run_dir: Path, plan: Plan) -> None:
    """Measures the finalists, then says: the front, how far to trust it, and what to type next."""
    from results.agreement import trust_lines
    from results.pareto import front
    from results.schema import read_run

    if plan.timing is not None:
        from search.worker.finalists import measure_finalists

        measure_finalists(run_dir, plan.timing, note)
    run = read_run(run_dir)
    members = front(run.records, run.objectives)
    if members:
        emit_records(Format.table, members)
    _say_compared(run.records, members)
    _say_latency(members)
    for line in trust_lines(run):
        note(line)
    if not members:
        note(f"{so_far(run_dir)}; the front is empty")
        return
    folder = shlex.quote(str(run_dir))
    note(
        f"{so_far(run_dir)}; {len(members)} on the front. Next:\n"
        f"  boostformer pareto {folder} --plot front.html\n"
        f"  boostformer retrain {folder} --pick knee --out checkpoint"
    )


def so_far(run_dir: Path) -> str:
    """How many trials a run has, and what became of them."""
    from results.schema import read_run
    from search.study.queue import INTERRUPTED, REJECTED, WAITING

    try:
        found = read_run(run_dir).records
    except UserError as error:  # its database may be away, and what is said besides is needed all the same
        return f"how far the run is cannot be read ({error})"
    records = [record for record in found if record.failure != INTERRUPTED]
    last = {(record.id, record.rung, record.seed): record for record in records}
    finished = [record.id for record in last.values() if record.state == "finished"]
    networks = len(set(finished))
    of = f" of {networks} networks" if networks < len(finished) else ""
    reasons = [record.failure or "" for record in last.values() if record.state == "failed"]
    over, waiting = (sum(reason.startswith(how) for reason in reasons) for how in (REJECTED, WAITING))
    others = {"failed": len(reasons) - over - waiting, "over budget": over, "waiting for the device": waiting}
    told = [f"{count} {what}" for what, count in others.items() if count]
    return ", ".join([f"{len(finished)} trials{of} finished", *told])


def _say_compared(records: Sequence[Record], members: Sequence[Record]) -> None:
    """Of a run with several lengths of training, that the front is of the longest."""
    finished = [record for record in records if record.state == "finished"]
    networks = len({record.id for record in finished})
    longest = {record.id for record in finished if members and record.rung == members[0].rung}
    if 0 < len(longest) < networks:
        note(f"compared: the {len(longest)} of {networks} networks with {members[0].iterations} iterations")


def _say_latency(members: Sequence[Record]) -> None:
    """From where the front's milliseconds come, above all when nobody measured them."""
    for column, source in (("latency_ms", "latency_provenance"), ("final_latency_ms", "final_provenance")):
        for provenance in sorted({found for member in members if (found := getattr(member, source))}):
            count = sum(getattr(member, source) == provenance for member in members)
            note(f"{column}: {provenance} ({count} of {len(members)})")
