"""Cityscapes' folder layout."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from boostformer.data.config import DataConfig, SplitName
from boostformer.data.formats.format import MASK_SUFFIXES, Format, Layout, by_stem, complete, paired, trees
from boostformer.data.images import IMAGE_SUFFIXES, read_mask
from boostformer.data.samples import Sample
from boostformer.errors import UserError

_IMAGES, _MASKS = "leftImg8bit", "gtFine"
# fmt: off
_IDS = dict(enumerate((
    "unlabeled", "ego vehicle", "rectification border", "out of roi", "static", "dynamic", "ground", "road", "sidewalk",
    "parking", "rail track", "building", "wall", "fence", "guard rail", "bridge", "tunnel", "pole", "polegroup",
    "traffic light", "traffic sign", "vegetation", "terrain", "sky", "person", "rider", "car", "truck", "bus",
    "caravan", "trailer", "train", "motorcycle", "bicycle",
)))
# fmt: on
_SCORED = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)
"""Ids of the 19 classes that the benchmark scores, in the order of their train ids."""
_MEANINGS = {
    "labelIds": (_IDS, frozenset({*_IDS, 255} - {*_SCORED})),
    "labelTrainIds": ({train: _IDS[value] for train, value in enumerate(_SCORED)}, frozenset({255})),
}
"""Names and ignored values of both kinds of masks, the first of which is taken where there are both."""


class Cityscapes(Format):
    """Images in ``leftImg8bit/{train,val,test}/CITY``, masks in ``gtFine`` likewise.

    Masks are ``*_gtFine_labelIds.png``, or ``*_gtFine_labelTrainIds.png`` where there are none of the former; either
    way, classes are the 19 that are scored.
    """

    kind = "cityscapes"
    looks = "leftImg8bit/{train,val}/CITY/*_leftImg8bit.png with gtFine/{train,val}/CITY/*_gtFine_labelIds.png"

    def recognises(self, root: Path) -> bool:
        return (root / _IMAGES).is_dir() and (root / _MASKS).is_dir()

    def read(self, root: Path, config: DataConfig) -> Layout:
        remarks: list[str] = []
        parts = complete(trees(root / _IMAGES, root / _MASKS), remarks)
        for which in _MEANINGS:
            ending = f"_{_MASKS}_{which}"
            labelled = {split: by_stem(masks, MASK_SUFFIXES, ending, deep=True) for split, (_, masks) in parts.items()}
            if any(labelled.values()):
                break
        else:
            raise UserError(f"{root / _MASKS}: has no masks *_{_MASKS}_labelIds.png or *_{_MASKS}_labelTrainIds.png")
        names, ignored = _MEANINGS[which]
        splits: dict[SplitName, list[Sample]] = {}
        for split, (images, masks) in parts.items():
            found = by_stem(images, IMAGE_SUFFIXES, f"_{_IMAGES}", deep=True)
            splits[split] = paired(images, masks, found, labelled[split], ending)
        if "test" in splits:
            # The published ones are all alike: the benchmark keeps its labels.
            occurring = np.unique(read_mask(splits["test"][0].source))
            if set(occurring.tolist()) <= ignored:
                del splits["test"]
                remarks.append(f"{parts['test'][1]}: the masks are dummies, all ignored, so there is no test part")
        unscored = f"; {len(_IDS) - len(_SCORED)} others are ignored" if which == "labelIds" else "; 255 is ignored"
        remarks.append(f"{root / _MASKS}: *{ending}.png are the masks: {len(_SCORED)} classes are scored{unscored}")
        found_as = "Cityscapes' layout"
        return Layout(root, found_as, splits, root, names, ignored=ignored, remarks=remarks)
