"""Data sets in no layout that is known: patterns of file names, or lists of files."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from boostformer.data.config import SPLITS, DataConfig, SplitName
from boostformer.data.faults import Fault, refuse
from boostformer.data.formats.format import SPLIT_NAMES, Format, Layout
from boostformer.data.formats.names import read_class_names, text_of
from boostformer.data.samples import MaskFile, Sample
from boostformer.errors import UserError

SPLIT, STEM = "{split}", "{stem}"


class Patterns(Format):
    """Files by ``images`` and ``masks``, or by ``lists``, below the root.

    ``images: "raw/{split}/*.tif"``: ``{split}`` is one of the usual names of each part (``train``, ``val``, …); without
    it all images are for training, and ``validation_share`` takes some to validate on. ``{stem}`` is what names a
    sample, by default the file's name without its suffix. ``masks: "labels/{split}/{stem}_mask.png"``; without a folder
    masks lie beside the images. ``lists: {training: train.txt, …}``: in each line an image and its mask, apart by a
    space, tab or comma, or with ``masks`` the image alone.
    """

    kind = "patterns"
    looks = 'whatever `images: "raw/{split}/*.jpg"` and `masks: "{stem}_mask.png"` say, or `lists`'

    def recognises(self, root: Path) -> bool:
        return False

    def read(self, root: Path, config: DataConfig) -> Layout:
        splits: dict[SplitName, Sequence[Sample]]
        if config.lists is not None:
            splits = {split: _listed(root, file, config) for split, file in config.lists.items()}
        else:
            splits = _matched(root, config)
        remarks: list[str] = []
        names, source = read_class_names(root, remarks)
        counts = ", ".join(f"{len(samples)} for {split}" for split, samples in splits.items())
        by = "lists" if config.lists else "patterns"
        return Layout(root, f"images by your {by}: {counts}", splits, source, names, remarks=remarks)


def _matched(root: Path, config: DataConfig) -> dict[SplitName, Sequence[Sample]]:
    if config.images is None or config.masks is None:
        raise UserError(f"{root}: data of kind 'patterns' need both `images` and `masks`")
    for key in ("images", "masks"):
        _check(root, key, getattr(config, key))
    if SPLIT not in config.images:
        return {"training": _glob(root, config.images, config.masks, "")}
    splits: dict[SplitName, Sequence[Sample]] = {}
    for split in SPLITS:
        spelled = [form for name in SPLIT_NAMES[split] for form in (name, name.title(), name.upper())]
        found = {name: some for name in spelled if (some := _glob(root, config.images, config.masks, name))}
        if len(found) > 1:
            raise UserError(f"{root}: {split} images are called both {' and '.join(found)}; which one is meant?")
        if found:
            [splits[split]] = found.values()
    if not splits:
        tried = ", ".join(name for names in SPLIT_NAMES.values() for name in names)
        raise UserError(f"{root}: no file matches `images: {config.images}`; {SPLIT} was tried as {tried}")
    return splits


def _check(root: Path, key: str, pattern: str) -> None:
    strange = [field for field in re.findall(r"\{[^}]*\}", pattern) if field not in (SPLIT, STEM)]
    if strange:
        raise UserError(f"{root}: `{key}: {pattern}` has {strange[0]}; allowed: {SPLIT}, {STEM}")
    if PurePosixPath(pattern).is_absolute() or ".." in PurePosixPath(pattern).parts:
        raise UserError(f"{root}: `{key}: {pattern}` leaves the data's root; allowed: a pattern below it")
    if key == "masks" and STEM not in pattern:
        raise UserError(f"{root}: `masks: {pattern}` is one file for all images; it needs {STEM}")
    if key == "masks" and "*" in pattern:
        raise UserError(f"{root}: `masks: {pattern}` has a *; one image has one mask, by {STEM}")


def _glob(root: Path, images: str, masks: str, split: str) -> list[Sample]:
    """List the samples whose images match, sorted by name."""
    pattern = images.replace(SPLIT, split)
    named = re.compile(re.escape(PurePosixPath(pattern).name).replace(re.escape(STEM), "(.+)").replace(r"\*", ".*"))
    found: dict[str, Sample] = {}
    for path in sorted(root.glob(pattern.replace(STEM, "*"))):
        match = named.fullmatch(path.name)
        stem = match[1] if match and match.groups() else path.stem
        mask = _mask_of(root, path, masks.replace(SPLIT, split).replace(STEM, stem))
        if mask == path:  # masks that lie among the images and match, too
            continue
        name = stem if stem not in found else path.relative_to(root).with_suffix("").as_posix()
        found[name] = MaskFile(name, path, mask)
    masks_found = {sample.source for sample in found.values()}
    samples = [sample for sample in found.values() if sample.files()[0] not in masks_found]
    alone = [sample for sample in samples if not sample.source.is_file()]
    refuse(
        Fault(str(one.files()[0]), f"the image has no mask {one.source}", "add the mask, or take the image out")
        for one in alone
    )
    lacking = {one.name for one in alone}
    return sorted((one for one in samples if one.name not in lacking), key=lambda sample: sample.name)


def _mask_of(root: Path, image: Path, mask: str) -> Path:
    return root / mask if "/" in mask else image.parent / mask


def _listed(root: Path, file: Path, config: DataConfig) -> list[Sample]:
    """Read a list: names of samples are their images' paths without suffix."""
    listing = root / file
    samples: list[Sample] = []
    faults: list[Fault] = []
    for number, line in enumerate(text_of(listing).splitlines(), start=1):
        fields = [field for field in re.split(r"[\t,]|\s{1,}", line.strip()) if field]
        if not fields or fields[0].startswith("#"):
            continue
        image = root / fields[0].lstrip("/")
        if len(fields) == 2:
            mask = root / fields[1].lstrip("/")
        elif len(fields) == 1 and config.masks is not None:
            mask = _mask_of(root, image, config.masks.replace(STEM, image.stem))
        else:
            said = f"must be an image and its mask, or with `masks` an image alone, but got {line!r}"
            faults.append(Fault(f"{listing}:{number}", said, "correct the list"))
            continue
        lost = [path for path in (image, mask) if ".." in path.relative_to(root).parts or not path.is_file()]
        faults += [
            Fault(f"{listing}:{number}", f"no such file below {root}: {path.relative_to(root)}", "correct the list")
            for path in lost
        ]
        if lost:
            continue
        samples.append(MaskFile(Path(fields[0]).with_suffix("").as_posix().lstrip("/"), image, mask))
    refuse(faults)
    if not samples:
        raise UserError(f"{listing}: lists no sample")
    return samples
