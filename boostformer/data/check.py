"""Check of a whole data set in a folder: what it holds, what follows from that, and every fault at once."""

from __future__ import annotations

import functools
import itertools
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from boostformer.data.advice import flip_advice, size_advice
from boostformer.data.bands import ImageReading
from boostformer.data.config import SPLITS, DataConfig, SplitName
from boostformer.data.content import digest_of_pixels
from boostformer.data.counting import summarise
from boostformer.data.faults import Fault, collecting_faults
from boostformer.data.folder import FolderData, differing_sizes
from boostformer.data.images import Array, image_form
from boostformer.data.mask_scan import MaskScan
from boostformer.data.mask_values import Meaning, check_learnable, without_class
from boostformer.data.reading import read_each
from boostformer.data.samples import Sample
from boostformer.data.summary import DataSummary
from boostformer.errors import UserError
from boostformer.shown import number_of

SAME = "decoded pixels of the images"
"""Way in which duplicates are told."""


@dataclass(frozen=True)
class Duplicate:
    """Images that are the same, and the split of each."""

    files: tuple[str, ...]
    splits: tuple[SplitName, ...]

    @property
    def is_between(self) -> bool:
        """Tell whether they are in several splits."""
        return len(set(self.splits)) > 1


@dataclass(frozen=True)
class Report:
    """Findings of a check.

    Attributes:
        root: the folder.
        kind: of the data, as it was named.
        summary: numbers; None where the folder could not be listed.
        forms: how many image files have which bands.
        duplicates: images that occur more than once.
        advice: what follows from all that.
        remarks: what was taken to be so without being told.
        faults: all that is wrong, by file.
        meaning: of the mask values; None where it could not be decided.
        samples: those without a fault, by split.
        shapes: heights and widths (n, 2) of the images that could be read.
    """

    root: Path
    kind: str
    summary: DataSummary | None = None
    forms: Mapping[str, int] = field(default_factory=dict)
    duplicates: Sequence[Duplicate] = ()
    advice: Sequence[str] = ()
    remarks: Sequence[str] = ()
    faults: Sequence[Fault] = ()
    meaning: Meaning | None = None
    samples: Mapping[SplitName, Sequence[Sample]] = field(default_factory=dict)
    shapes: NDArray[np.int64] = field(default_factory=lambda: np.empty((0, 2), np.int64))

    @property
    def never(self) -> list[str]:
        """Classes that no mask has."""
        return [one.name for one in self._classes if not one.splits]

    @property
    def alone(self) -> dict[str, SplitName]:
        """Classes that occur in one split only, where there are several."""
        several = self.summary is not None and len(self.summary.images) > 1
        return {one.name: one.splits[0] for one in self._classes if several and len(one.splits) == 1}

    @property
    def _classes(self) -> Sequence[Any]:
        return self.summary.classes if self.summary is not None else ()

    def to_dict(self) -> dict[str, Any]:
        """Give all as plain values, always with the same keys."""
        nothing = DataSummary("", {}, None, (), {}, {}).to_dict() | {"layout": None}
        between, within = ([asdict(d) for d in self.duplicates if d.is_between is way] for way in (True, False))
        return {
            "root": str(self.root),
            "kind": self.kind,
            **(nothing if self.summary is None else self.summary.to_dict()),
            "bands": dict(self.forms),
            "never": self.never,
            "one_split_only": self.alone,
            "duplicates": {"same": SAME, "between_splits": between, "within_a_split": within},
            "advice": list(self.advice),
            "remarks": list(self.remarks),
            "faults": [asdict(one) for one in self.faults],
        }


@dataclass(frozen=True)
class _Images:
    """Facts on the images of ``samples``: shapes (n, 2), digests of their pixels, and bands as stored."""

    samples: Sequence[Sample]
    shapes: NDArray[np.int64]
    digests: Sequence[bytes]
    forms: Sequence[str]


