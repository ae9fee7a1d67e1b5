"""The command ``export``: a network as a file for somebody who has nothing else."""

from __future__ import annotations

import json
import shlex
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from boostformer.errors import UserError, nearest
from boostformer.files import is_file, is_folder
from search.cli.data_argument import HELP, data_in, data_of, size_of
from search.cli.output import WhereOption, busy, next_step, note
from search.cli.scoring import open_images

if TYPE_CHECKING:
    from boostformer.deploy.agreement import Pictures
    from boostformer.deploy.manifest import Form
    from boostformer.model import BoostFormer

AXES = ("batch", "size")
TARGETS = ("any", "mobile")
FORMATS = ("onnx", "pt2", "openvino", "executorch")
OPENING = {
    "pt2": "import torch; run = torch.export.load(FILE).module()",
    "openvino": "import openvino; run = openvino.Core().compile_model(FILE)",
    "executorch": "import executorch.runtime as r; run = r.Runtime.get().load_program(FILE).load_method('forward')",
}
"""Lines of Python that open a file of each format but ONNX."""


def register(app: typer.Typer) -> None:
    """Add this module's command to the program."""
    app.command()(export)


@busy("exporting, and comparing with the network …")
def export(
    network: Annotated[
        str,
        typer.Argument(
            metavar="CKPT|ARCH", help="Folder of a checkpoint; or, untrained, what `profile` takes.", show_default=False
        ),
    ],
    out: Annotated[Path, typer.Option(metavar="FILE", help="The file to write: .onnx, .pt2, .xml or .pte.")],
    format: Annotated[str, typer.Option(help="onnx, pt2 (torch.export), openvino or executorch.")] = "onnx",
    opset: Annotated[int, typer.Option(help="13 (for TensorRT 8), 17, 18, 19 or 20.")] = 17,
    target: Annotated[
        str, typer.Option(help="any, or mobile: a graph that NNAPI and CoreML take; more nodes, slower elsewhere.")
    ] = "any",
    size: Annotated[
        str | None, typer.Option(help="HxW of the input; by default that at which the network was scored.")
    ] = None,
    labels: Annotated[
        bool, typer.Option("--labels", help="Enlarge and choose classes inside: the output is their numbers.")
    ] = False,
    label_type: Annotated[
        str | None, typer.Option(help="uint8 or int32, with --labels; by default uint8 where the target has it.")
    ] = None,
    normalise: Annotated[
        bool, typer.Option("--normalise", help="Normalise inside: the input is pixels, 0…255.")
    ] = False,
    where: WhereOption = None,
    dynamic: Annotated[
        str | None, typer.Option(help="Free axes: batch, size or batch,size; by default the shape is fixed.")
    ] = None,
    fp16: Annotated[
        bool, typer.Option("--fp16", help="Half precision inside; what goes in and comes out stays float32.")
    ] = False,
    data: Annotated[
        str | None, typer.Option(help=f"Images that --fp16 is checked on. {HELP} By default what it was trained on.")
    ] = None,
) -> None:
    """Export a network, compare the file with it, and write a manifest.

    A preset, an architecture file or RUN_DIR:TRIAL is exported with random weights: to see whether a device takes it.
    """
    from boostformer.deploy.export import export_onnx
    from boostformer.deploy.manifest import shape_remark

    if format not in FORMATS:
        raise UserError(f"--format: unknown '{format}'; {nearest(format, FORMATS)}")
    if data is not None and not fp16:
        raise UserError("--data: are the images that --fp16 is checked on; give --fp16, too")
    if target not in TARGETS:
        raise UserError(f"--target: unknown '{target}'; {nearest(target, TARGETS)}")
    if format != "onnx" and (fp16 or dynamic or target != "any"):
        raise UserError(f"--fp16, --dynamic, --target: are for ONNX files; leave them out with --format {format}")
    check_labels(labels, label_type)
    wanted = size_of(size)
    free = _axes(dynamic)
    model = to_export(network, where)
    form = form_of(model, opset, labels=labels, label_type=label_type, normalise=normalise, half=fp16, free=free)
    form = replace(form, mobile=target == "mobile")
    if format != "onnx":
        _other_format(model, out, format, wanted, form)
        return
    pictures = pictures_for(model, Path(network), data) if fp16 else None
    done = export_onnx(model, out, opset=opset, size=wanted, form=form, pictures=pictures)
    shape = "x".join(map(str, done.shape))
    gives = f"labels ({form.labels}) differ from the best class" if labels else "ONNX Runtime differs from the network"
    free_too = f" ({' and '.join(free)} free)" if free else ""
    note(
        f"{done.file}: {shape}{free_too}, opset {done.opset}, {done.nodes} nodes; {gives} by {done.max_difference:.1e} "
        f"of the largest logit; manifest {done.manifest}"
    )
    for provider, left in (done.left_on_cpu or {}).items():
        rest = ", ".join(f"{count} {operator}" for operator, count in left.most_common())
        note(
            f"{done.file}: {provider} takes {done.nodes - left.total()} nodes of {done.nodes}{rest and f', not {rest}'}"
        )
    if done.agreement is not None:
        note(f"{done.file}: half precision: {done.agreement}")
    if not form.any_size and (remark := shape_remark(model.provenance, done.shape[2:])):
        note(f"{done.file}: {remark}")
    at = f" --size {done.shape[2]}x{done.shape[3]}" if form.any_size else ""
    next_step(f"boostformer latency measure {shlex.quote(str(done.file))}{at}")


