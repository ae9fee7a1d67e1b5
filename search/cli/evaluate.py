"""The command ``evaluate``: scores of a trained network, as published figures are made."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer

from boostformer.errors import UserError, nearest
from boostformer.files import replacing
from boostformer.shown import number_of
from results.tables import Format, tabulate
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
from search.cli.output import FormatOption, emit, exporting, next_step, note, progress
from search.cli.scoring import (
    DeviceOption,
    PrecisionOption,
    SplitOption,
    checked_split,
    ending_without_result,
    load,
    open_images,
    refuse_size,
)

if TYPE_CHECKING:
    from torch import nn

    from boostformer.data import DataConfig, SegmentationSplit
    from boostformer.deploy.onnx_network import OnnxNetwork
    from boostformer.model import BoostFormer
    from boostformer.training import Metrics, View
    from boostformer.training.evaluation import Evaluation
    from boostformer.training.scores import ImageScore

MODES = ("whole", "slide")
LEAST_SCALE, MOST_SCALE = 0.1, 8
SUMMARY = ("miou", "accuracy", "mean_accuracy", "dice", "frequency_weighted_iou", "boundary_miou")
"""Scores over the whole split, as JSON has them."""


def register(app: typer.Typer) -> None:
    """Add this module's command to the program."""
    app.command()(evaluate)


def evaluate(
    network: Annotated[
        Path, typer.Argument(metavar="CKPT", help="Folder of a checkpoint, or an exported .onnx.", show_default=False)
    ],
    data: Annotated[str | None, typer.Option(help=f"{HELP} By default what it was trained on.")] = None,
    split: SplitOption = "validation",
    size: Annotated[str | None, typer.Option(help="HxW at which the network sees the images, or of windows.")] = None,
    fit: Annotated[
        str | None, typer.Option(help="exact or short_side, instead of the data's: how images come to that size.")
    ] = None,
    mode: Annotated[str, typer.Option(help="whole, or slide: through windows of --size.")] = "whole",
    overlap: Annotated[float | None, typer.Option(help="Least share that windows overlap by; by default 0.25.")] = None,
    scales: Annotated[str, typer.Option(help="Factors on the images' size, such as 0.5,0.75,1.0,1.25,1.5,1.75.")] = "1",
    flip: Annotated[bool, typer.Option("--flip", help="Mirrored images, too; probabilities are averaged.")] = False,
    batch_size: Annotated[int, typer.Option(min=1)] = 8,
    device: DeviceOption = "auto",
    precision: PrecisionOption = "fp32",
    boundary: Annotated[bool, typer.Option("--boundary", help="Boundary IoU, too, which takes time.")] = False,
    per_image: Annotated[Path | None, typer.Option(metavar="FILE.csv", help="Write the scores of each image.")] = None,
    confusion: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the confusion matrix: .csv or .png.")
    ] = None,
    worst: Annotated[int, typer.Option(min=0, help="Draw so many images of lowest mIoU into --out.")] = 0,
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="Folder for --worst.")] = None,
    classes: ClassesOption = None,
    ignore: IgnoreOption = None,
    background: BackgroundOption = None,
    colours: ColoursOption = None,
    fmt: FormatOption = Format.table,
) -> None:
    """Score a network: mIoU, accuracy and more, at the labels' original resolution.

    Published figures are made so: ADE20K with `--size 512x512 --fit short_side` (the shorter side 512, the whole image
    at once), Cityscapes with `--size 1024x1024 --mode slide` (windows of 1024 over the whole resolution), and
    multi-scale figures with `--scales 0.5,0.75,1.0,1.25,1.5,1.75 --flip` besides.

    Data are matched to the network's classes by name, in whatever order they list them; without names by number.
    """
    from boostformer.training.devices import computing
    from boostformer.training.evaluation import evaluate_fully
    from results.confusion import check_confusion_file, write_confusion

    checked_split(split)
    view = view_of(mode, overlap, scales, flip)
    if bool(worst) != (out is not None):
        raise UserError(
            "--worst, --out: the number of images and the folder for them go together; give both or neither"
        )
    if per_image is not None and per_image.suffix.lower() != ".csv":
        raise UserError(f"--per-image: {per_image}: cannot be written as '{per_image.suffix}'; allowed: .csv")
    if confusion is not None:
        check_confusion_file(confusion)
    model, place = load(network, device, precision)
    config = data_of(data, size, data_in(model.provenance) or _told(model, data), model.architecture.size)
    config = with_meaning(config, meaning_of(classes, ignore, background, colours))
    config = seen_as(network, model.architecture.size, config, size, fit)
    if config.fit == "tile":
        view = replace(view, mode="slide", overlap=config.overlap if overlap is None else overlap)
        config = config.model_copy(update={"overlap": view.overlap})
    images, _ = open_images(model, network, config, split)
    with computing(place, precision), ending_without_result():
        with progress("images") as tell:
            found = evaluate_fully(
                model,
                images,
                size=config.size,
                batch_size=batch_size,
                view=view,
                boundary=boundary,
                progress=tell,
            )
        drawn = _draw_worst(model, images, found, found.worst(worst), config.size, view, out) if out else None
    names, seen = images.labels, _seen(found.shapes, config, view)
    if per_image is not None:
        _write_per_image(per_image, found.images, names)
    if confusion is not None:
        write_confusion(confusion, found.confusion.tolist(), names)
    how = {
        **{"size": list(config.size), "fit": config.fit, "seen": [list(shape) for shape in seen], "mode": view.mode},
        **{"overlap": view.overlap if view.mode == "slide" else None, "scales": list(view.scales), "flip": view.flip},
        **{"device": str(place), "precision": precision},
    }
    rows = _rows(names, found.metrics)
    document = {
        **{"checkpoint": str(network), "id": model.architecture.id, "split": split, **how},
        **{key: getattr(found.metrics, key) for key in (*SUMMARY, "images")},
        "per_class": dict(zip(names, found.metrics.per_class, strict=True)),
        "classes": {name: _of_class(found.metrics, index) for index, name in enumerate(names)},
        "per_image": None if per_image is None else [_of_image(image, names) for image in found.images],
        "confusion": None if confusion is None else {"classes": names, "counts": found.confusion.tolist()},
        "worst": drawn,
    }
    drop = ("precision_percent", "recall_percent")
    emit(fmt, document, rows, caption=_caption(network, split, seen, view, found.metrics), drop=drop)
    steps = [f"boostformer predict {shlex.quote(str(network))} IMAGE --out pictures"]
    next_step(*steps, *([] if network.suffix == ".onnx" else [exporting(network)]), fmt=fmt)


