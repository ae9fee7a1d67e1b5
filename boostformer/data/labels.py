"""Numbers in label arrays: classes from 0, and one that says that a pixel does not count."""

from __future__ import annotations

import numpy as np

IGNORED = 255
"""The label of ignored pixels among at most 254 classes, for which a byte suffices."""


def label_dtype(classes: int) -> type[np.uint8 | np.uint16]:
    """Choose the type of labels of so many classes."""
    return np.uint8 if classes < IGNORED else np.uint16


def ignored_label(classes: int) -> int:
    """Give the label of ignored pixels among so many classes: the highest that their type has."""
    return int(np.iinfo(label_dtype(classes)).max)
