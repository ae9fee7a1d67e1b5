"""Data sets in no layout that is known: patterns of file names, or lists of files."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from itertools import takewhile
from pathlib import Path, PurePosixPath

from boostformer.data.config import SPLITS, DataConfig, SplitName
from boostformer.data.faults import Fault, refuse
from boostformer.data.formats.format import SPLIT_NAMES, Format, Layout, in_two_parts
from boostformer.data.formats.names import read_class_names, text_of
from boostformer.data.images import IMAGE_SUFFIXES
from boostformer.data.samples import MaskFile, Sample
from boostformer.errors import UserError
from boostformer.files import composed, files_below

Find = Callable[[Path], Path | None]
"""Gives the file that a path names, if there is one."""
SPLIT, STEM = "{split}", "{stem}"
_WILD = {"**/": "(?:.*/)?", "*": "[^/]*", "?": "[^/]"}


class Patterns(Format):
    """Files by ``images`` and ``masks``, or by ``lists``, below the root.

    ``images: "raw/{split}/*.tif"``: ``{split}`` is one of the usual names of each part (``train``, ``val``, …), also
    with capitals; without it all images are for training, and ``validation_share`` takes some to validate on.
    ``{stem}`` is what names a sample, by default the file's name without its suffix.
    ``masks: "labels/{split}/{stem}_mask.png"``; without a folder masks lie beside the images.
    ``lists: {training: train.txt, …}``: in each line an image and its mask, apart by a tab, a comma or spaces, or with
    ``masks`` the image alone.
    """

    kind = "patterns"
    looks = 'whatever `images: "raw/{split}/*.jpg"` and `masks: "{stem}_mask.png"` say, or `lists`'

    def recognises(self, root: Path) -> bool:
        return False

    def read(self, root: Path, config: DataConfig) -> Layout:
        remarks: list[str] = []
        splits: dict[SplitName, list[Sample]]
        if config.lists is not None:
            if config.images is not None:
                raise UserError(f"{root}: `images` beside `lists`, which name the images; allowed: one of them")
            if config.masks is not None:
                _check(root, "masks", config.masks, (STEM,))
            splits = {split: _listed(root, file, config.masks) for split, file in config.lists.items()}
            remarks += in_two_parts(root, splits)
        else:
            splits = _matched(root, config)
        names, source = read_class_names(root, remarks)
        by = "lists" if config.lists else "patterns"
        return Layout(root, f"by your {by}", splits, source, names, remarks=remarks)


def _matched(root: Path, config: DataConfig) -> dict[SplitName, list[Sample]]:
    images, masks = config.images, config.masks
    if images is None or masks is None:
        raise UserError(f"{root}: data of kind 'patterns' need both `images` and `masks`")
    if PurePosixPath(images).name in ("", ".") or images.endswith("/"):
        raise UserError(f"{root}: `images: {images}` names a folder, not files; write `{images.rstrip('/')}/*.jpg`")
    _check(root, "images", images, (SPLIT, STEM))
    _check(root, "masks", masks, (SPLIT, STEM) if SPLIT in images else (STEM,))
    find = _lookup()
    if SPLIT not in images:
        if found := _glob(root, images, [masks], find):
            return {"training": found}
        raise UserError(f"{root}: no file matches `images: {images}`")
    splits: dict[SplitName, list[Sample]] = {}
    for split in SPLITS:
        called = {
            form: some
            for name in SPLIT_NAMES[split]
            for form in _spelled(name)
            if (some := _glob(root, images.replace(SPLIT, form), _masks(masks, form), find))
        }
        first = {form: some[0].files()[0] for form, some in called.items()}
        # Where capitals make no difference to the file system, one folder has several spellings.
        kept = [form for form in first if not any(first[form].samefile(first[other]) for other in _before(first, form))]
        if len(kept) > 1:
            raise UserError(f"{root}: {split} images are called both {' and '.join(kept)}; take one of them out")
        if kept:
            splits[split] = called[kept[0]]
    if not splits:
        tried = ", ".join(name for names in SPLIT_NAMES.values() for name in names)
        raise UserError(f"{root}: no file matches `images: {images}`; {SPLIT} was tried as {tried}")
    return splits


def _spelled(name: str) -> tuple[str, ...]:
    return name, name.title(), name.upper()


def _before(forms: dict[str, Path], form: str) -> list[str]:
    return list(forms)[: list(forms).index(form)]


def _masks(pattern: str, form: str) -> list[str]:
    """Give the patterns of masks of a part: its name may have other capitals there."""
    return list(dict.fromkeys(pattern.replace(SPLIT, name) for name in (form, *_spelled(form.casefold()))))


def _check(root: Path, key: str, pattern: str, fields: tuple[str, ...]) -> None:
    strange = [field for field in re.findall(r"\{[^}]*\}", pattern) if field not in fields]
    if strange:
        raise UserError(f"{root}: `{key}: {pattern}` has {strange[0]}; allowed here: {', '.join(fields)}")
    if PurePosixPath(pattern).is_absolute() or ".." in PurePosixPath(pattern).parts:
        raise UserError(f"{root}: `{key}: {pattern}` leaves the data's root; allowed: a pattern below it")
    if key == "masks" and STEM not in pattern:
        raise UserError(f"{root}: `masks: {pattern}` is one file for all images; it needs {STEM}")
    if key == "masks" and "*" in pattern:
        raise UserError(f"{root}: `masks: {pattern}` has a *; one image has one mask, by {STEM}")


def _lookup() -> Find:
    """Make what finds the file that a path names, maybe with other code points, and lists each folder once."""

    @cache
    def inside(folder: Path) -> dict[str, str]:
        return {composed(path.name): path.name for path in folder.iterdir()} if folder.is_dir() else {}

    def find(path: Path) -> Path | None:
        name = inside(path.parent).get(composed(path.name))
        return None if name is None else path.with_name(name)

    return find


def _glob(root: Path, images: str, masks: Sequence[str], find: Find) -> list[Sample]:
    """List the samples whose images match, sorted by name.

    Args:
        root: the data set's folder.
        images: the pattern of images, without ``{split}``.
        masks: patterns of masks, the first of which counts that names a file.
        find: gives the file that a path names, if there is one.
    """
    found = []
    for path, stem in _matches(root, images):
        tried = [_mask_of(root, path, mask.replace(STEM, stem)) for mask in masks]
        found.append((path, stem, next(filter(None, map(find, tried)), None), tried[0]))
    of_images = {mask for _, _, mask, _ in found}
    chosen = [one for one in found if one[0] not in of_images]  # masks may match the pattern of images, too
    if found and not chosen:
        raise UserError(f"{root}: `masks: {masks[0]}` names the images themselves, such as {found[0][0]}")
    stems = [stem for _, stem, _, _ in chosen]
    unique = len(set(stems)) == len(stems)
    samples: dict[str, Sample] = {}
    faults: list[Fault] = []
    for path, stem, mask, expected in chosen:
        name = stem if unique else path.relative_to(root).with_suffix("").as_posix()
        if mask is None:
            faults.append(Fault(str(path), f"the image has no mask {expected}", "add the mask, or take the image out"))
        elif name in samples:
            same = f"has the same name as {samples[name].files()[0].name}"
            faults.append(Fault(str(path), same, "which one is meant?"))
        else:
            samples[name] = MaskFile(name, path, mask)
    refuse(faults)
    return [samples[name] for name in sorted(samples)]


def _matches(root: Path, pattern: str) -> Iterator[tuple[Path, str]]:
    """Find the images that match, and their stems."""
    places = re.split(r"(\{stem\}|\*\*/|\*|\?)", pattern)
    stems = iter(["(?P<stem>[^/]+)", *["(?P=stem)"] * len(places)])
    whole = re.compile("".join(next(stems) if part == STEM else _WILD.get(part, re.escape(part)) for part in places))
    suffix = PurePosixPath(pattern).suffix
    chosen = bool(suffix) and "*" not in suffix and "?" not in suffix and STEM not in suffix
    if "**/" in pattern:  # which of pathlib does not follow links
        start = root.joinpath(*takewhile(lambda part: not set(part) & set("*?{"), PurePosixPath(pattern).parts))
        found = [Path(inner, name) for inner, names in (files_below(start) if start.is_dir() else ()) for name in names]
    else:
        found = [*root.glob(pattern.replace("[", "[[]").replace(STEM, "*"))]
    for path in sorted(found):
        match = whole.fullmatch(path.relative_to(root).as_posix())
        if match is None or path.name.startswith(".") or not (chosen or path.suffix.lower() in IMAGE_SUFFIXES):
            continue
        yield path, match["stem"] if STEM in pattern else path.stem


def _mask_of(root: Path, image: Path, mask: str) -> Path:
    return root / mask if "/" in mask else image.parent / mask


def _listed(root: Path, file: Path, masks: str | None) -> list[Sample]:
    """Read a list: names of samples are their images' paths without suffix, in the order of the list."""
    listing, find = root / file, _lookup()
    samples: dict[str, Sample] = {}
    faults: list[Fault] = []
    for number, line in enumerate(text_of(listing).splitlines(), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        image, *others = _fields(root, line.strip(), masks is not None, find)
        if len(others) == 1 and image and others[0]:
            mask = root / others[0]
        elif not others and masks is not None:
            mask = _mask_of(root, root / image, masks.replace(STEM, Path(image).stem))
        else:
            said = "must be an image and its mask, apart by a tab, a comma or a space, or with `masks` an image alone"
            faults.append(Fault(f"{listing}:{number}", f"{said}, but got {line!r}", "correct the list"))
            continue
        lost = [
            Fault(f"{listing}:{number}", f"no such file below {root}: {path.relative_to(root)}", "correct the list")
            for path in (root / image, mask)
            if ".." in path.relative_to(root).parts or find(path) is None
        ]
        faults += lost
        name = PurePosixPath(image).with_suffix("").as_posix()
        if name in samples:
            faults.append(Fault(f"{listing}:{number}", f"lists '{name}' twice", "correct the list"))
        elif not lost:
            samples[name] = MaskFile(name, find(root / image) or root / image, find(mask) or mask)
    refuse(faults)
    if not samples:
        raise UserError(f"{listing}: lists no sample")
    return list(samples.values())


def _fields(root: Path, line: str, may_be_alone: bool, find: Find) -> list[str]:
    """Take a line apart at its tabs, else its commas, else its spaces; a whole line may name an image."""
    whole = _below(line)
    if may_be_alone and find(root / whole):
        return [whole]
    mark = next((mark for mark in "\t," if mark in line), None)
    return [_below(field) for field in line.split(mark)]


def _below(field: str) -> str:
    """Read a path as lists have it: below the root even with a slash in front, and as Windows writes it."""
    return field.strip().replace("\\", "/").lstrip("/")
