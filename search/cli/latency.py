"""Commands about latency in milliseconds: ``latency measure``, ``estimate``, ``profile-space``, ``calibrate``, …"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from math import isnan
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Annotated, Any

import typer

from boostformer.errors import UserError
from boostformer.shown import number_of
from results.tables import Format
from search.cli.output import FormatOption, emit, note, progress

if TYPE_CHECKING:
    from boostformer.figures import Latency
    from evaluators.latency.device import DeviceConfig, MeterConfig
    from evaluators.latency.devices import Entry
    from evaluators.latency.table.table import Table

ArchArgument = Annotated[
    str, typer.Argument(metavar="ARCH", help="Preset, architecture file, checkpoint folder or RUN_DIR:TRIAL.")
]
DeviceOption = Annotated[str, typer.Option("--device", help="Its name: see `boostformer latency devices`.")]
SizeOption = Annotated[str | None, typer.Option("--size", help="Input size HxW; by default the architecture's.")]
ClassesOption = Annotated[int | None, typer.Option(min=1, help="Number of classes.")]
NETWORKS = 10
ALL = "all"
"""In place of a device's name: all that are estimated from a datasheet."""
BETWEEN = {
    "measured": "middle half of the runs",
    "builds": "medians of the builds",
    "predicted": "9 of 10 networks left out of the fit",
    "estimated": "mean error on published figures, no bound",
}
"""Meaning of the low and the high figure of each kind."""

latency = typer.Typer(help="Milliseconds on a device: measured, predicted or estimated.", invoke_without_command=True)


@latency.callback()
def _group(context: typer.Context) -> None:
    """Show the help where no command is given."""
    if context.invoked_subcommand is None:
        print(context.get_help())


def register(app: typer.Typer) -> None:
    """Add this module's commands to the program."""
    for command in (devices, measure, estimate, trust):
        latency.command()(command)
    latency.command("profile-space")(profile_space)
    latency.command()(calibrate)
    app.add_typer(latency, name="latency")


def devices(fmt: FormatOption = Format.table) -> None:
    """List the known devices: the shipped ones, and those of ./devices.yaml or $BOOSTFORMER_DEVICES."""
    from evaluators.latency.devices import read_devices

    rows = []
    for name, entry in read_devices().items():
        settings = entry.device.model_dump(mode="json", exclude_defaults=True, exclude={"kind"})
        told = ", ".join(f"{key}: {value}" for key, value in settings.items())
        rows.append(
            {
                "device": name,
                "kind": entry.device.kind,
                "settings": told,
                "from": "shipped" if entry.shipped else entry.where,
            }
        )
    emit(fmt, rows, rows)


def measure(
    arch: Annotated[
        str,
        typer.Argument(
            metavar="ARCH|FILE.onnx",
            help="Preset, architecture file, checkpoint folder or RUN_DIR:TRIAL; or an ONNX file, run as it is.",
        ),
    ],
    device: DeviceOption = "host",
    size: SizeOption = None,
    classes: ClassesOption = None,
    builds: Annotated[int, typer.Option(min=1, help="How often it is built: two builds of TensorRT differ.")] = 1,
    fmt: FormatOption = Format.table,
) -> None:
    """Measure an architecture, deployed, on a device at hand: milliseconds to the logits and to the label map."""
    from evaluators.latency.device import MeasuredConfig
    from evaluators.latency.devices import find

    if arch.endswith(".onnx"):
        if size is not None or classes is not None:
            raise UserError(f"--size, --classes: {arch} has its own; leave them out, or export another file")
        _file_figure(device, Path(arch), builds, fmt)
        return
    _figure(find(device, MeasuredConfig), arch, size, classes, builds, fmt)


def estimate(
    arch: ArchArgument,
    device: Annotated[
        str, typer.Option("--device", help="Its name: see `boostformer latency devices`; all for every datasheet.")
    ],
    size: SizeOption = None,
    classes: ClassesOption = None,
    fmt: FormatOption = Format.table,
) -> None:
    """Estimate an architecture's milliseconds without running it, from a datasheet or a table of measured parts."""
    from evaluators.latency.device import AdditiveConfig
    from evaluators.latency.devices import find

    if device == ALL:
        _estimates(arch, size, classes, fmt)
        return
    _figure(find(device, AdditiveConfig), arch, size, classes, 1, fmt)


def trust(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A device of kind jetson.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask: the fingerprint was compared already.")] = False,
    replace: Annotated[bool, typer.Option("--replace", help="Instead of another key that is stored.")] = False,
) -> None:
    """Show a board's host key, and store it once you have compared it: no other key is ever connected to."""
    from evaluators.latency.devices import JetsonDevice, find
    from evaluators.latency.jetson import host_keys

    entry = find(name, JetsonDevice)
    with reachable():
        key = host_keys.fetch_key(name, entry.device)
    note(f"{name} ({entry.device.address}) shows {key}")
    stored = host_keys.trusted_keys(entry.device, entry.folder)
    asks = key not in stored and (replace or not stored)  # else it is known, or refused, whatever is answered
    if asks and not yes and not _compared():
        note("nothing is stored")
        raise typer.Exit(1)
    note(host_keys.trust(name, entry.device, entry.folder, key, replace=replace))


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
        note(f"Next:\n  boostformer latency calibrate --device {device}")


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


