"""Commands about the latency of a network in milliseconds: ``latency measure``, ``estimate``, and their devices."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from boostformer.errors import UserError
from boostformer.shown import number_of
from results.tables import Format
from search.cli.data_argument import size_of
from search.cli.device import ClassesOption, DeviceOption, reachable
from search.cli.latency_table import calibrate, profile_space
from search.cli.output import FormatOption, busy, emit, exporting, latency_of, next_step, note

if TYPE_CHECKING:
    from boostformer.figures import Latency
    from evaluators.latency.device import DeviceConfig
    from evaluators.latency.devices import Entry

ArchArgument = Annotated[
    str, typer.Argument(metavar="ARCH", help="Preset, architecture file, checkpoint folder or RUN_DIR:TRIAL.")
]
SizeOption = Annotated[str | None, typer.Option("--size", help="Input size HxW; by default the architecture's.")]
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
    next_step("boostformer latency estimate boostformer_b0 --device all", fmt=fmt)


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
        if classes is not None:
            raise UserError(f"--classes: {arch} has its own; leave it out, or export another file")
        _file_figure(device, Path(arch), size, builds, fmt)
        next_step("boostformer latency devices", fmt=fmt)
        return
    _figure(find(device, MeasuredConfig), arch, size, classes, builds, fmt)
    next_step(_after_measuring(arch, size, classes), fmt=fmt)


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
    entry = find(device, AdditiveConfig)
    _figure(entry, arch, size, classes, 1, fmt)
    next_step(latency_of("measure", arch, size, classes, device=entry.device.about), fmt=fmt)


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
    next_step(f"boostformer latency measure boostformer_b0 --device {name}")


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
    doing = f"measuring on {entry.name} …" if entry.device.measured else f"estimating {entry.name} …"
    with reachable(), busy(doing):
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


def _file_figure(device: str, file: Path, size: str | None, builds: int, fmt: Format) -> None:
    """Print the latency of an ONNX file.

    Args:
        device: what runs it.
        file: is run as it is.
        size: HxW of the images, where the file leaves that free.
        builds: how often it is built.
        fmt: how to print.
    """
    from evaluators.latency.device import MeterConfig
    from evaluators.latency.devices import find
    from evaluators.latency.exported import file_latency, input_shape, read_graph

    entry = find(device, MeterConfig)
    graph = read_graph(file, size_of(size))
    shape = input_shape(graph)
    note(f"{file}: measured with one image, {'x'.join(map(str, shape))}")
    with reachable(), busy(f"measuring on {entry.name} …"):
        found = file_latency(graph, entry.device.meter(entry.name, entry.folder), builds=builds, say=note)
    plain = _plain(found)
    del plain["labels_ms"]
    between = BETWEEN["builds" if builds > 1 else found.provenance.kind]
    figures = {"latency_ms": found.ms, f"low ({between})": found.figure.low, f"high ({between})": found.figure.high}
    rows = [{"figure": figure, "ms": ms} for figure, ms in figures.items()]
    opset = next(item.version for item in graph.opset_import if item.domain in ("", "ai.onnx"))
    emit(
        fmt,
        {"file": str(file), "opset": opset, "shape": shape, "device": entry.name, **plain},
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
    next_step(latency_of("measure", arch, size, classes), fmt=fmt)


def _after_measuring(arch: str, size: str | None, classes: int | None) -> str:
    """Give what comes after a measurement: with weights their file, else the figures of other boards."""
    from search.cli.arch_argument import is_checkpoint

    if is_checkpoint(arch):
        return exporting(Path(arch))
    return latency_of("estimate", arch, size, classes, device=ALL)


def _plain(found: Latency) -> dict[str, Any]:
    return {
        "latency_ms": found.ms,
        "low_ms": found.figure.low,
        "high_ms": found.figure.high,
        "labels_ms": found.labels_ms,
        "provenance": str(found.provenance),
        "state": found.state,
    }


def _compared() -> bool:
    """Ask whether the fingerprint is the board's."""
    if not sys.stdin.isatty():
        raise UserError("nobody is there to compare the fingerprint: once you have, repeat with --yes")
    return typer.confirm("Is this the board's fingerprint?", err=True)
