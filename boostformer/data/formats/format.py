"""Interface of layouts: how a folder of some tool or benchmark is recognised and listed as samples."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from boostformer.data.config import SPLITS, DataConfig, SplitName
from boostformer.data.faults import Fault, refuse
from boostformer.data.images import IMAGE_SUFFIXES
from boostformer.data.samples import MaskFile, Sample
from boostformer.errors import UserError

MASK_SUFFIXES = (".png",)
SPLIT_NAMES: Mapping[SplitName, tuple[str, ...]] = {
    "training": ("training", "train"),
    "validation": ("validation", "val", "valid"),
    "test": ("test", "testing"),
}
"""What folders and files of each part are called, whatever their capitals."""


@dataclass(frozen=True)
class Layout:
    """What a format found in a folder.

    ``names`` are those of the data set itself, in the order of the values that are no ``ignored`` ones, or by value;
    ``ignored`` is None where the layout does not say. ``source`` is the file of names, or else the folder.
    ``never`` are values that are no class whatever the person ignores, such as crowds.
    ``found`` says in some words what was found, ``remarks`` what was taken to be so.
    """

    root: Path
    found: str
    splits: Mapping[SplitName, Sequence[Sample]]
    source: Path
    names: Sequence[str] | Mapping[int, str] | None = None
    ignored: frozenset[int] | None = None
    remarks: Sequence[str] = field(default_factory=tuple)
    never: frozenset[int] = frozenset()


class Format(ABC):
    """One layout of data sets. A subclass, listed in ``formats/__init__.py``, is all that a new one takes."""

    kind: ClassVar[str]
    """Its name in run files."""
    looks: ClassVar[str]
    """What it looks like, in a line for people."""

    @abstractmethod
    def recognises(self, root: Path) -> bool:
        """Tell whether the folder certainly has this layout, by a look at few names; it may be wrong inside."""

    @abstractmethod
    def read(self, root: Path, config: DataConfig) -> Layout:
        """List the samples and names; UserError names the file or folder that is missing or malformed."""


def subfolder(folder: Path, names: Iterable[str]) -> Path | None:
    """Find the folder with one of ``names``, whatever its capitals; UserError when there are two."""
    wanted = {name.casefold() for name in names}
    found = [path for path in sorted(folder.iterdir()) if path.name.casefold() in wanted and path.is_dir()]
    if len(found) > 1:
        raise UserError(f"{folder}: has both {found[0].name}/ and {found[1].name}/; which one is meant?")
    return found[0] if found else None


def split_folders(folder: Path) -> dict[SplitName, Path]:
    """Find the folders of the parts that there are in ``folder``, by their usual names."""
    found = {split: subfolder(folder, SPLIT_NAMES[split]) for split in SPLITS} if folder.is_dir() else {}
    return {split: path for split, path in found.items() if path is not None}


def by_stem(folder: Path, suffixes: tuple[str, ...], ending: str = "", deep: bool = False) -> dict[str, Path]:
    """List the files of a folder by their names without suffix and ``ending``; files without the ending are left out.

    With ``deep`` the folders in it are listed too, and only the file's own name counts. UserError when two have one
    name.
    """
    found: dict[str, Path] = {}
    twice = []
    for path in sorted(folder.rglob("*") if deep else folder.iterdir()):
        if path.suffix.lower() not in suffixes or path.name.startswith(".") or not path.stem.endswith(ending):
            continue
        stem = path.stem.removesuffix(ending)
        if stem in found:
            twice.append(Fault(str(path), f"has the same name as {found[stem].name}", "which one is meant?"))
        found.setdefault(stem, path)
    refuse(twice)
    return found


def paired(images: Path, masks: Path, found: Mapping[str, Path], labelled: Mapping[str, Path]) -> list[Sample]:
    """Pair images and masks of equal names, sorted by them; UserError for one that is alone.

    Args:
        images: the folder of images, for messages.
        masks: the folder of masks, for messages.
        found: images by name.
        labelled: masks by name.
    """
    if not found:
        raise UserError(f"{images}: is empty: no {', '.join(IMAGE_SUFFIXES)} files")
    alone = [
        Fault(str(image), f"the image has no mask {masks / name}.png", "add the mask, or take the image out")
        for name, image in found.items()
        if name not in labelled
    ]
    alone += [
        Fault(str(mask), f"the mask has no image in {images}", "add the image, or take the mask out")
        for name, mask in labelled.items()
        if name not in found
    ]
    refuse(alone)
    return [MaskFile(name, found[name], labelled[name]) for name in sorted(found) if name in labelled]