def _figure(
    entry: Entry[DeviceConfig], arch: str, size: str | None, classes: int | None, builds: int, fmt: Format
) -> None:
    """Print the latency of a network.

    Args:
        entry: the device.
        arch: preset, architecture file, checkpoint folder or RUN_DIR:TRIAL.
        size: input size HxW; by default the architecture's.
        classes: number of classes; by default the architecture's.
        builds: how often it is built.
        fmt: how to print.
    """
    from search.cli.arch_argument import at_size, read_architecture
    from search.cli.data_argument import size_of

    network = at_size(read_architecture(arch).replace(classes=classes), size_of(size))
    with reachable():
        found = entry.open().latency(network, labels=True, builds=builds, say=note)
    document = {"architecture": network.id, "size": list(network.size), "device": entry.name, **_plain(found)}
    between = BETWEEN["builds" if builds > 1 else found.provenance.kind]
    figures = {
        "latency_ms": found.ms,
        "… to the label map": found.labels_ms,
        f"low ({between})": found.figure.low,
        f"high ({between})": found.figure.high,
    }
    rows = [{"figure": figure, "ms": ms} for figure, ms in figures.items()]
    height, width = network.size
    emit(
        fmt,
        document,
        rows,
        caption=f"{arch} at {height}x{width}, {number_of(network.classes, 'class')}\n{found.provenance}",
    )


def _file_figure(device: str, file: Path, builds: int, fmt: Format) -> None:
    """Print the latency of an ONNX file.

    Args:
        device: what runs it.
        file: is run as it is.
        builds: how often it is built.
        fmt: how to print.
    """
    from evaluators.latency.device import MeterConfig
    from evaluators.latency.devices import find
    from evaluators.latency.exported import file_latency, read_graph

    entry = find(device, MeterConfig)
    graph = read_graph(file)
    with reachable():
        found = file_latency(graph, entry.device.meter(entry.name, entry.folder), builds=builds, say=note)
    plain = _plain(found)
    del plain["labels_ms"]
    between = BETWEEN["builds" if builds > 1 else found.provenance.kind]
    figures = {"latency_ms": found.ms, f"low ({between})": found.figure.low, f"high ({between})": found.figure.high}
    rows = [{"figure": figure, "ms": ms} for figure, ms in figures.items()]
    opset = next(item.version for item in graph.opset_import if item.domain in ("", "ai.onnx"))
    emit(
        fmt,
        {"file": str(file), "opset": opset, "device": entry.name, **plain},
        rows,
        caption=f"{file}, opset {opset}\n{found.provenance}",
    )


def _estimates(arch: str, size: str | None, classes: int | None, fmt: Format) -> None:
    """Print the latencies of a network on all devices that are estimated, the fastest first; see :func:`_figure`."""
    from evaluators.latency.devices import read_devices
    from evaluators.latency.estimate.device import EstimateDevice
    from search.cli.arch_argument import at_size, read_architecture
    from search.cli.data_argument import size_of

    network = at_size(read_architecture(arch).replace(classes=classes), size_of(size))
    found: dict[str, Latency] = {}
    with reachable():
        for name, entry in read_devices().items():
            if isinstance(entry.device, EstimateDevice):
                found[name] = entry.open().latency(network, labels=True, builds=1, say=note)
    known = {"architecture": network.id, "size": list(network.size)}
    document = [known | {"device": name, **_plain(one)} for name, one in sorted(found.items(), key=lambda n: n[1].ms)]
    columns = ("device", "latency_ms", "low_ms", "high_ms", "labels_ms", "provenance")
    rows = [{column: row[column] for column in columns} for row in document]
    height, width = network.size
    about = f"{arch} at {height}x{width}, {network.classes} classes; low and high: {BETWEEN['estimated']}"
    emit(fmt, document, rows, caption=f"{about}; labels_ms: to the label map", drop=("labels_ms",))


def _plain(found: Latency) -> dict[str, Any]:
    return {
        "latency_ms": found.ms,
        "low_ms": found.figure.low,
        "high_ms": found.figure.high,
        "labels_ms": found.labels_ms,
        "provenance": str(found.provenance),
        "state": found.state,
    }


def _table(name: str) -> tuple[Entry[MeterConfig], Table]:
    """Open a table, and find the device that it describes."""
    from evaluators.latency.device import MeterConfig
    from evaluators.latency.devices import TableDevice, find

    entry = find(name, TableDevice)
    return find(entry.device.of, MeterConfig), entry.device.open(entry.name, entry.folder)


def _compared() -> bool:
    """Ask whether the fingerprint is the board's."""
    if not sys.stdin.isatty():
        raise UserError("nobody is there to compare the fingerprint: once you have, repeat with --yes")
    return typer.confirm("Is this the board's fingerprint?", err=True)


@contextmanager
def reachable() -> Iterator[None]:
    """End the program with one line where a device is not there, or cannot run a network."""
    from evaluators.latency.backend import MeasureFailure, Unavailable

    try:
        yield
    except (Unavailable, MeasureFailure) as error:
        note(f"error: {error}")
        raise typer.Exit(1) from None
