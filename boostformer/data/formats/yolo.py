"""YOLO's segmentation labels: a text file of outlines for each image, as Ultralytics and Roboflow write them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from boostformer.data.config import DataConfig, SplitName
from boostformer.data.faults import Fault, refuse
from boostformer.data.formats.annotated import (
    area,
    below,
    counted,
    in_order,
    names_of_objects,
    ring,
    said_of_background,
)
from boostformer.data.formats.format import Format, Layout
from boostformer.data.formats.names import text_of
from boostformer.data.images import IMAGE_SUFFIXES
from boostformer.data.samples import Drawn, Sample
from boostformer.data.shapes import Polygon
from boostformer.errors import UserError
from boostformer.files import files_below, read_text
from boostformer.yaml_lines import compose

_FILES = ("data.yaml", "data.yml", "dataset.yaml")
_PARTS: dict[str, SplitName] = {"train": "training", "val": "validation", "test": "test"}
_LEAST, _MOST = -0.01, 1.01  # some tools write outlines that leave the image by a hair


class Yolo(Format):
    """``data.yaml`` with folders or lists of images as ``train``, ``val`` and ``test``, and ``names``.

    An image's outlines are in the file whose folder has ``labels`` for the last ``images``, in lines of a class and
    x, y, … as shares of the width and height. Class k is value k + 1, all else is 0. Larger outlines are drawn first.
    """

    kind = "yolo"
    looks = "data.yaml with images/ and labels/ of outlines, in train/ and the like or above them"

    def recognises(self, root: Path) -> bool:
        return any((root / name).is_file() for name in _FILES)

    def read(self, root: Path, config: DataConfig) -> Layout:
        path = next((root / name for name in _FILES if (root / name).is_file()), None)
        if path is None:
            raise UserError(f"{root}: has no {_FILES[0]}")
        content = _mapping(path)
        names = _names(content, path)
        met: Counter[str] = Counter()
        remarks = list(said_of_background(root, config))
        splits: dict[SplitName, list[Sample]] = {}
        for key, split in _PARTS.items():
            folders = [(one, _found(root, content, one, f"{path}: `{key}`")) for one in _listed(content, key, path)]
            if split == "test" and any(place is None for _, place in folders):
                remarks.append(f"{path}: `{key}` is left out: there is no {folders[0][0]}")  # Roboflow names it always
                continue
            places = [image for one, place in folders for image in _images(root, place, f"{path}: `{key}: {one}`")]
            if places:
                splits[split] = in_order(
                    (_sample(root, image, names, met) for image in dict.fromkeys(places)), f"{path}: `{key}`"
                )
        if not splits:
            raise UserError(f"{path}: has none of `train`, `val` and `test`")
        return Layout(
            root,
            f"YOLO's outlines ({path.name})",
            splits,
            path,
            names_of_objects(names, path),
            frozenset(),
            [*remarks, *counted(root, met)],
        )


def _mapping(path: Path) -> dict[str, Any]:
    content = compose(read_text(path), str(path), needs="but it must have `train` and `names`").plain(("names",))
    if not isinstance(content, dict):
        raise UserError(f"{path}: must have keys such as `train` and `names`")
    return content


def _names(content: dict[str, Any], path: Path) -> list[str]:
    given = content.get("names")
    if isinstance(given, dict) and set(given) == set(map(str, range(len(given)))):
        given = [given[str(number)] for number in range(len(given))]
    usable = isinstance(given, list) and all(type(one) in (str, int) and str(one).strip() for one in given)
    if not usable or not given:
        raise UserError(f"{path}: `names` must be a list of names, or names by number from 0 on")
    if content.get("nc", len(given)) != len(given):
        raise UserError(f"{path}: `nc` is {content['nc']}, but there are {len(given)} `names`")
    return [str(one).strip() for one in given]


def _listed(content: dict[str, Any], key: str, path: Path) -> list[str]:
    given = content.get(key)
    listed = [] if given in (None, "") else given if isinstance(given, list) else [given]
    if not all(isinstance(one, str) and one.strip() for one in listed):
        raise UserError(f"{path}: `{key}` must be a folder of images, a list of files, or several of them")
    return listed


def _found(root: Path, content: dict[str, Any], given: str, where: str) -> Path | None:
    """Find a part's folder of images, or text file that lists them."""
    # The writer's folder is another machine's, and ../ leads out of where the file once was: all is below the root.
    inner = given.strip()
    while inner.startswith("../"):
        inner = inner[3:]
    places = [below(root, inner, where)]
    base = content.get("path")
    if isinstance(base, str) and base not in ("", ".") and not PurePosixPath(base).is_absolute() and ".." not in base:
        places.append(root / base / inner)
    return next((one for one in places if one.exists()), None)


