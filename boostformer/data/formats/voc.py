"""Pascal VOC's folder layout, which CVAT and labelme export, too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

from boostformer.data.colours import Colours
from boostformer.data.config import SPLITS, DataConfig, SplitName
from boostformer.data.formats.colour_tables import read_labelmap
from boostformer.data.formats.format import MASK_SUFFIXES, SPLIT_NAMES, Format, Layout, in_two_parts
from boostformer.data.formats.names import text_of
from boostformer.data.images import IMAGE_SUFFIXES, is_painted
from boostformer.data.samples import MaskFile, Sample
from boostformer.errors import UserError
from boostformer.files import composed, files_below
from boostformer.names import class_names

_IMAGES, _MASKS, _LISTS = "JPEGImages", "SegmentationClass", "ImageSets/Segmentation"
_LABELMAP, _NAMES = "labelmap.txt", "class_names.txt"
# fmt: off
_USUAL = dict(enumerate((
    "background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable",
    "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)))
# fmt: on
_IGNORED, _BORDER = 255, 0xE0E0C0
"""The value of what is no class, mostly objects' borders, and its colour where masks are painted."""
_NO_CLASS = ("ignored", "void", "__ignore__")


class VOC(Format):
    """Images in ``JPEGImages``, masks in ``SegmentationClass``, parts by lists in ``ImageSets/Segmentation``.

    Names: ``labelmap.txt``, by which masks may be painted (CVAT); ``class_names.txt``, in the order of the values
    (labelme); else the usual 21 if they fit. Value 0, the background, is a class; 255 is ignored.
    """

    kind = "voc"
    looks = "JPEGImages/ and SegmentationClass/, with ImageSets/Segmentation/{train,val}.txt"

    def recognises(self, root: Path) -> bool:
        home = _home(root)
        beside = (_IMAGES, _LISTS, _LABELMAP)
        return (home / _MASKS).is_dir() and any((home / name).exists() for name in beside)

    def read(self, root: Path, config: DataConfig) -> Layout:
        home = _home(root)
        remarks: list[str] = []
        for name in (_IMAGES, _MASKS):
            if not (home / name).is_dir():
                raise UserError(f"{home / name}: no such folder in the data set")
        images, masks = _files(home / _IMAGES, IMAGE_SUFFIXES), _files(home / _MASKS, MASK_SUFFIXES)
        if not masks:
            raise UserError(f"{home / _MASKS}: is empty: no {', '.join(MASK_SUFFIXES)} files")
        values = _values(home, next(iter(masks.values())), remarks)
        listed = _listed(home, remarks)
        if listed is None:
            listed = {"training": [(str(home / _MASKS), name) for name in masks]}
            bare = f"; {len(images) - len(masks)} without are left out" if len(images) > len(masks) else ""
            remarks.append(f"{home}: has no {_LISTS}, so all {len(masks)} images with masks are training images{bare}")
        splits: dict[SplitName, list[Sample]] = {}
        for split, entries in listed.items():
            if split == "test" and not any(name in masks for _, name in entries):
                remarks.append(f"{home}: no image in the list of test images has a mask, so there is no test part")
                continue
            splits[split] = _samples(home, entries, images, masks, values.colours)
        remarks += in_two_parts(home, splits)
        found = "Pascal VOC's layout"
        usual = _USUAL if values.names is None else None
        return Layout(home, found, splits, values.source, values.names, values.ignored, remarks, usual=usual)


def _home(root: Path) -> Path:
    """Go down to the data set's own folder, where what is given holds ``VOCdevkit`` or a ``VOC2012`` alone."""
    while not (root / _MASKS).is_dir():
        inside = [path for path in root.iterdir() if path.name.startswith("VOC") and path.is_dir()]
        if len(inside) != 1:
            break
        [root] = inside
    return root


def _files(folder: Path, suffixes: Sequence[str]) -> dict[str, Path]:
    """Find the files in a folder and those in it, by their paths in it without suffix, sorted."""
    found: dict[str, Path] = {}
    for inner, names in files_below(folder):
        for name in names:
            stem, suffix = PurePath(name).stem, PurePath(name).suffix
            if suffix.lower() not in suffixes or name.startswith("."):
                continue
            path = Path(inner, name)
            key = composed(stem if inner == str(folder) else path.relative_to(folder).with_name(stem).as_posix())
            if key in found:
                raise UserError(f"{path}: has the same name as {found[key].name}; take one of them out")
            found[key] = path
    return dict(sorted(found.items()))


