"""Write made images and masks into a folder, in the layout that the tutorial uses: python make_photos.py FOLDER.

The scenes are those of `data: {kind: scenes}`. No file names the classes, as it often is with data of one's own.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from PIL import Image

from boostformer.data import open_split
from boostformer.data.config import DataConfig, SceneCounts


def write(folder: Path, training: int, validation: int, size: tuple[int, int]) -> None:
    """Write `training` and `validation` images of `size` (height, width), each with its mask, below `folder`."""
    data = DataConfig(kind="scenes", size=size, scenes=SceneCounts(training=training, validation=validation))
    for part in ("training", "validation"):
        split = open_split(data, part)
        images, masks = folder / "images" / part, folder / "annotations" / part
        images.mkdir(parents=True, exist_ok=True)
        masks.mkdir(parents=True, exist_ok=True)
        for index in range(len(split)):
            Image.fromarray(split.image(index)).save(images / f"{index:04}.jpg", quality=95)
            Image.fromarray(split.label(index) + 1).save(masks / f"{index:04}.png")  # 0 would be no class


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--training", type=int, default=160)
    parser.add_argument("--validation", type=int, default=40)
    parser.add_argument("--size", type=int, nargs=2, default=(128, 192), metavar=("HEIGHT", "WIDTH"))
    given = parser.parse_args()
    write(given.folder, given.training, given.validation, tuple(given.size))
