"""The final measurement of the networks on the front when a search is over, each in several builds."""

from __future__ import annotations

from pathlib import Path

from boostformer.architecture import Architecture
from boostformer.errors import UserError
from boostformer.figures import Provenance
from evaluators.latency.backend import MeasureFailure, Say, Unavailable
from evaluators.latency.device import DeviceConfig
from evaluators.latency.devices import Entry
from results.pareto import front
from results.run import Run, note_finalist, read_run
from results.trial import Trial
from search.config.timing import Timing

BUILDS = 3


def measure_finalists(run_dir: Path, timing: Timing, say: Say) -> None:
    """Measure the finalists that were not measured yet, and keep each result at once; say what failed, and why.

    A final figure decides: it may take a finalist off the front and bring others there, which are measured then. They
    are measured on the run's device, or on the one that its table predicts. A board that is only estimated cannot be
    measured.
    """
    run = read_run(run_dir)
    if not _left(run):
        return
    try:
        if (entry := timing.measuring()) is not None:
            _measure(run_dir, run, entry, timing.provenance, say)
    except Unavailable as error:
        say(f"the finalists' device cannot be reached: {error}; the same command measures them later")
    except UserError as error:  # the search is over, and its front is worth showing all the same
        say(f"the finalists are not measured: {error}")


def _left(run: Run) -> list[Trial]:
    return [member for member in front(run.trials, run.objectives) if member.final is None]


def _measure(run_dir: Path, run: Run, entry: Entry[DeviceConfig], searched: Provenance, say: Say) -> None:
    """Measure what is on the front, until all that is there was measured or cannot be.

    Args:
        run_dir: keeps the figures.
        run: as it is stored there.
        entry: the device.
        searched: provenance of the search's own figures; measured ones of another do not stand beside them.
        say: is told what is being done.
    """
    finals = [trial.final.provenance for trial in run.trials if trial.final is not None]
    known = next((found for found in [searched, *finals] if found.kind == "measured"), None)
    backend = entry.open()
    failed: set[str] = set()
    while left := [member for member in _left(run) if member.id not in failed]:
        for number, member in enumerate(left, 1):
            say(f"measuring finalist {number} of {len(left)} on '{entry.name}', {BUILDS} builds")
            try:
                arch = Architecture.from_dict(member.architecture)
                found = backend.latency(arch, labels=True, builds=BUILDS, say=say)
            except MeasureFailure as error:
                say(f"finalist {member.number} could not be measured: {error}")
                failed.add(member.id)
                continue
            if known is not None:
                known.require_same(found.provenance, f"device '{entry.name}'")
            known = found.provenance
            note_finalist(run_dir, member.id, found)
        run = read_run(run_dir)
