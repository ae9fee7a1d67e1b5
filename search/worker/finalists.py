"""The final measurement of the networks on the front when a search is over, each in several builds."""

from __future__ import annotations

from pathlib import Path

from boostformer.architecture import Architecture
from boostformer.errors import UserError
from boostformer.figures import Provenance
from evaluators.latency.backend import MeasureFailure, Say, Unavailable
from results.pareto import front
from results.run import note_finalist, read_run
from results.trial import Trial
from search.config.timing import Timing

BUILDS = 3


def measure_finalists(run_dir: Path, timing: Timing, say: Say) -> None:
    """Measure the finalists that were not measured yet, and keep each result at once; say what failed, and why.

    They are measured on the run's device, or on the one that its table predicts. A board that is only estimated cannot
    be measured.
    """
    run = read_run(run_dir)
    left = [member for member in front(run.trials, run.objectives) if member.final is None]
    if not left:
        return
    finals = [trial.final.provenance for trial in run.trials if trial.final is not None]
    known = next((found for found in [timing.provenance, *finals] if found.kind == "measured"), None)
    try:
        _measure(run_dir, timing, left, run.budgets.get("latency_ms"), known, say)
    except Unavailable as error:
        say(f"the finalists' device cannot be reached: {error}; the same command measures them later")
    except UserError as error:  # the search is over, and its front is worth showing all the same
        say(f"the finalists are not measured: {error}")


def _measure(
    run_dir: Path, timing: Timing, left: list[Trial], limit: float | None, known: Provenance | None, say: Say
) -> None:
    """Measure the trials that are left.

    Args:
        run_dir: keeps the figures.
        timing: the run's device.
        left: trials on the front.
        limit: the budget in milliseconds.
        known: provenance of figures that were measured before; others may not stand beside them.
        say: is told what is being done.
    """
    if (entry := timing.measuring()) is None:
        return
    backend = entry.open()
    for number, member in enumerate(left, 1):
        say(f"measuring finalist {number} of {len(left)} on '{entry.name}', {BUILDS} builds")
        try:
            arch = Architecture.from_dict(member.architecture)
            found = backend.latency(arch, labels=True, builds=BUILDS, say=say)
        except MeasureFailure as error:
            say(f"finalist {member.number} could not be measured: {error}")
            continue
        if known is not None:
            known.require_same(found.provenance, f"device '{entry.name}'")
        known = found.provenance
        if limit is not None and found.ms > limit:
            say(f"finalist {member.number} took {found.ms:.2f} ms, over the budget of {limit:g} ms")
        note_finalist(run_dir, member.id, found)
