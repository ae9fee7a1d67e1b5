"""Data sets: folders of many layouts, generated scenes, pictures to classify; cache, augmentation and normalisation.

Everything here but ``normalise`` works on NumPy arrays, without torch.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

from boostformer.data.cache import CachedSplit
from boostformer.data.classification import Pictures
from boostformer.data.config import DataConfig, SceneCounts, SplitName
from boostformer.data.folder import FolderData
from boostformer.data.images import read_image
from boostformer.data.labels import IGNORED
from boostformer.data.scenes import Scenes
from boostformer.data.split import SegmentationSplit, fitted_shape, resize_image

__all__ = [
    "IGNORED",
    "DataConfig",
    "SceneCounts",
    "SegmentationSplit",
    "Pictures",
    "fitted_shape",
    "open_split",
    "open_splits",
    "read_image",
    "resize_image",
]


def open_splits(config: DataConfig, cache: Path | None = None) -> Callable[[SplitName], SegmentationSplit]:
    """Open a data set, and give what opens each of its parts; see :func:`open_split`."""
    if config.root is not None:
        opened = FolderData(config, cache).split
    else:
        opened = functools.partial(Scenes, counts=config.scenes, size=config.size)
    if cache is None:
        return opened
    return lambda split: CachedSplit(opened(split), cache, keep_labels=split != "training")


def open_split(config: DataConfig, split: SplitName, cache: Path | None = None) -> SegmentationSplit:
    """Open the ``"training"``, ``"validation"`` or ``"test"`` part of a data set.

    With a ``cache`` folder every file is decoded, checked and resized once, here and now; later openings, in this or
    another process, compare checksums and map the result. Without one, files are decoded whenever they are asked for.
    Raises UserError, which names the file or folder, when one is missing, damaged or inconsistent, when mask values
    and names do not fit, and when nothing can be learnt or scored: the training part has fewer than two classes, or no
    pixel of another part is labelled.
    """
    return open_splits(config, cache)(split)
