"""Commands that use a trained network, or make one of a foreign checkpoint: ``predict``, ``import``."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from boostformer.errors import UserError, nearest
from boostformer.files import exists, is_folder
from boostformer.shown import number_of
from search.cli.data_argument import data_in
from search.cli.output import exporting, next_step, note, progress
from search.cli.scoring import DeviceOption, PrecisionOption, load, refuse_size

if TYPE_CHECKING:
    from boostformer.deploy.onnx_network import OnnxNetwork
    from boostformer.model import BoostFormer


def register(app: typer.Typer) -> None:
    """Add this module's commands to the program."""
    app.command()(predict)
    app.command("import")(import_)


def predict(
    network: Annotated[
        Path, typer.Argument(metavar="CKPT", help="Folder of a checkpoint, or an exported .onnx.", show_default=False)
    ],
    images: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[IMAGE…]",
            help="Images, videos, folders of images, or patterns such as 'a/*.jpg'.",
            show_default=False,
        ),
    ] = None,
    *,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder for the pictures.")],
    camera: Annotated[int | None, typer.Option(min=0, help="Draw what a camera sees, by its number.")] = None,
    frames: Annotated[int | None, typer.Option(min=1, help="Frames of a video or camera; by default all.")] = None,
    only: Annotated[str | None, typer.Option(help="labels or overlay; by default both are drawn.")] = None,
    size: Annotated[str | None, typer.Option(help="HxW at which the network sees the images.")] = None,
    device: DeviceOption = "auto",
    precision: PrecisionOption = "fp32",
) -> None:
    """Draw what a network sees: NAME.labels.png (0 is unused, 1 the first class) and NAME.overlay.png.

    Label maps have 8 bits for up to 254 classes, else 16. The colours of the classes are in legend.png. Of a folder all
    images below it are drawn, under their paths from there. Of a video or a camera, which Ctrl-C ends, NAME.overlay.mp4
    is written.
    """
    from boostformer.predict import KINDS, predict_file, write_legend
    from boostformer.training.devices import check_precision, chosen_device, computing
    from search.cli.arch_argument import at_size
    from search.cli.data_argument import size_of

    check_precision(precision, chosen_device(device))
    if only not in (None, *KINDS):
        raise UserError(f"--only: unknown '{only}'; {nearest(only, KINDS)}")
    kinds = [kind for kind in KINDS if only in (None, kind)]
    if not images and camera is None:
        raise UserError("predict: needs images, folders or videos, or --camera NUMBER")
    pictures, videos = _given(images or [], camera)
    if videos and only == "labels":
        raise UserError("--only labels: of videos and cameras only overlays are drawn; leave it out")
    if frames is not None and not videos:
        raise UserError("--frames: is of videos and cameras, but none is given")
    note(f"reading {network} …")
    model, place = load(network, device, precision)
    wanted = at_size(model.architecture, size_of(size)).size
    refuse_size(network, model.architecture.size, wanted)
    how = _seen(model)
    if model.architecture.bands not in (1, 3):
        shown = "the first three" if model.architecture.bands > 3 else "the first"
        note(f"overlays show {shown} of {model.architecture.bands} bands")
    with computing(place, precision):
        for name, image in pictures.items():
            for file in predict_file(model, image, out / name, wanted, kinds=kinds, **how):
                print(file)
        for name, source in videos.items():
            _draw_video(model, source, out / name, wanted, frames, how)
    print(write_legend(model, out), flush=True)
    is_file = network.suffix == ".onnx"
    next_step(f"boostformer latency measure {shlex.quote(str(network))}" if is_file else exporting(network))


def _seen(model: BoostFormer | OnnxNetwork) -> dict[str, Any]:
    """Give how images are brought to the network's size: as when it was scored."""
    from boostformer.model import BoostFormer

    source = data_in(model.provenance) if isinstance(model, BoostFormer) else model
    return {"fit": source.fit, "overlap": source.overlap} if source else {}


def _draw_video(
    model: BoostFormer | OnnxNetwork,
    source: Path | int,
    out: Path,
    size: tuple[int, int],
    most: int | None,
    how: dict[str, Any],
) -> None:
    """Draw a video, and say how far it is and what was drawn; the arguments are ``predict_video``'s."""
    from boostformer.videos import predict_video

    if not isinstance(source, Path):
        note(f"camera {source}: {'until Ctrl-C' if most is None else number_of(most, 'frame')} …")
    with progress("frames") as tell:
        file, count = predict_video(
            model, source, out, size, most=most, tell=lambda done, total: tell(done, total) if total else None, **how
        )
    print(file)
    note(f"{file}: {number_of(count, 'frame')}")


def _given(named: list[Path], camera: int | None) -> tuple[dict[str, Path], dict[str, Path | int]]:
    """Find the images that were named, those of folders too, and the videos; each by the name of its file in --out."""
    from boostformer.data.unlabelled import images_in
    from boostformer.videos import VIDEO_SUFFIXES

    found: dict[str, Path] = {}
    videos: dict[str, Path | int] = {} if camera is None else {f"camera{camera}": camera}
    for path in (path for one in named for path in _matching(one)):
        is_video = path.suffix.lower() in VIDEO_SUFFIXES and not is_folder(path)
        here = {path.stem: path} if is_video or not is_folder(path) else images_in(path)
        for name, file in here.items():
            for known in (found.get(name), videos.get(name)):
                if known not in (None, file):
                    raise UserError(f"{known} and {file} would be drawn into the same file of --out")
            (videos if is_video else found)[name] = file
    return found, videos


def _matching(path: Path) -> list[Path]:
    """Give the files that a pattern means, in order; what exists by this name, or is no pattern, means itself."""
    import glob

    text = str(path)
    if exists(path) or not glob.has_magic(text):
        return [path]
    found = sorted(map(Path, glob.glob(text, recursive=True)))  # noqa: PTH207  # it may be absolute
    if not found:
        raise UserError(f"{text}: no file matches this pattern")
    return found


def import_(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="config.json and weights.", show_default=False)],
    out: Annotated[Path, typer.Option(metavar="CKPT", help="Folder of the new checkpoint.")],
) -> None:
    """Read a transformers SegFormer or MiT checkpoint, or the publication's BoostFormer."""
    import_into(folder, out)


def import_into(folder: Path, out: Path) -> None:
    """Read a foreign checkpoint and write it as one of ours; UserError when it cannot be read."""
    from boostformer.model import import_checkpoint
    from boostformer.weights import checkpoint, importers
    from boostformer.weights.licence import licence_of
    from evaluators.costs.table import costs_of

    notes: list[str] = []
    model = import_checkpoint(folder, notes)
    checkpoint.claim(out)
    model.provenance = {"imported_from": folder.resolve().name, "notes": notes, "licence": licence_of(folder)}
    model.provenance["imported_sha256"] = checkpoint.sha256(importers.weights_file(folder))
    model.provenance["costs"] = costs_of(model.architecture)
    model.save_pretrained(out)
    for line in notes:
        note(line)
    note(f"{model.architecture.id}, {number_of(model.architecture.classes, 'class')}; saved in {out}")
    ours = shlex.quote(str(out))
    if model.kind == "segmenter":
        next_step(f"boostformer evaluate {ours} --data DIR", f"boostformer train {ours} --data DIR --out checkpoint")
    else:
        next_step(f"boostformer train {ours} --init {ours} --data DIR --out checkpoint")
