"""CamVid's folder layouts: with indices as SegNet's tutorial has them, and painted as it was published."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from boostformer.data.config import DataConfig, SplitName
from boostformer.data.formats.colour_tables import ColourTable, read_class_dict, read_label_colours
from boostformer.data.formats.format import (
    MASK_SUFFIXES,
    SPLIT_NAMES,
    Format,
    Layout,
    by_stem,
    complete,
    paired,
    subfolder,
)
from boostformer.data.images import IMAGE_SUFFIXES
from boostformer.data.samples import MaskFile, Sample
from boostformer.errors import UserError

_INDEXED, _PAINTED = "annot", "_labels"
"""Names of folders of masks beside ``train``."""
_WHOLE, _WHOLE_MASKS = "701_StillsRaw_full", ("LabeledApproved_full", "label")
_CSV, _TXT = "class_dict.csv", "label_colors.txt"
# fmt: off
_NAMES = dict(enumerate((
    "Sky", "Building", "Pole", "Road", "Pavement", "Tree", "SignSymbol", "Fence", "Car", "Pedestrian", "Bicyclist",
)))
# fmt: on
_UNLABELLED = 11
_VOID = ("void", "unlabelled", "unlabeled")


class CamVid(Format):
    """Three layouts of one data set.

    Of SegNet's tutorial: ``train`` with ``trainannot``, …; values 0…10 are the usual classes, 11 is ignored. Painted:
    ``train`` with ``train_labels``, … and ``class_dict.csv``. As published, painted and without parts:
    ``701_StillsRaw_full`` with ``LabeledApproved_full`` and ``label_colors.txt``. There masks are ``NAME_L.png``, and
    ``Void`` is ignored.
    """

    kind = "camvid"
    looks = (
        "train/ with trainannot/; train/ with train_labels/ and class_dict.csv; "
        "701_StillsRaw_full/ with LabeledApproved_full/ and label_colors.txt"
    )

    def recognises(self, root: Path) -> bool:
        if (root / _WHOLE).is_dir():
            return (root / _TXT).is_file()
        indexed, painted = ((root / f"train{ending}").is_dir() for ending in (_INDEXED, _PAINTED))
        return (root / "train").is_dir() and (indexed or (painted and (root / _CSV).is_file()))

    def read(self, root: Path, config: DataConfig) -> Layout:
        if (root / _WHOLE).is_dir():
            return _whole(root)
        if _folders(root, _PAINTED)["training"][1].is_dir():
            return _painted(root)
        remarks = [f"{root}: CamVid's {len(_NAMES)} usual names are taken, and {_UNLABELLED} is ignored: unlabelled"]
        splits: dict[SplitName, list[Sample]] = {
            split: paired(images, masks, by_stem(images, IMAGE_SUFFIXES), by_stem(masks, MASK_SUFFIXES))
            for split, (images, masks) in complete(_folders(root, _INDEXED), remarks).items()
        }
        found = "CamVid's layout of SegNet's tutorial (train/ with trainannot/)"
        return Layout(root, found, splits, root, _NAMES, ignored=frozenset({_UNLABELLED}), remarks=remarks)


def _folders(root: Path, ending: str) -> dict[SplitName, tuple[Path, Path]]:
    """Give each part's folder of images and the one beside it of masks, whether or not they are there."""
    folders: dict[SplitName, tuple[Path, Path]] = {}
    for split, names in SPLIT_NAMES.items():
        images, masks = subfolder(root, names), subfolder(root, [name + ending for name in names])
        name = images.name if images else masks.name[: -len(ending)] if masks else names[-1]
        folders[split] = images or root / name, masks or root / (name + ending)
    return folders


def _painted(root: Path) -> Layout:
    table = _table(root / _CSV)
    remarks: list[str] = []
    splits = {
        split: _coloured(images, masks, table)
        for split, (images, masks) in complete(_folders(root, _PAINTED), remarks).items()
    }
    return _layout(
        root, root / _CSV, "CamVid's layout of painted masks (train/ with train_labels/)", table, splits, remarks
    )


def _whole(root: Path) -> Layout:
    masks = [root / name for name in _WHOLE_MASKS if (root / name).is_dir()]
    if not masks:
        raise UserError(f"{root / _WHOLE_MASKS[0]}: no such folder in the data set")
    table = _table(root / _TXT)
    splits: dict[SplitName, list[Sample]] = {"training": _coloured(root / _WHOLE, masks[0], table)}
    remarks = [f"{root}: has no list of parts, so all {len(splits['training'])} images are training images"]
    return _layout(root, root / _TXT, f"CamVid as published ({_WHOLE}/ with {masks[0].name}/)", table, splits, remarks)


def _table(path: Path) -> ColourTable:
    if not path.is_file():
        raise UserError(f"{path}: no such file; it names the masks' colours")
    return read_class_dict(path) if path.suffix == ".csv" else read_label_colours(path)


def _coloured(images: Path, masks: Path, table: ColourTable) -> list[Sample]:
    labelled, ending = by_stem(masks, MASK_SUFFIXES, "_L"), "_L"
    if not labelled:  # other data sets in this layout call masks as their images
        labelled, ending = by_stem(masks, MASK_SUFFIXES), ""
    found = paired(images, masks, by_stem(images, IMAGE_SUFFIXES), labelled, ending)
    return [replace(sample, colours=table.colours) for sample in found if isinstance(sample, MaskFile)]


def _layout(
    root: Path,
    source: Path,
    found: str,
    table: ColourTable,
    splits: dict[SplitName, list[Sample]],
    remarks: list[str],
) -> Layout:
    ignored = table.called(_VOID)
    if ignored:
        named = ", ".join(f"'{table.names[value]}'" for value in sorted(ignored))
        remarks = [*remarks, f"{source}: {named} is ignored"]
    return Layout(root, f"{found}", splits, source, table.names, ignored=ignored, remarks=remarks)