def view_of(mode: str, overlap: float | None, scales: str, flip: bool) -> View:
    """Read the options that say how images are seen; :class:`UserError` for what is none."""
    from boostformer.training import View

    if mode not in MODES:
        raise UserError(f"--mode: unknown '{mode}'; {nearest(mode, MODES)}")
    if overlap is not None and mode != "slide":
        raise UserError(f"--overlap: is of windows, which `--mode slide` has, but the mode is '{mode}'")
    if overlap is not None and not 0 <= overlap < 0.9:
        raise UserError(f"--overlap: {overlap:g} is not a share from 0 to below 0.9")
    factors = []
    for text in scales.split(","):
        try:
            factors.append(float(text))
        except ValueError:
            factors.append(0)
        if not LEAST_SCALE <= factors[-1] <= MOST_SCALE:
            raise UserError(f"--scales: '{text.strip()}' is not a number from {LEAST_SCALE} to {MOST_SCALE}")
    if len(set(factors)) < len(factors):
        raise UserError(f"--scales: '{scales}' names a scale twice")
    return View(mode, 0.25 if overlap is None else overlap, tuple(factors), flip)  # type: ignore[arg-type]


def seen_as(network: Path, own: tuple[int, int], config: DataConfig, size: str | None, fit: str | None) -> DataConfig:
    """Give data at the size and fit at which a network sees them.

    Args:
        network: a checkpoint's folder, or an ONNX file, which has one size.
        own: (H, W) of its architecture.
        config: the data.
        size: ``--size``, if it was given.
        fit: ``--fit``, if it was given.
    """
    from boostformer.data.config import Fit

    if fit is not None:
        if fit not in get_args(Fit):
            raise UserError(f"--fit: unknown '{fit}'; {nearest(fit, get_args(Fit))}")
        config = config.model_copy(update={"fit": fit})
    if size is not None:
        refuse_size(network, own, config.size)
    if network.suffix == ".onnx" and config.size != own:
        alike = config.fit == "short_side" and min(config.size) == min(own)  # the same images, then
        if not alike:
            note(f"{network}: sees images of {own[0]}x{own[1]}, not of the data's {config.size[0]}x{config.size[1]}")
        config = config.model_copy(update={"size": own})
    return config


def _rows(names: Sequence[str], metrics: Metrics) -> list[dict[str, Any]]:
    """Give the rows of the table: what is known of each class, shares in per cent."""
    rows = []
    for index, name in enumerate(names):
        values = _of_class(metrics, index)
        if metrics.boundary_per_class is None:
            del values["boundary_iou"]
        pixels = values.pop("pixels")
        shares = {f"{key}_percent": None if share is None else 100 * share for key, share in values.items()}
        rows.append({"class": name, **shares, "pixels": pixels})
    return rows


