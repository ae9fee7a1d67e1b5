"""Interface of layouts: how a folder of some tool or benchmark is recognised and listed as samples."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import ClassVar

from boostformer.data.config import SPLITS, DataConfig, SplitName
from boostformer.data.faults import Fault, refuse
from boostformer.data.images import IMAGE_SUFFIXES
from boostformer.data.samples import MaskFile, Sample
from boostformer.errors import UserError
from boostformer.files import composed, files_below

MASK_SUFFIXES = (".png",)
SPLIT_NAMES: Mapping[SplitName, tuple[str, ...]] = {
    "training": ("training", "train"),
    "validation": ("validation", "val", "valid"),
    "test": ("test", "testing"),
}
"""Names of each part's folders and files, whatever their capitals."""


@dataclass(frozen=True)
class Layout:
    """Findings of a format in a folder.

    ``names`` are those of the data set itself, in the order of the values that are no ``ignored`` ones, or by value;
    those of ignored values may be among the latter, so that people can call them by name. ``usual`` are names by value
    that hold only if all values that occur have one. ``ignored`` is None where the layout does not say; ``never`` are
    values that are no class whatever the person ignores, such as crowds. ``source`` is the file of names, or else the
    folder. ``found`` says in some words what was found, ``remarks`` what was taken to be so.
    """

    root: Path
    found: str
    splits: Mapping[SplitName, Sequence[Sample]]
    source: Path
    names: Sequence[str] | Mapping[int, str] | None = None
    ignored: frozenset[int] | None = None
    remarks: Sequence[str] = field(default_factory=tuple)
    never: frozenset[int] = frozenset()
    usual: Mapping[int, str] | None = None


class Format(ABC):
    """One layout of data sets. A subclass, listed in ``formats/__init__.py``, is all that a new one takes."""

    kind: ClassVar[str]
    """Its name in run files."""
    looks: ClassVar[str]
    """Description of its folders and files, in a line for people."""

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
        raise UserError(f"{folder}: has both {found[0].name}/ and {found[1].name}/; take one of them out")
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
    inside = files_below(folder) if deep else [(str(folder), sorted(one.name for one in folder.iterdir()))]
    for inner, names in inside:
        for name in names:
            stem, dot, suffix = name.rpartition(".")  # pathlib is slow on many thousands of names
            if name.startswith(".") or not stem.endswith(ending) or dot + suffix.lower() not in suffixes:
                if not (deep or dot):
                    _check_folder(folder / name, suffixes)
                continue
            stem, path = composed(stem.removesuffix(ending)), Path(inner, name)
            if stem in found:
                twice.append(Fault(str(path), f"has the same name as {found[stem].name}", "which one is meant?"))
            found.setdefault(stem, path)
    refuse(twice)
    return found


def _check_folder(path: Path, suffixes: tuple[str, ...]) -> None:
    """Refuse a folder with files of the ``suffixes``, which would be left out without a word."""
    if path.is_dir() and any(one.suffix.lower() in suffixes for one in path.iterdir()):
        refuse(
            [
                Fault(
                    str(path),
                    "is a folder within a part, which is not looked into",
                    "move its files up, or describe where they are by patterns",
                )
            ]
        )


def trees(images: Path, masks: Path) -> dict[SplitName, tuple[Path, Path]]:
    """Give each part's folders in two trees of equal shape; one that there is in neither is not there, then."""
    found, labelled = split_folders(images), split_folders(masks)
    parts: dict[SplitName, tuple[Path, Path]] = {}
    for split in SPLITS:
        name = (found.get(split) or labelled.get(split) or Path(SPLIT_NAMES[split][0])).name
        parts[split] = (found.get(split, images / name), labelled.get(split, masks / name))
    return parts


def complete(parts: Mapping[SplitName, tuple[Path, Path]], remarks: list[str]) -> dict[SplitName, tuple[Path, Path]]:
    """Keep the parts that there are, each with a folder of images and one of masks.

    UserError for a folder without the other, and when there is no training part. Test images without masks are left
    out, and that is said: benchmarks keep those to themselves.
    """
    found: dict[SplitName, tuple[Path, Path]] = {}
    for split, folders in parts.items():
        missing = [folder for folder in folders if not folder.is_dir()]
        if not missing:
            found[split] = folders
        elif split == "test" and missing == [folders[1]]:
            remarks.append(f"{folders[0]}: has no masks, so there is no test part")
        elif split == "training" or len(missing) < len(folders):
            raise UserError(f"{missing[0]}: no such folder in the data set")
    return found


def paired(
    images: Path, masks: Path, found: Mapping[str, Path], labelled: Mapping[str, Path], ending: str = ""
) -> list[Sample]:
    """Pair images and masks of equal names, sorted by them; UserError for one that is alone.

    Args:
        images: the folder of images, for messages.
        masks: the folder of masks, for messages.
        found: images by name.
        labelled: masks by name.
        ending: what masks are called beside that, for messages.
    """
    if not found:
        raise UserError(f"{images}: is empty: no {', '.join(IMAGE_SUFFIXES)} files")
    alone = [
        Fault(str(image), f"the image has no mask {name}{ending}.png in {masks}", "add the mask, or take the image out")
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


def counted(splits: Mapping[SplitName, Sequence[Sample]]) -> str:
    """Word how many samples each part has: ``12 training, 4 validation``."""
    return ", ".join(f"{len(samples)} {split}" for split, samples in splits.items()) + " images"


def in_two_parts(root: Path, splits: Mapping[SplitName, Sequence[Sample]]) -> list[str]:
    """Say which parts share images, which a list may have them do."""
    lines = []
    for split, other in combinations(splits, 2):
        others = {sample.files()[0] for sample in splits[other]}
        shared = [sample.name for sample in splits[split] if sample.files()[0] in others]
        if shared:
            some = f"{len(shared)} of {len(others)} {other} images are {split} images, too, such as '{shared[0]}'"
            lines.append(f"{root}: {some}; scores on them look better than they are")
    return lines
