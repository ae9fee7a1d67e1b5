"""Interface of segmentation data sets, and the resizing of images and labels to network scale."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from boostformer.data.bands import RGB, ImageReading
from boostformer.data.config import OVERLAP, DataConfig, Fit
from boostformer.data.content import combined, digest_of_pixels
from boostformer.data.images import Array
from boostformer.data.labels import ignored_label

if TYPE_CHECKING:
    from boostformer.data.summary import DataSummary

_MOST_BANDS = 4
"""Most bands that OpenCV takes."""


def fitted_shape(shape: tuple[int, int], size: tuple[int, int], fit: Fit) -> tuple[int, int]:
    """Compute the (height, width) that an image of ``shape`` has at network scale ``size`` under ``fit``."""
    if fit == "exact":
        return size
    if fit == "tile":
        return shape
    scale = min(size) / min(shape)
    return round(shape[0] * scale), round(shape[1] * scale)


def by_bands(work: Callable[[Array], Any], array: Array) -> Array:
    """Let a function of OpenCV ``work`` on (h, w) or (h, w, bands): on four bands at most, and without losing the axis.

    It takes no more than four for much of what it does, and drops the axis of a single one.
    """
    if array.ndim == 2:
        return work(array)
    if (bands := array.shape[2]) > _MOST_BANDS:
        groups = [array[..., start : start + _MOST_BANDS] for start in range(0, bands, _MOST_BANDS)]
        return np.dstack([by_bands(work, np.ascontiguousarray(group)) for group in groups])
    worked = work(array)
    return worked.reshape(*worked.shape[:2], bands)


def resize_image(image: Array, shape: tuple[int, int], least_area: float = 1.0) -> Array:
    """Resize (h, w, bands) to ``shape``: averaged over areas when it shrinks, bilinear when it grows.

    With ``least_area`` below 1 it is bilinear, too, when both sides shrink to that factor or more. Down to a half every
    pixel still counts then, in other shares, and it takes a tenth of the time.
    """
    if image.shape[:2] == shape:
        return image
    shrinks = all(new < least_area * old for new, old in zip(shape, image.shape[:2], strict=True))
    how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return by_bands(lambda part: cv2.resize(part, shape[::-1], interpolation=how), image)


def resize_label(label: Array, shape: tuple[int, int]) -> Array:
    """Resize (h, w) to ``shape``: each pixel takes the nearest one's class."""
    if label.shape == shape:
        return label
    return cv2.resize(label, shape[::-1], interpolation=cv2.INTER_NEAREST_EXACT)  # type: ignore[return-value]


def moments_of(image: Array) -> NDArray[np.int64]:
    """Sum up an image (h, w, bands): (3, bands) of the number, the sum and the sum of squares of its pixels."""
    bands = image.reshape(-1, image.shape[2]).T
    counts = np.stack([np.bincount(band, minlength=256) for band in bands])
    numbers = np.arange(256)
    return np.stack([counts.sum(1), counts @ numbers, counts @ numbers**2])


def total_of(moments: Iterable[NDArray[np.int64]]) -> NDArray[np.int64]:
    """Add up the sums of several images."""
    return np.stack([*moments]).sum(axis=0)


class SegmentationSplit(ABC):
    """One part (training or validation) of a segmentation data set.

    Images are uint8 (h, w, 3) RGB, or with other bands as ``reading`` says. Labels are (h, w) with classes
    0…num_classes-1 and :attr:`ignored`, which is 255 in uint8 for at most 254 classes and 65535 in uint16 for more.
    ``labels`` are the class names; ``size`` (H, W), ``fit`` and ``overlap`` say what network scale is (see DataConfig);
    ``remarks`` are lines for the person: what was taken to be so without being told; ``summary`` has the whole data
    set in numbers, where its opening knows them.
    """

    labels: list[str]
    size: tuple[int, int]
    fit: Fit
    overlap: float = OVERLAP
    reading: ImageReading = RGB
    remarks: tuple[str, ...] = ()
    summary: DataSummary | None = None

    def see_as(self, source: SegmentationSplit | DataConfig) -> None:
        """Read images and show them to networks as ``source`` does."""
        self.size, self.fit, self.overlap, self.reading = source.size, source.fit, source.overlap, source.reading

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def image(self, index: int) -> Array:
        """The image at its original resolution."""

    @abstractmethod
    def label(self, index: int) -> Array:
        """The label at its original resolution, which is where scores are taken."""

    @abstractmethod
    def name(self, index: int) -> str:
        """A name for the image, unique in the split."""

    @abstractmethod
    def fingerprint(self) -> Iterable[str]:
        """Lines that change whenever any decoded pixel would: the key of the cache."""

    def digest(self, index: int) -> bytes:
        """Digest of all that a sample is made from, wherever that lies; by default of its pixels."""
        return digest_of_pixels(*self.pair(index))

    def moments(self) -> NDArray[np.int64]:
        """Sum up all images at network scale: (3, bands) of the number, the sum and the sum of squares of pixels."""
        return total_of(moments_of(self.resized(index)[0]) for index in range(len(self)))

    def content(self) -> str:
        """Digest of all samples in their order: equal of copies on other machines, other once any sample changes."""
        return combined(self.digest, len(self))

    @property
    def num_classes(self) -> int:
        return len(self.labels)

    @property
    def ignored(self) -> int:
        """The label of pixels that do not count."""
        return ignored_label(self.num_classes)

    def pair(self, index: int) -> tuple[Array, Array]:
        """Read ``(image, label)`` at original resolution; refuses a pair whose sizes differ."""
        return self.image(index), self.label(index)

    def resized(self, index: int) -> tuple[Array, Array]:
        """Read ``(image, label)`` at network scale."""
        image, label = self.pair(index)
        shape = fitted_shape(label.shape, self.size, self.fit)
        return resize_image(image, shape), resize_label(label, shape)
