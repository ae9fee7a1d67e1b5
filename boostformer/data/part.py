"""Some images of a split."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from boostformer.data.images import Array
from boostformer.data.split import SegmentationSplit


class Part(SegmentationSplit):
    """The images of ``split`` at ``indices``, in that order."""

    def __init__(self, split: SegmentationSplit, indices: Sequence[int]) -> None:
        self.see_as(split)
        self.labels = split.labels
        self._split, self._indices = split, indices

    def __len__(self) -> int:
        return len(self._indices)

    def image(self, index: int) -> Array:
        return self._split.image(self._indices[index])

    def label(self, index: int) -> Array:
        return self._split.label(self._indices[index])

    def resized(self, index: int) -> tuple[Array, Array]:
        return self._split.resized(self._indices[index])

    def name(self, index: int) -> str:
        return self._split.name(self._indices[index])

    def fingerprint(self) -> Iterable[str]:
        return self._split.fingerprint()