def _listed(home: Path, remarks: list[str]) -> dict[SplitName, list[tuple[str, str]]] | None:
    """Read the lists of each part's images: pairs of the line's place and the image's name; None without lists."""
    folder = home / _LISTS
    files = {path.stem.casefold(): path for path in sorted(folder.glob("*.txt"))} if folder.is_dir() else {}
    chosen = {split: next((files[name] for name in SPLIT_NAMES[split] if name in files), None) for split in SPLITS}
    listed = {split: _lines(path) for split, path in chosen.items() if path is not None}
    if "training" not in listed and (path := files.get("trainval") or files.get("default")):
        entries, others = _lines(path), {name for _, name in listed.get("validation", [])}
        rest = [entry for entry in entries if entry[1] not in others]
        less = f", less {len(entries) - len(rest)} validation images" if len(rest) < len(entries) else ""
        remarks.append(f"{folder}: has no train.txt; {path.name} lists the training images{less}")
        listed = {"training": rest, **listed}
    if not listed and files:
        raise UserError(f"{folder}: has {', '.join(path.name for path in files.values())}, but no train.txt")
    return listed or None


def _lines(path: Path) -> list[tuple[str, str]]:
    lines = enumerate(text_of(path).splitlines(), start=1)
    return [(f"{path}:{number}", composed(line.strip())) for number, line in lines if line.strip()]


def _samples(
    home: Path,
    entries: Sequence[tuple[str, str]],
    images: Mapping[str, Path],
    masks: Mapping[str, Path],
    colours: Colours | None,
) -> list[Sample]:
    """Make the samples of a list, sorted by name.

    Args:
        home: the data set's folder, for messages.
        entries: where each name stands, and the name.
        images: images by name.
        masks: masks by name.
        colours: what masks are painted in, if they are.
    """
    found: dict[str, Sample] = {}
    for place, name in entries:
        for folder, files, what in ((_IMAGES, images, "image"), (_MASKS, masks, "mask")):
            if name not in files:
                raise UserError(f"{place}: '{name}' has no {what} in {home / folder}")
        if name in found:
            raise UserError(f"{place}: lists '{name}' twice")
        found[name] = MaskFile(name, images[name], masks[name], colours)
    if not found:
        raise UserError(f"{home / _LISTS}: a list is empty")
    return [found[name] for name in sorted(found)]


@dataclass(frozen=True)
class _Values:
    """Meaning of mask values, and where it stands."""

    source: Path
    names: Mapping[int, str] | None
    ignored: frozenset[int]
    colours: Colours | None = None


def _values(home: Path, mask: Path, remarks: list[str]) -> _Values:
    """Read the names there are; whether masks are painted is told by ``mask``, the first one."""
    if (path := home / _LABELMAP).is_file():
        table = read_labelmap(path)
        names, ignored = table.names, table.called(_NO_CLASS)
        colours = table.colours.colours
        if painted := is_painted(mask):
            if _BORDER not in colours:
                ignored |= {len(colours)}
                colours += (_BORDER,)
        else:
            ignored |= {_IGNORED} - {*names}
        by = "by colours" if painted else "in the order of their values"
        some = "".join(f"; '{names[value]}' is ignored" for value in sorted(ignored) if value in names)
        remarks.append(f"{path}: names {len(names)} values, {by}{some}")
        return _Values(path, names, ignored, Colours(colours) if painted else None)
    if (path := home / _NAMES).is_file():
        lines = [line.strip() for line in text_of(path).splitlines() if line.strip()]
        listed = [line for line in lines if line not in _NO_CLASS]
        remarks.append(f"{path}: names {len(listed)} values, in their order from 0; {_IGNORED} is ignored")
        return _Values(path, dict(enumerate(class_names(listed, path))), frozenset({_IGNORED}))
    return _Values(home / _MASKS, None, frozenset({_IGNORED}))
