"""Counting of a data set's classes from the scans of its masks."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from boostformer.data.config import SplitName
from boostformer.data.mask_scan import MaskScan
from boostformer.data.mask_values import Meaning
from boostformer.data.summary import ClassCount, DataSummary, Sizes


def summarise(
    found: str, images: Mapping[SplitName, int], scans: Mapping[SplitName, MaskScan], meaning: Meaning | None
) -> DataSummary:
    """Count how often classes occur.

    Args:
        found: the layout, in words.
        images: number by split.
        scans: what occurs in the masks of each split.
        meaning: of mask values; None where it is not known: then there are no classes.
    """
    shapes = np.concatenate([np.empty((0, 2), np.int64), *(scan.shapes for scan in scans.values())])
    pixels = {split: int(scan.counts.sum()) for split, scan in scans.items()}
    if meaning is None:
        return DataSummary(found, images, Sizes.of(shapes), (), pixels, {})
    count = len(meaning.labels)
    of_class = {split: _by_label(meaning, scan) for split, scan in scans.items()}
    values: list[list[int]] = [[] for _ in meaning.labels]
    for value, label in meaning.table().items():
        if label < count:
            values[label].append(value)
    colours = {value: colour for scan in scans.values() for value, colour in scan.colours.items()}
    classes = [
        ClassCount(
            name,
            tuple(values[label]),
            tuple(colours.get(value) for value in values[label]),
            {split: int(found[0][label]) for split, found in of_class.items()},
            {split: int(found[1][label]) for split, found in of_class.items()},
        )
        for label, name in enumerate(meaning.labels)
    ]
    ignored = {split: int(found[0][meaning.ignored]) for split, found in of_class.items()}
    return DataSummary(found, images, Sizes.of(shapes), classes, pixels, ignored)


def _by_label(meaning: Meaning, scan: MaskScan) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Count for each label its pixels, and the masks that have it."""
    labels = meaning.classes[scan.values].astype(np.int64)
    pixels = np.bincount(labels, scan.counts, meaning.ignored + 1).astype(np.int64)
    pairs = np.unique(np.stack([scan.masks, labels]), axis=1)
    return pixels, np.bincount(pairs[1], minlength=meaning.ignored + 1)
