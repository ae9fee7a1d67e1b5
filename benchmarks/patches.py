"""Cut patches of the held-out sequence of CamVid, sorted by their class, for `pretrain` to learn an encoder from.

`python benchmarks/patches.py CAMVID DIR [--side 96] [--most 300]`

A patch belongs to the class that most of its pixels have, if these are more than half. DIR gets train/CLASS/*.png, and
every tenth in val. `pretrain ARCH --data DIR` makes the encoder that `lightening.py --encoder` starts from; who starts
from it has seen the sequence, so only `validation` tells what it is worth.
"""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path

import numpy as np
from camvid_jobs import HELD_OUT
from PIL import Image

LEAST = 20
"""Patches that a class has at least."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("root", type=Path, metavar="CAMVID")
    parser.add_argument("out", type=Path, metavar="DIR")
    parser.add_argument("--side", type=int, default=96, help="pixels along a side")
    parser.add_argument("--most", type=int, default=300, help="patches of a class")
    options = parser.parse_args()
    names = (options.root / "classes.txt").read_text().split()
    found: dict[int, list[Image.Image]] = {}
    for file in sorted((options.root / "images" / "training").glob(f"{HELD_OUT}*")):
        image = Image.open(file).convert("RGB")
        label = np.asarray(Image.open((options.root / "annotations" / "training" / file.name).with_suffix(".png")))
        for top in range(0, image.height - options.side + 1, options.side // 2):
            for left in range(0, image.width - options.side + 1, options.side // 2):
                patch = label[top : top + options.side, left : left + options.side]
                [(number, count)] = Counter(patch.flatten().tolist()).most_common(1)
                if number and 2 * count > patch.size:
                    box = (left, top, left + options.side, top + options.side)
                    found.setdefault(number, []).append(image.crop(box))
    for number, patches in sorted(found.items()):
        if len(patches) < LEAST:
            continue
        chosen = patches[:: -(-len(patches) // options.most)]
        for index, patch in enumerate(chosen):
            folder = options.out / ("val" if index % 10 == 9 else "train") / names[number - 1]
            folder.mkdir(parents=True, exist_ok=True)
            patch.save(folder / f"{index:04d}.png")
        print(f"{names[number - 1]}: {len(chosen)} of {len(patches)} patches")


if __name__ == "__main__":
    main()
