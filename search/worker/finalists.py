"""The networks on the front of a search that is over, measured once more, each in several builds."""

from __future__ import annotations

from pathlib import Path

from boostformer.architecture import Architecture
from boostformer.errors import UserError
from boostformer.figures import Latency
from evaluators.latency.backend import MeasureFailure, Say, Unavailable
from results.pareto import front
from results.schema import Record, note_finalist, read_run
from search.config.timing import Timing

BUILDS = 3


def measure_finalists(run_dir: Path, timing: Timing, say: Say) -> None:
    """Measures those that were not yet, and keeps each at once; says what could not be done, and why.

    They are measured on the run's device, or on the one that its table predicts. Of a board that is only estimated
    nothing can be measured.
    """
    run = read_run(run_dir)
    left = [member for member in front(run.records, run.objectives) if member.final_latency_ms is None]
    if not left:
        return
    known = {record.final_provenance for record in run.records} - {None} | {timing.provenance}
    try:
        _measure(run_dir, timing, left, run.budgets.get("latency_ms"), known, say)
    except Unavailable as error:
        say(f"the finalists' device cannot be reached: {error}; the same command measures them later")
    except UserError as error:  # the search is over, and its front is worth showing all the same
        say(f"the finalists are not measured: {error}")


def _measure(
    run_dir: Path, timing: Timing, left: list[Record], limit: float | None, known: set[str | None], say: Say
) -> None:
    if (entry := timing.as_entry().measuring()) is None:
        return
    backend = entry.open()
    for number, member in enumerate(left, 1):
        say(f"measuring finalist {number} of {len(left)} on '{entry.name}', {BUILDS} builds")
        try:
            arch = Architecture.from_dict(member.architecture)
            found = backend.latency(arch, labels=True, builds=BUILDS, say=say)
        except MeasureFailure as error:
            say(f"finalist {member.trial} could not be measured: {error}")
            continue
        provenance = str(found.provenance)
        measured = {figure for figure in known if str(figure).startswith(f"{found.provenance.kind}: ")}
        if measured and provenance not in measured:
            raise UserError(f"'{entry.name}' is now '{provenance}', other figures are '{measured.pop()}'")
        known.add(provenance)
        if limit is not None and found.ms > limit:
            say(f"finalist {member.trial} took {found.ms:.2f} ms, over the budget of {limit:g} ms")
        note_finalist(run_dir, member.id, _values(found))


def _values(latency: Latency) -> dict[str, object]:
    return {
        "final_latency_ms": latency.ms,
        "final_low_ms": latency.figure.low,
        "final_high_ms": latency.figure.high,
        "final_labels_ms": latency.labels_ms,
        "final_provenance": str(latency.provenance),
    }