def check(
    config: DataConfig, cache: Path | None = None, tell: Callable[[int, int], object] = lambda done, total: None
) -> Report:
    """Read every file of a data set once and report all that is found, faults of single files too.

    Memory does not grow with the images: a few numbers are kept of each.

    Args:
        config: data in a folder; whether it says a size of its own is told by ``"size" in config.model_fields_set``.
        cache: folder where what was read of data without faults is kept.
        tell: is called with how many files of how many were read, by any thread.
    """
    assert config.root is not None, "data in a folder have one"
    done, total = itertools.count(1), 0
    with collecting_faults(lambda: tell(next(done), total)) as faults:
        try:
            data = FolderData(config, cache)
        except UserError as error:
            faults.append(Fault.of(error))
            return Report(config.root, config.kind, faults=_sorted(faults))
        splits = [split for split in SPLITS if data.layout.splits.get(split)]
        total = 2 * sum(len(data.samples(split)) for split in splits)
        images = {split: _read_images(data.samples(split), config.reading, cache) for split in splits}
        scans = dict(data.scans) | {split: data.scan(split) for split in splits if split not in data.scans}
        meaning = _meaning(data, scans, faults)
    samples = {split: _matching(images[split], scans[split], faults) for split in splits}
    counts = {split: len(data.samples(split)) for split in splits}
    summary = summarise(data.layout.found, counts, scans, meaning)
    duplicates = _duplicates(images, config.root)
    shapes = np.concatenate([np.empty((0, 2), np.int64), *(found.shapes for found in images.values())])
    size = config.size if "size" in config.model_fields_set else None
    advice = [
        *_missing_parts(data),
        *summary.advice(),
        *_leaks(duplicates),
        *size_advice(shapes, size, config.fit),
        *flip_advice(meaning.labels if meaning else ()),
    ]
    return Report(
        config.root,
        config.kind,
        summary,
        Counter(form for found in images.values() for form in found.forms),
        duplicates,
        advice,
        [*data.layout.remarks, *(meaning.remarks if meaning else ())],
        _sorted(faults),
        meaning,
        samples,
        shapes,
    )


def _sorted(faults: Sequence[Fault]) -> list[Fault]:
    return sorted(set(faults))


def _read_images(samples: Sequence[Sample], reading: ImageReading, cache: Path | None) -> _Images:
    what, read = f"images of a check, {reading}", functools.partial(_row, reading=reading)
    samples, rows = read_each(samples, what, ("shapes", "digests", "forms"), read, cache)
    shapes = np.array([row[0].view(np.int64) for row in rows], np.int64).reshape(-1, 2)
    return _Images(samples, shapes, [row[1].tobytes() for row in rows], [row[2].tobytes().decode() for row in rows])


def _row(sample: Sample, reading: ImageReading) -> tuple[Array, Array, Array]:
    """The shape of an image, the digest of its pixels and its bands as stored; each as bytes."""
    image, form = sample.image(reading), image_form(sample.files()[0])
    texts = [np.frombuffer(text, np.uint8) for text in (digest_of_pixels(image), form.encode())]
    return np.array(image.shape[:2], np.int64).view(np.uint8), texts[0], texts[1]


def _meaning(data: FolderData, scans: Mapping[SplitName, MaskScan], faults: list[Fault]) -> Meaning | None:
    """Decide what mask values mean, and note the values of all parts that mean nothing."""
    if not any(len(scans[split].samples) for split in data.scans):
        return None
    meaning = None
    try:
        meaning = data.meaning
        if "training" in scans and scans["training"].samples:
            check_learnable(meaning, scans["training"], data.samples("training")[0].source.parent)
    except UserError as error:
        faults.append(Fault.of(error))
    if meaning is not None:
        for split in scans.keys() - data.scans.keys():
            faults.extend(without_class(meaning, scans[split]))
    return meaning


def _matching(images: _Images, scan: MaskScan, faults: list[Fault]) -> list[Sample]:
    """List the samples that were read and whose image and mask have one size; note the others' faults."""
    shapes = {id(sample): shape for sample, shape in zip(images.samples, images.shapes, strict=True)}
    matching = []
    for sample, shape in zip(scan.samples, scan.shapes, strict=True):
        known = shapes.get(id(sample))
        if known is not None and (known != shape).any():
            faults.append(differing_sizes(sample, tuple(known), tuple(shape)))
        elif known is not None:
            matching.append(sample)
    return matching


def _duplicates(images: Mapping[SplitName, _Images], root: Path) -> list[Duplicate]:
    same: dict[bytes, list[tuple[str, SplitName]]] = {}
    for split, found in images.items():
        for sample, digest in zip(found.samples, found.digests, strict=True):
            path = sample.files()[0]
            name = path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)
            same.setdefault(digest, []).append((name, split))
    groups = [tuple(zip(*some, strict=True)) for some in same.values() if len(some) > 1]
    return sorted((Duplicate(*group) for group in groups), key=lambda one: (not one.is_between, one.files))


def _leaks(duplicates: Sequence[Duplicate]) -> list[str]:
    leaks = sum(one.is_between for one in duplicates)
    if not leaks:
        return []
    shared = number_of(leaks, "image")
    return [f"in several splits: {shared}; scores look better than they are; take them out of all but one"]


def _missing_parts(data: FolderData) -> list[str]:
    lines = []
    for split in SPLITS[:2]:
        try:
            data.samples(split)
        except UserError as error:
            lines.append(str(error).removeprefix(f"{data.root}: "))
    return lines
