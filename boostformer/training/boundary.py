"""Boundary IoU: how well the outlines of the classes are met, where large areas do not hide them.

B. Cheng, R. Girshick, P. Dollár, A. C. Berg, A. Kirillov: Boundary IoU: Improving Object-Centric Image Segmentation
Evaluation, CVPR 2021. Of a class's mask only the pixels count that lie within d pixels of its border, d being 2 % of
the image's diagonal; the image's own border counts as one. What is ignored is no part of the prediction either.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from boostformer.data.images import Array
from boostformer.training.scores import Shares, shares

DIAGONAL_SHARE = 0.02


class BoundaryCounts:
    """Pixels near the borders of each class, in labels, predictions and both, over a set of images."""

    def __init__(self, classes: int) -> None:
        self.labelled, self.predicted, self.both = np.zeros((3, classes), np.int64)

    def add(self, label: Array, predicted: Array, ignored: int) -> None:
        """Count an image; ``label`` and ``predicted`` are class numbers (h, w), and ``ignored`` is no class."""
        predicted = np.where(label == ignored, label, predicted)
        distance = max(1, round(DIAGONAL_SHARE * float(np.hypot(*label.shape))))
        ours, theirs = near_border(predicted, distance), near_border(label, distance)
        self.labelled += self._count(label[theirs])
        self.predicted += self._count(predicted[ours])
        self.both += self._count(label[ours & theirs & (label == predicted)])

    def per_class(self) -> Shares:
        """Give each class's intersection over union near borders; None for one that occurs nowhere."""
        return shares(self.both.astype(float), (self.labelled + self.predicted - self.both).astype(float))

    def _count(self, values: Array) -> NDArray[np.int64]:
        classes = len(self.both)
        return np.bincount(values, minlength=classes)[:classes]


def near_border(values: Array, distance: int) -> NDArray[np.bool_]:
    """Find the pixels that have one of another value, or the image's end, at most ``distance`` rows and columns away.

    A mask of one value loses exactly these when it is eroded ``distance`` times by 3x3 pixels.
    """
    square = np.ones((2 * distance + 1,) * 2, np.uint8)
    # All values at once: a pixel is inside of its own where the least and the largest around it are equal.
    near = np.asarray(cv2.erode(values, square) != cv2.dilate(values, square))
    near[:distance], near[-distance:], near[:, :distance], near[:, -distance:] = True, True, True, True
    return near
