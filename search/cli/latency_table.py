"""Commands that fill and correct a device's latency table: ``latency profile-space``, ``latency calibrate``."""

from __future__ import annotations

from math import isnan
from statistics import median
from typing import TYPE_CHECKING, Annotated, Any

import typer

from boostformer.errors import UserError
from results.tables import Format
from search.cli.device import ClassesOption, DeviceOption, reachable
from search.cli.output import FormatOption, emit, next_step, note, progress

if TYPE_CHECKING:
    from evaluators.latency.device import MeterConfig
    from evaluators.latency.devices import Entry
    from evaluators.latency.table.table import Table

NETWORKS = 10
"""Whole networks that a table is corrected by."""


def profile_space(
    space: Annotated[str, typer.Argument(metavar="SPACE", help="A shipped space's name, or a file.")],
    device: DeviceOption,
    size: Annotated[str | None, typer.Option("--size", help="Input size HxW; by default the space's.")] = None,
    classes: ClassesOption = None,
    bands: Annotated[int | None, typer.Option(min=1, help="Bands of the images; by default the space's.")] = None,
) -> None:
    """Measure every element that networks of a space are made of, into a device's table; the same command resumes."""
    from evaluators.latency.graphs import space_elements
    from evaluators.latency.table.profiling import fill
    from search.cli.data_argument import size_of
    from search_space import read_space

    found = read_space(space)
    found = found.replace(size=size_of(size) or found.size, classes=classes or found.classes, bands=bands)
    entry, table = _table(device)
    with reachable():
        meter = entry.device.meter(entry.name, entry.folder)
        table.file.check(meter.provenance())
        wanted = space_elements(found.slots, next(iter(found)))
        left = len(table.missing(wanted))
        note(f"{len(wanted)} elements, {len(wanted) - left} known; measuring on '{entry.name}': {meter.provenance()}")
        table.file.add_space(space, found.to_dict())
        with progress("elements") as done:
            failures = fill(table, meter, wanted, say=note, done=done)
    for failure in failures:
        note(f"not measured: {failure}")
    note(f"{table.file.file}: {len(wanted) - len(table.missing(wanted))} of {len(wanted)} elements of {space}")
    if failures:
        raise typer.Exit(1)
    if len(table.calibrated) < NETWORKS:
        next_step(f"boostformer latency calibrate --device {device}")
    else:
        next_step(_searching(device))


def calibrate(
    device: DeviceOption,
    networks: Annotated[int, typer.Option(min=5, help="How many whole networks are measured.")] = NETWORKS,
    seed: Annotated[int, typer.Option(min=0, help="Of the draws that they are chosen from.")] = 0,
    fmt: FormatOption = Format.table,
) -> None:
    """Measure some unlike networks of the space that was profiled last, and correct a table's predictions by them."""
    import numpy as np

    from evaluators.latency.table.profiling import calibrate as measure_networks
    from evaluators.latency.table.profiling import choose
    from search_space import space_from_dict

    entry, table = _table(device)
    if not table.file.spaces:
        raise UserError(
            f"{table.file.file}: no space was profiled; run: boostformer latency profile-space SPACE --device {device}"
        )
    name, plain = list(table.file.spaces.items())[-1]
    space = space_from_dict(plain, str(table.file.file))
    rng = np.random.default_rng(seed)
    drawn = list(dict.fromkeys(space.sample(rng) for _ in range(500)))
    lacking = {arch: table.lacking(arch) for arch in drawn}
    candidates = [arch for arch in drawn if not lacking[arch]]
    if len(candidates) < networks and any(lacking.values()):
        missing = list(dict.fromkeys(element for elements in lacking.values() for element in elements))
        raise UserError(table.lacks(missing, f"of the space {name}"))
    if len(candidates) < networks:
        raise UserError(f"--networks: {networks} of the {len(candidates)} networks of {name} cannot be measured")
    if (table.features(candidates)[:, 0] <= 0).any():
        raise UserError(
            f"{table.file.file}: networks of {name} would take no time: its elements were timed within the noise of "
            "their frames; give the table another file and profile again, with longer runs"
        )
    chosen = [arch for arch in dict.fromkeys(choose(table, candidates, networks)) if arch not in table.calibrated]
    with reachable():
        meter = entry.device.meter(entry.name, entry.folder)
        table.file.check(meter.provenance())
        note(f"measuring {len(chosen)} networks of {name} on '{entry.name}': {meter.provenance()}")
        measure_networks(table, meter, chosen, note)
    _, table = _table(device)
    _report(table, fmt)
    if doubts := table.doubts():
        note(f"error: {doubts}; give the table another file, and profile and calibrate again on a quiet machine")
        raise typer.Exit(1)
    next_step(_searching(device), fmt=fmt)


def _searching(device: str) -> str:
    """Write the command that begins a search for what the table predicts."""
    return f"boostformer init DATA --out run.yaml   # then in run.yaml: latency: {{device: {device}}}"


def _report(table: Table, fmt: Format) -> None:
    """Show how well the fit predicts networks that were left out of it."""
    from evaluators.costs.table import CostTable
    from evaluators.latency.table.correction import rank_correlation

    archs, costs = table.calibrated, CostTable()
    rows: list[dict[str, Any]] = []
    for (arch, ms), error in zip(archs.items(), table.errors.tolist(), strict=True):
        rows.append({"id": arch.id, "measured_ms": ms, "predicted_ms": ms * (1 + error), "error_percent": 100 * error})
    measured = [row["measured_ms"] for row in rows]
    document = {
        "provenance": str(table.provenance()),
        "networks": rows,
        "median_error": median(abs(error) for error in table.errors.tolist()),
        "band": list(table.band),
        "spearman": rank_correlation([row["predicted_ms"] for row in rows], measured),
        "spearman_of_macs": rank_correlation([costs.cost(arch).macs for arch in archs], measured),
    }
    caption = (
        f"{document['provenance']}\neach network left out of the fit: median error {document['median_error']:.1%}, "
        f"Spearman {_rank(document['spearman'])} (of MACs alone {_rank(document['spearman_of_macs'])})"
    )
    emit(fmt, document, rows, caption=caption)


def _rank(correlation: float) -> str:
    return "undefined, all are equal" if isnan(correlation) else f"{correlation:.3f}"


def _table(name: str) -> tuple[Entry[MeterConfig], Table]:
    """Open a table, and find the device that it describes."""
    from evaluators.latency.device import MeterConfig
    from evaluators.latency.devices import TableDevice, find

    entry = find(name, TableDevice)
    return find(entry.device.of, MeterConfig), entry.device.open(entry.name, entry.folder)