def _other_format(model: BoostFormer, out: Path, format: str, size: tuple[int, int] | None, form: Form) -> None:
    """Export to another format than ONNX, and say how it went.

    Args:
        model: the network.
        out: the file.
        format: pt2, openvino or executorch.
        size: (H, W), if it was given.
        form: of the file.
    """
    from boostformer.deploy.formats import export_format
    from boostformer.deploy.manifest import shape_remark

    done = export_format(model, out, format, size=size, form=form)
    gives = f"labels ({form.labels}) differ from the best class" if form.labels else "it differs from the network"
    shape = "x".join(map(str, done.shape))
    note(
        f"{done.file}: {shape}, {done.made_by}; {gives} by {done.max_difference:.1e} of the largest logit; manifest "
        f"{done.manifest}"
    )
    if remark := shape_remark(model.provenance, done.shape[2:]):
        note(f"{done.file}: {remark}")
    next_step(f"python -i -c {shlex.quote(OPENING[format].replace('FILE', json.dumps(str(done.file))))}")


def check_labels(labels: bool, label_type: str | None) -> None:
    """Raise :class:`UserError` where ``--label-type`` is none, or without ``--labels``."""
    from boostformer.deploy.manifest import LABEL_TYPES

    if label_type is not None and not labels:
        raise UserError("--label-type: is of class numbers; give --labels, too")
    if label_type is not None and label_type not in LABEL_TYPES:
        raise UserError(f"--label-type: unknown '{label_type}'; {nearest(label_type, LABEL_TYPES)}")


def form_of(
    model: BoostFormer,
    opset: int,
    *,
    labels: bool = False,
    label_type: str | None = None,
    normalise: bool = False,
    half: bool = False,
    free: tuple[str, ...] = (),
) -> Form:
    """Put together what lies in the file beside the network, and how.

    Args:
        model: the network.
        opset: of the file.
        labels: whether it gives class numbers.
        label_type: their type; by default what suits classes and opset.
        normalise: whether it takes pixels.
        half: whether it computes in half precision.
        free: which of its axes are free.
    """
    from boostformer.deploy.manifest import Form
    from boostformer.deploy.packaged import label_type as usual_type

    chosen = (label_type or usual_type(model.architecture.classes, opset)) if labels else None
    return Form(chosen, normalise, half, "batch" in free, "size" in free)  # type: ignore[arg-type]


def _axes(text: str | None) -> tuple[str, ...]:
    found = tuple(dict.fromkeys(word.strip() for word in text.split(","))) if text is not None else ()
    for word in found:
        if word not in AXES:
            raise UserError(f"--dynamic: unknown '{word}'; {nearest(word, AXES)}")
    return found


def pictures_for(model: BoostFormer, network: Path, data: str | None, most: int | None = None) -> Pictures | None:
    """Find the images to check a file on: validation images of its data; None where nobody knows any.

    Args:
        model: the network.
        network: where it was read from, for messages.
        data: ``--data``; by default what its provenance names.
        most: images at most.
    """
    from boostformer.deploy.agreement import IMAGES, pictures_of

    known = data_in(model.provenance)
    if data == "scenes" or (data is None and known is None):
        return None
    config = data_of(data, None, known, model.architecture.size)
    split, _ = open_images(model, network, config, "validation")
    return pictures_of(split, f"validation images of {config.root or config.kind}", most or IMAGES)


def to_export(text: str, where: str | None = None) -> BoostFormer:
    """Load a checkpoint, or build what ``text`` names with random weights; ``where`` as for `retrain`."""
    import torch

    from boostformer.model import BoostFormer, build
    from boostformer.weights.checkpoint import CONFIG
    from results.storage.location import is_run
    from search.cli.arch_argument import read_architecture
    from search.study.folder import read_experiment

    path = Path(text)
    if where is None and (is_file(path / CONFIG) or (is_folder(path) and not is_run(path))):
        return BoostFormer.load(path)
    architecture = read_architecture(text, where)
    torch.manual_seed(0)
    model = build(architecture)
    model.provenance = {"untrained": "random weights, seed 0"}
    run_dir, separator, _ = text.rpartition(":")
    if separator and is_folder(run_dir):
        searched = read_experiment(Path(run_dir))
        model.labels = list(searched.labels)
        model.provenance["data"] = searched.data.model_dump(mode="json")
    note(f"{text}: {architecture.id} with random weights: its answers mean nothing, its time and memory do")
    return model
