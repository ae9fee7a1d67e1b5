"""The landscapes by name."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

from racing.camvid import CamVid
from racing.hierarchical import Hierarchical
from racing.landscape import Landscape
from racing.pairwise import Pairwise
from racing.tx2 import TX2

LANDSCAPES: dict[str, type[Landscape]] = {kind.name: kind for kind in (TX2, Hierarchical, Pairwise, CamVid)}


@cache
def landscape(name: str, tx2: Path, camvid: Path) -> Landscape:
    """Raises :class:`UserError` when the table it reads is missing: ``tx2`` a file, ``camvid`` a folder."""
    make: dict[str, Callable[[], Landscape]] = {"tx2": lambda: TX2(tx2), "camvid": lambda: CamVid(camvid)}
    return make.get(name, LANDSCAPES[name])()
