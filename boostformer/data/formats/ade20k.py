"""ADE20K's folder layout: as distributed, or as image/mask."""

from __future__ import annotations

from pathlib import Path

from boostformer.data.config import DataConfig, SplitName
from boostformer.data.formats.format import (
    MASK_SUFFIXES,
    Format,
    Layout,
    by_stem,
    complete,
    paired,
    split_folders,
    trees,
)
from boostformer.data.formats.names import read_class_names
from boostformer.data.images import IMAGE_SUFFIXES
from boostformer.data.samples import Sample
from boostformer.errors import UserError

_FOLDERS = (("images", "annotations"), ("image", "mask"), ("images", "masks"))


class ADE20K(Format):
    """Images and masks in two trees of equal shape.

    As distributed: ``images/{training,validation}/*.jpg``, ``annotations/{training,validation}/*.png``. As image/mask:
    ``image/{train,val}``, ``mask/{train,val}``. Names of the classes in ``classes.txt`` (one per line),
    ``objectInfo150.txt`` or ``id2label.json``; value 0 ("other") is no class, and value k is class k - 1.
    """

    kind = "ade20k"
    looks = "images/{training,validation} with annotations/ or masks/ of equal names; image/{train,val} with mask/"

    def recognises(self, root: Path) -> bool:
        found = _folders(root)
        return found is not None and any(map(_has_masks, split_folders(root / found[1]).values()))

    def read(self, root: Path, config: DataConfig) -> Layout:
        found = _folders(root)
        if found is None:
            raise UserError(f"{root}: found neither images/ with annotations/ (ADE20K) nor image/ with mask/")
        images, masks = (root / name for name in found)
        remarks: list[str] = []
        names, source = read_class_names(root, remarks)
        splits: dict[SplitName, list[Sample]] = {
            split: paired(here, there, by_stem(here, IMAGE_SUFFIXES), by_stem(there, MASK_SUFFIXES))
            for split, (here, there) in complete(trees(images, masks), remarks).items()
        }
        return Layout(root, f"ADE20K's layout ({found[0]}/ with {found[1]}/)", splits, source, names, remarks=remarks)


def _folders(root: Path) -> tuple[str, str] | None:
    return next((pair for pair in _FOLDERS if all((root / name).is_dir() for name in pair)), None)


def _has_masks(folder: Path) -> bool:
    return any(path.suffix.lower() in MASK_SUFFIXES for path in folder.iterdir())
