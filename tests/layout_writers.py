"""Writers of one small data set (``layout_data``) in every layout that is read, for the test of all of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import layout_writers_annotations
import layout_writers_masks

WRITERS: dict[str, Callable[[Path], Path]] = {**layout_writers_masks.WRITERS, **layout_writers_annotations.WRITERS}
"""By kind; a second variant of one kind is called ``kind: variant``."""


def kind_of(key: str) -> str:
    """Give the kind that a key of :data:`WRITERS` is of."""
    return key.partition(":")[0]
