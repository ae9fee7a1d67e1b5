"""Mapillary Vistas' folder layout."""

from __future__ import annotations

from pathlib import Path

from boostformer.data.config import DataConfig, SplitName
from boostformer.data.formats.format import MASK_SUFFIXES, Format, Layout, by_stem, complete, paired
from boostformer.data.formats.names import json_of
from boostformer.data.images import IMAGE_SUFFIXES
from boostformer.data.samples import Sample
from boostformer.errors import UserError
from boostformer.names import class_names

_PARTS: dict[SplitName, str] = {"training": "training", "validation": "validation", "test": "testing"}
_VERSIONS = {
    "v2.0/labels": ("config_v2.0.json", "config.json"),
    "v1.2/labels": ("config_v1.2.json", "config.json"),
    "labels": ("config.json",),
}
"""Folders of masks, the newest first, with the files that name their values."""
_MOST_LISTED = 5


class Vistas(Format):
    """Images in ``{training,validation,testing}/images``, masks beside them in ``v2.0/labels``, or of an older version.

    A value of a mask is a place in the ``labels`` of ``config_v2.0.json``; those that are not evaluated are ignored.
    """

    kind = "vistas"
    looks = "{training,validation}/images with v2.0/labels (or v1.2/labels, labels) and config_v2.0.json"

    def recognises(self, root: Path) -> bool:
        return (root / "training" / "images").is_dir() and any(
            (root / "training" / masks).is_dir() and any((root / name).is_file() for name in files)
            for masks, files in _VERSIONS.items()
        )

    def read(self, root: Path, config: DataConfig) -> Layout:
        there = [masks for masks in _VERSIONS if (root / "training" / masks).is_dir()]
        if not there:
            raise UserError(f"{root / 'training'}: has no folder of masks: {', '.join(_VERSIONS)}")
        files = [root / name for name in _VERSIONS[there[0]]]
        source = next((file for file in files if file.is_file()), files[0])
        names, evaluated = _labels(source)
        remarks = [f"{root / 'training'}: {there[0]} are the masks, not {' or '.join(there[1:])}"] if there[1:] else []
        folders = {split: (root / name / "images", root / name / there[0]) for split, name in _PARTS.items()}
        splits: dict[SplitName, list[Sample]] = {
            split: paired(images, masks, by_stem(images, IMAGE_SUFFIXES), by_stem(masks, MASK_SUFFIXES))
            for split, (images, masks) in complete(folders, remarks).items()
        }
        ignored = frozenset(value for value, is_class in enumerate(evaluated) if not is_class)
        if ignored:
            some = ", ".join(f"'{names[value]}' ({value})" for value in sorted(ignored)[:_MOST_LISTED])
            more = f" and {len(ignored) - _MOST_LISTED} more" if len(ignored) > _MOST_LISTED else ""
            remarks.append(f"{source}: not evaluated, so ignored: {some}{more}")
        found = f"Mapillary Vistas' layout ({there[0]})"
        return Layout(root, found, splits, source, dict(enumerate(names)), ignored=ignored, remarks=remarks)


def _labels(path: Path) -> tuple[list[str], list[bool]]:
    """Read the names of the values, and whether each is evaluated."""
    if not path.is_file():
        raise UserError(f"{path}: no such file; it names the mask values")
    found = json_of(path)
    labels = found.get("labels") if isinstance(found, dict) else None
    if not isinstance(labels, list) or not labels or not all(isinstance(label, dict) for label in labels):
        raise UserError(f"{path}: must have 'labels', a list of objects with 'name', 'readable' and 'evaluate'")
    for value, label in enumerate(labels):
        if not isinstance(label.get("readable", label.get("name")), str):
            raise UserError(f"{path}: label {value} has neither 'readable' nor 'name'")
        if not isinstance(label.get("evaluate", True), bool):
            raise UserError(f"{path}: label {value} has `evaluate: {label['evaluate']}`; allowed: true, false")
    short = [label.get("readable", label.get("name")) for label in labels]
    # Two values may read alike, and only their whole names tell them apart.
    whole = [label.get("name", name) for label, name in zip(labels, short, strict=True)]
    names = [long if short.count(name) > 1 else name for name, long in zip(short, whole, strict=True)]
    return class_names(names, path), [label.get("evaluate", True) for label in labels]