def _images(root: Path, place: Path | None, where: str) -> list[Path]:
    """List the images in a folder or in a text file."""
    if place is None:
        raise UserError(f"{where}: there is no such folder or list below {root}")
    if place.is_dir():
        found = [Path(folder) / name for folder, names in files_below(place) for name in names]
        images = [one for one in found if one.suffix.lower() in IMAGE_SUFFIXES and not one.name.startswith(".")]
        _check_labels(root, place, images)
    else:
        images = [below(root, line.strip(), place) for line in text_of(place).splitlines() if line.strip()]
        if missing := [image for image in images if not image.is_file()]:
            raise UserError(f"{place}: lists {missing[0].relative_to(root)}, which is not below {root}")
    if not images:
        raise UserError(f"{where}: has no images")
    return images


def _check_labels(root: Path, folder: Path, images: list[Path]) -> None:
    """Refuse files of labels without an image, where labels have a folder of their own and ``folder`` is all images."""
    wanted = {_labels_of(root, image) for image in images}
    own = {labels.parent for labels in wanted if folder not in (labels.parent, *labels.parents)}
    spare = sorted(path for one in own if one.is_dir() for path in one.glob("[!.]*.txt") if path not in wanted)
    refuse(Fault(str(path), f"has no image in {folder}", "add the image, or take the labels out") for path in spare)


def _labels_of(root: Path, image: Path) -> Path:
    inner = image.relative_to(root)
    parts = list(inner.parent.parts)
    if "images" in parts:
        parts[len(parts) - 1 - parts[::-1].index("images")] = "labels"
    return root.joinpath(*parts, f"{inner.stem}.txt")


def _sample(root: Path, image: Path, names: list[str], met: Counter[str]) -> Sample:
    inner, labels = image.relative_to(root), _labels_of(root, image)
    shapes: list[Polygon] = []
    if labels.is_file():
        shapes = sorted(_outlines(labels, names), key=lambda one: -area(one.rings[0]))
    else:
        met["images without a file of labels, which are all background"] += 1
    return Drawn(inner.with_suffix("").as_posix(), image, labels, tuple(shapes), relative=True)


def _outlines(path: Path, names: list[str]) -> Iterator[Polygon]:
    for number, line in enumerate(text_of(path).splitlines(), start=1):
        fields = line.split()
        if not fields:
            continue
        where = f"{path}:{number}"
        if len(fields) == 5:
            raise UserError(f"{where}: is a box of detection, and a box is no mask; export the outlines instead")
        try:
            kind, points = float(fields[0]), ring(list(map(float, fields[1:])), where, _LEAST, _MOST)
        except ValueError:
            raise UserError(f"{where}: must be a class and x y x y …, but got {line[:50]!r}") from None
        if kind not in range(len(names)):
            raise UserError(f"{where}: class {fields[0][:20]} is outside the {len(names)} `names`: 0…{len(names) - 1}")
        if len(points) < 6:
            raise UserError(f"{where}: an outline has at least 3 points, but got {line[:50]!r}")
        yield Polygon(int(kind) + 1, (points,))
