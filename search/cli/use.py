"""Commands that use a trained network: ``evaluate``, ``predict``, ``export``, ``import``."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from boostformer.errors import UserError, nearest
from results.tables import Format
from search.cli.data_argument import (
    HELP,
    BackgroundOption,
    ClassesOption,
    ColoursOption,
    IgnoreOption,
    data_in,
    data_of,
    meaning_of,
    with_meaning,
)
from search.cli.output import FormatOption, emit, note

Checkpoint = Annotated[Path, typer.Argument(metavar="CKPT", help="Folder of a checkpoint.", show_default=False)]
SPLITS = ("training", "validation", "test")


def register(app: typer.Typer) -> None:
    """Add this module's commands to the program."""
    app.command()(evaluate)
    app.command()(predict)
    app.command()(export)
    app.command("import")(import_)


def evaluate(
    ckpt: Checkpoint,
    data: Annotated[str | None, typer.Option(help=f"{HELP} By default what it was trained on.")] = None,
    split: Annotated[str, typer.Option(help="training, validation or test.")] = "validation",
    size: Annotated[str | None, typer.Option(help="HxW at which the network sees the images.")] = None,
    batch_size: Annotated[int, typer.Option(min=1)] = 8,
    classes: ClassesOption = None,
    ignore: IgnoreOption = None,
    background: BackgroundOption = None,
    colours: ColoursOption = None,
    fmt: FormatOption = Format.table,
) -> None:
    """Score a checkpoint: mIoU and accuracy at the labels' original resolution.

    Data are matched to the checkpoint's classes by name, in whatever order they list them; without names by number.
    """
    from boostformer.data import open_split
    from boostformer.data.matching import matched
    from boostformer.model import BoostFormer
    from boostformer.names import class_names
    from boostformer.training import evaluate as score
    from boostformer.weights import checkpoint
    from search.cli.arch_argument import at_size

    if split not in SPLITS:
        raise UserError(f"--split: unknown '{split}'; {nearest(split, SPLITS)}")
    model = BoostFormer.load(ckpt)
    config = data_of(data, size, data_in(model.provenance), model.architecture.size)
    config = with_meaning(config, meaning_of(classes, ignore, background, colours))
    at_size(model.architecture, config.size)
    names = class_names(model.labels, f"{ckpt / checkpoint.CONFIG}: labels")
    if names and len(names) != model.architecture.classes:
        raise UserError(f"{ckpt}: has {len(names)} names (`labels`) for {model.architecture.classes} classes")
    bands = model.architecture.bands
    if config.reading.count != bands:
        raise UserError(
            f"{config.root or config.kind}: `bands: {config.bands}` reads {config.reading.count}, but {ckpt} is of "
            f"{bands}; allowed: data of as many bands, `bands: {model.reading.bands}`"
        )
    found = open_split(config, split)  # type: ignore[arg-type]
    for line in found.remarks:
        note(line)
    images, how = matched(found, names, model.architecture.classes, str(config.root or config.kind))
    if how is not None:
        note(how)
    metrics = score(model, images, size=config.size, batch_size=batch_size)
    per_class = dict(zip(images.labels, metrics.per_class, strict=True))
    document = {"checkpoint": str(ckpt), "id": model.architecture.id, "split": split, "size": list(config.size)}
    rows = [
        {"class": name, "iou_percent": None if value is None else 100 * value}
        for name, value in zip(images.labels, metrics.per_class, strict=True)
    ]
    caption = (
        f"{ckpt}: mIoU {metrics.miou:.2%}, accuracy {metrics.accuracy:.2%} on {metrics.images} images ({split}), "
        f"seen at {config.size[0]}x{config.size[1]}, scored at the labels' own size"
    )
    emit(fmt, {**document, **asdict(metrics), "per_class": per_class}, rows, caption=caption)


def predict(
    ckpt: Checkpoint,
    images: Annotated[list[Path], typer.Argument(metavar="IMAGE…", show_default=False)],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder for the pictures.")],
    size: Annotated[str | None, typer.Option(help="HxW at which the network sees the images.")] = None,
) -> None:
    """Draw what a network sees: NAME.labels.png (0 is unused, 1 the first class) and NAME.overlay.png.

    Label maps have 8 bits for up to 254 classes, else 16.
    """
    from boostformer.model import BoostFormer
    from boostformer.predict import predict_file
    from search.cli.arch_argument import at_size
    from search.cli.data_argument import size_of

    model = BoostFormer.load(ckpt)
    data, wanted = data_in(model.provenance), at_size(model.architecture, size_of(size)).size
    how: dict[str, Any] = {"fit": data.fit, "overlap": data.overlap} if data else {}
    by_name = {image.stem: image for image in images}
    for image in images:
        if by_name[image.stem] != image:
            raise UserError(f"{image} and {by_name[image.stem]} would be drawn into the same file of --out")
    if model.architecture.bands not in (1, 3):
        shown = "the first three" if model.architecture.bands > 3 else "the first"
        note(f"overlays show {shown} of {model.architecture.bands} bands")
    for image in images:
        for file in predict_file(model, image, out, wanted, **how):
            print(file)


def export(
    ckpt: Checkpoint,
    out: Annotated[Path, typer.Option(metavar="FILE", help="The file to write, ending in .onnx.")],
    format: Annotated[str, typer.Option(help="onnx.")] = "onnx",
    opset: Annotated[int, typer.Option(help="13 (for TensorRT 8), 17, 18, 19 or 20.")] = 17,
    size: Annotated[str | None, typer.Option(help="HxW of the input; by default the architecture's.")] = None,
) -> None:
    """Export a checkpoint to ONNX, compare it with the network in ONNX Runtime, and write a manifest."""
    from boostformer.deploy.export import export_onnx
    from boostformer.model import BoostFormer
    from search.cli.arch_argument import at_size
    from search.cli.data_argument import size_of

    if format != "onnx":
        raise UserError(f"--format: unknown '{format}'; {nearest(format, ['onnx'])}")
    model = BoostFormer.load(ckpt)
    model.architecture = at_size(model.architecture, size_of(size))
    done = export_onnx(model, out, opset=opset)
    shape = "x".join(map(str, (1, model.architecture.bands, *model.architecture.size)))
    note(
        f"{done.file}: {shape}, opset {done.opset}, {done.nodes} nodes; ONNX Runtime differs from the "
        f"network by {done.max_difference:.1e} of its largest logit; manifest {done.manifest}"
    )


def import_(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="config.json and weights.", show_default=False)],
    out: Annotated[Path, typer.Option(metavar="CKPT", help="Folder of the new checkpoint.")],
) -> None:
    """Read a transformers SegFormer or MiT checkpoint, or the publication's BoostFormer."""
    from boostformer.model import import_checkpoint
    from boostformer.weights import checkpoint

    notes: list[str] = []
    model = import_checkpoint(folder, notes)
    checkpoint.claim(out)
    model.provenance = {"imported_from": folder.name, "notes": notes}
    model.save_pretrained(out)
    for line in notes:
        note(line)
    note(f"{model.architecture.id}, {model.architecture.classes} classes; saved in {out}")
