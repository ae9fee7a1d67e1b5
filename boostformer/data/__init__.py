"""Data sets: ADE20K's layouts, generated scenes, Tiny-ImageNet; their cache, augmentation and normalisation.

Everything here but ``normalise`` works on NumPy arrays, without torch.
"""

from __future__ import annotations

from pathlib import Path

from boostformer.data.ade20k import ADE20K, SplitName
from boostformer.data.cache import CachedSplit
from boostformer.data.config import DataConfig, SceneCounts
from boostformer.data.images import read_image
from boostformer.data.scenes import Scenes
from boostformer.data.split import IGNORED, SegmentationSplit, fitted_shape, resize_image
from boostformer.data.tiny_imagenet import TinyImageNet

__all__ = [
    "IGNORED",
    "DataConfig",
    "SceneCounts",
    "SegmentationSplit",
    "TinyImageNet",
    "fitted_shape",
    "open_split",
    "read_image",
    "resize_image",
]


def open_split(config: DataConfig, split: SplitName, cache: Path | None = None) -> SegmentationSplit:
    """Open the ``"training"`` or ``"validation"`` part of a data set.

    With a ``cache`` folder every file is decoded, checked and resized once, here and now; later openings, in this or
    another process, compare checksums and map the result. Without one, files are decoded whenever they are asked for.
    Raises UserError, which names the file or folder, when one is missing, damaged or inconsistent, when mask values
    and names do not fit, and when nothing can be learnt or scored: the training part has fewer than two classes, or no
    pixel of the validation part is labelled.
    """
    source: SegmentationSplit
    if config.root is None:
        scenes = config.scenes
        source = Scenes(split, getattr(scenes, split), scenes.seed, config.size)
    else:
        source = ADE20K(config, config.root, split, cache)
    if cache is None:
        return source
    opened = CachedSplit(source, cache, keep_labels=split == "validation")
    opened.remarks = source.remarks
    return opened
