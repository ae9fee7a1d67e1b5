"""The command ``deploy``: a trained network as an engine on a board, timed and scored there, and brought home."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import boostformer
from boostformer.errors import UserError
from boostformer.files import replacing_together
from results.tables import Format
from search.cli.data_argument import HELP
from search.cli.device import reachable
from search.cli.export import pictures_for, to_export
from search.cli.output import FormatOption, emit, next_step, note

if TYPE_CHECKING:
    from boostformer.data.config import Fit
    from boostformer.deploy.agreement import Agreement, Pictures
    from boostformer.deploy.export import Exported
    from boostformer.figures import Latency
    from boostformer.model import BoostFormer
    from evaluators.latency.devices import Entry, JetsonDevice
    from evaluators.latency.jetson.engine import Engine
    from evaluators.latency.jetson.meter import JetsonMeter

NAME = "net"
SSH_PORT = 22


def register(app: typer.Typer) -> None:
    """Add this module's command to the program."""
    app.command()(deploy)


def deploy(
    network: Annotated[Path, typer.Argument(metavar="CKPT", help="Folder of a checkpoint.", show_default=False)],
    device: Annotated[str, typer.Option("--device", help="A board of kind jetson: see `boostformer latency devices`.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder for the engine, the ONNX file and the report.")],
    data: Annotated[str | None, typer.Option(help=f"{HELP} By default what it was trained on.")] = None,
    size: Annotated[str | None, typer.Option(help="HxW of the input; by default that of the scores.")] = None,
    images: Annotated[int, typer.Option(min=1, help="Most validation images that the engine is run on.")] = 24,
    builds: Annotated[int, typer.Option(min=1, help="How often it is built for timing: two builds differ.")] = 1,
    fmt: FormatOption = Format.table,
) -> None:
    """Build a network's engine on a board, time it there, and score it on validation images beside the ONNX file.

    The ONNX file is of the opset that the board's TensorRT reads best. Engine, ONNX file and report come home; what was
    brought to the board is removed from it, also after Ctrl-C.
    """
    from boostformer.deploy.export import export_onnx
    from evaluators.latency.devices import JetsonDevice, find
    from evaluators.latency.exported import file_latency, read_graph
    from evaluators.latency.jetson.engine import Engine
    from search.cli.data_argument import size_of

    entry = find(device, JetsonDevice)
    model = to_export(str(network))
    pictures = pictures_for(model, network, data, images)
    if pictures is None:
        raise UserError(f"--data is missing: {HELP}")
    with reachable():
        meter = entry.device.meter(entry.name, entry.folder)
        try:
            done = export_onnx(model, out / f"{NAME}.onnx", opset=meter.opset, size=size_of(size))
            note(f"{done.file}: opset {done.opset}, for the {meter.provenance().engine} of {entry.name}")
            graph = read_graph(done.file)
            engine = Engine(meter, str(network), graph, note)
            try:
                latency = file_latency(graph, meter, say=note)
                found = _score(engine, done, pictures)
                content = engine.fetch()
                if builds > 1:
                    latency = file_latency(graph, meter, builds=builds, say=note)
            finally:
                engine.remove()
            report = _report(network, model, meter, done, latency, found)
        finally:
            meter.close()
    files = [out / f"{NAME}.{ending}" for ending in ("engine", "json", "md")]
    with replacing_together(*files, parents=True) as (binary, plain, text):
        binary.write_bytes(content)
        plain.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
        text.write_text(_markdown(report), encoding="utf-8")
    emit(fmt, report, _rows(report), caption=f"{latency.provenance}\n{', '.join(map(str, files))}")
    next_step(to_the_board(entry, files[0], done.manifest), fmt=fmt)


def to_the_board(entry: Entry[JetsonDevice], *files: Path) -> str:
    """Write the command that puts files into the home folder of a board."""
    device = entry.device
    address = f"[{device.address}]" if ":" in device.address else device.address
    words = ["scp"]
    if device.port != SSH_PORT:
        words += ["-P", str(device.port)]
    if device.key is not None:
        words += ["-i", str(entry.folder / device.key.expanduser())]
    user = "" if device.user is None else f"{device.user}@"
    return shlex.join([*words, *map(str, files), f"{user}{address}:"])


def _score(engine: Engine, done: Exported, pictures: Pictures) -> Agreement:
    """Compare what the engine gives on the board with what the ONNX file gives here."""
    from boostformer.deploy.agreement import agreement
    from boostformer.deploy.onnx_network import OnnxNetwork

    here, there = OnnxNetwork(done.file), OnnxNetwork(done.file, engine.run)
    fit: Fit = "tile" if here.fit == "tile" else "exact"
    return agreement(here, there, pictures, here.architecture.size, fit, here.overlap)


def _report(
    network: Path, model: BoostFormer, meter: JetsonMeter, done: Exported, latency: Latency, found: Agreement
) -> dict[str, Any]:
    """Put together what is known of a deployment.

    Args:
        network: where it was read from.
        model: the network.
        meter: of the board.
        done: the ONNX file.
        latency: of the engine.
        found: of the engine and the ONNX file on images.
    """
    identity = meter.identity
    mode, clock = identity.state.settings
    return {
        "checkpoint": str(network),
        "architecture_id": model.architecture.id,
        "boostformer": boostformer.__version__,
        "device": meter.name,
        "board": identity.model,
        "tensorrt": str(identity.version),
        "precision": meter.device.precision,
        "power_mode": mode,
        "clock": clock,
        "opset": done.opset,
        "shape": list(done.shape),
        "onnx": done.file.name,
        "engine": f"{NAME}.engine",
        "latency_ms": latency.ms,
        "low_ms": latency.figure.low,
        "high_ms": latency.figure.high,
        "data": found.data,
        "images": found.images,
        "miou_onnx": found.miou,
        "miou_engine": found.file_miou,
        "same_pixels": found.pixels,
        "provenance": str(latency.provenance),
        "state": latency.state,
    }


def _rows(report: dict[str, Any]) -> list[dict[str, Any]]:
    def share(value: float | None) -> str:
        return "unknown" if value is None else f"{value:.2%}"

    return [
        {"figure": "latency on the board", "value": f"{report['latency_ms']:.2f} ms"},
        {"figure": "mIoU of the engine", "value": share(report["miou_engine"])},
        {"figure": "mIoU of the ONNX file", "value": share(report["miou_onnx"])},
        {"figure": "pixels of the same class", "value": share(report["same_pixels"])},
    ]


def _markdown(report: dict[str, Any]) -> str:
    """Write the report for people."""
    facts = ("board", "tensorrt", "precision", "power_mode", "clock", "opset", "shape", "data", "images")
    told = [(key.replace("_", " "), str(report[key])) for key in facts]
    found = [(row["figure"], row["value"]) for row in _rows(report)]
    table = "\n".join(f"| {about} | {value} |" for about, value in [("", ""), ("---", "---"), *found, *told])
    return (
        f"# {report['checkpoint']} on {report['device']}\n\n{table}\n\n{report['provenance']}\n\n"
        f"`{report['engine']}` runs with TensorRT {report['tensorrt']} on such a board alone; `{report['onnx']}` says "
        "how images become its input.\n"
    )