def _of_class(metrics: Metrics, index: int) -> dict[str, Any]:
    return {
        "iou": metrics.per_class[index],
        "precision": metrics.precision[index],
        "recall": metrics.recall[index],
        "dice": metrics.dice_per_class[index],
        "boundary_iou": metrics.boundary_per_class and metrics.boundary_per_class[index],
        "pixels": metrics.pixels[index],
    }


def _of_image(image: ImageScore, names: Sequence[str]) -> dict[str, Any]:
    return {**asdict(image), "per_class": dict(zip(names, image.per_class, strict=True))}


def _write_per_image(file: Path, images: Sequence[ImageScore], names: Sequence[str]) -> None:
    columns = ["name", "miou", "accuracy", *(f"iou {name}" for name in names)]
    rows = [
        dict(zip(columns, (image.name, image.miou, image.accuracy, *image.per_class), strict=True)) for image in images
    ]
    with replacing(file, parents=True) as part:
        part.write_text(tabulate(rows, "csv", columns=columns), encoding="utf-8")


def _draw_worst(
    model: nn.Module,
    images: SegmentationSplit,
    found: Evaluation,
    worst: Sequence[int],
    size: tuple[int, int],
    view: View,
    out: Path,
) -> list[dict[str, Any]]:
    """Draw images beside their labels and predictions, and give their names, scores and files.

    Args:
        model: predicts them once more, which costs less memory than keeping what it predicted.
        images: the split.
        found: its scores.
        worst: indices of the images.
        size: (H, W) in pixels at which the network sees them.
        view: how it sees them.
        out: folder of the pictures.
    """
    from boostformer.overlay import side_by_side
    from boostformer.training.metrics import predicted_maps

    drawn = []
    for rank, (index, predicted) in enumerate(predicted_maps(model, images, worst, size=size, view=view), 1):
        image, label = images.pair(index)
        name = images.name(index)
        file = out / f"{rank:0{len(str(len(worst)))}d}_{name.replace('/', '_')}.png"
        with replacing(file, parents=True) as part:
            side_by_side(image, label, predicted, images.labels).save(part, "PNG")
        drawn.append({"name": name, "miou": found.images[index].miou, "file": str(file)})
        note(f"drawn: {file}, mIoU {found.images[index].miou:.2%}")
    return drawn


def _told(network: BoostFormer | OnnxNetwork, data: str | None) -> DataConfig | None:
    """Give what an exported file says itself of how it sees images; None without ``--data``, which it does not name."""
    from boostformer.data.config import DataConfig
    from boostformer.model import BoostFormer

    if isinstance(network, BoostFormer) or data is None:
        return None
    return DataConfig(size=network.architecture.size, fit=network.fit, overlap=network.overlap)


def _seen(shapes: Sequence[tuple[int, int]], config: DataConfig, view: View) -> list[tuple[int, int]]:
    """Give the shapes (H, W) at which images were seen, by area: several where they keep their proportions."""
    from boostformer.data import fitted_shape

    if view.mode == "slide":
        return [config.size]
    found = {fitted_shape(shape, config.size, config.fit) for shape in shapes}
    return sorted(found, key=lambda shape: (shape[0] * shape[1], shape))


def _caption(network: Path, split: str, shapes: Sequence[tuple[int, int]], view: View, metrics: Metrics) -> str:
    """Word the scores and how images were seen: at which ``shapes`` (H, W), the smallest first."""
    at = " to ".join(f"{height}x{width}" for height, width in dict.fromkeys((shapes[0], shapes[-1])))
    seen = f"seen at {at}" if view.mode == "whole" else f"seen through windows of {at}"
    if view.scales != (1.0,):
        seen += f" at {', '.join(f'{scale:g}' for scale in view.scales)} times the size"
    seen += ", and mirrored" if view.flip else ""
    border = "" if metrics.boundary_miou is None else f", boundary mIoU {metrics.boundary_miou:.2%}"
    on = f"{number_of(metrics.images, 'image')} ({split})"
    return (
        f"{network}: mIoU {metrics.miou:.2%}, accuracy {metrics.accuracy:.2%} on {on}, "
        f"{seen}, scored at the labels' own size\n"
        f"mean accuracy {metrics.mean_accuracy:.2%}, Dice {metrics.dice:.2%}, frequency-weighted IoU "
        f"{metrics.frequency_weighted_iou:.2%}{border}"
    )
