"""A data set as a trained network counts its classes: matched by name where both have names, else by number."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from boostformer.data.images import Array
from boostformer.data.labels import ignored_label, label_dtype
from boostformer.data.split import SegmentationSplit
from boostformer.errors import UserError
from boostformer.names import are_numbers, numbered
from boostformer.shown import number_of

_MOST_LISTED = 5


class Renumbered(SegmentationSplit):
    """A split with other class numbers: its class ``i`` becomes ``numbers[i]`` of ``labels``."""

    def __init__(self, source: SegmentationSplit, labels: list[str], numbers: Sequence[int]) -> None:
        self.see_as(source)
        self.labels = labels
        self._source = source
        self._numbers: Array = np.full(source.ignored + 1, ignored_label(len(labels)), label_dtype(len(labels)))
        self._numbers[: len(numbers)] = numbers

    def __len__(self) -> int:
        return len(self._source)

    def name(self, index: int) -> str:
        return self._source.name(index)

    def image(self, index: int) -> Array:
        return self._source.image(index)

    def label(self, index: int) -> Array:
        return self._numbers[self._source.label(index)]

    def pair(self, index: int) -> tuple[Array, Array]:
        image, label = self._source.pair(index)
        return image, self._numbers[label]

    def resized(self, index: int) -> tuple[Array, Array]:
        image, label = self._source.resized(index)
        return image, self._numbers[label]

    def fingerprint(self) -> Iterable[str]:
        yield f"renumbered {self._numbers.tolist()}"
        yield from self._source.fingerprint()


def matched(
    split: SegmentationSplit, names: list[str], classes: int, source: str
) -> tuple[SegmentationSplit, str | None]:
    """Give ``split`` with the classes of a network that has ``classes`` of them, called ``names`` (if anything).

    The second value says in a sentence how the classes were matched, unless they are the same in the same order.
    Raises UserError, which begins with ``source``, the data's name, when the two do not fit.
    """
    own = split.labels
    if are_numbers(own) or are_numbers(names):
        return _by_number(split, names, classes, source)
    if own == names:
        return split, None
    lacking, unknown = [[name for name in a if name not in b] for a, b in ((names, own), (own, names))]
    if lacking or unknown:
        sides = [
            f"{who} {_listed(some)}"
            for who, some in (("only the checkpoint has", lacking), ("only the data have", unknown))
            if some
        ]
        raise UserError(
            f"{source}: has other classes than the checkpoint: {'; '.join(sides)}; "
            "allowed: the checkpoint's names (`labels` in its config.json), in any order"
        )
    said = f"{source}: names the checkpoint's classes in another order; they are matched by name"
    return Renumbered(split, names, [names.index(name) for name in own]), said


def _by_number(
    split: SegmentationSplit, names: list[str], classes: int, source: str
) -> tuple[SegmentationSplit, str | None]:
    """Take class ``i`` of the data for class ``i`` of the network; data without names need not have all classes."""
    own, count = split.labels, split.num_classes
    unnamed = are_numbers(own)
    if count > classes or (count < classes and not unnamed):
        raise UserError(
            f"{source}: has {number_of(count, 'class')}, but the checkpoint has {classes}; allowed: the checkpoint's "
            "own, by name (as in classes.txt) or by number"
        )
    labels = (names or numbered(classes)) if unnamed else own
    if unnamed and are_numbers(names) and count == classes:
        return Renumbered(split, labels, range(count)), None
    who = "the data name" if unnamed else "the checkpoint names"
    said = f"{source}: {who} no classes; they are matched by number, {count} with the checkpoint's {classes}"
    return Renumbered(split, labels, range(count)), said


def _listed(names: list[str]) -> str:
    shown = ", ".join(f"'{name}'" for name in names[:_MOST_LISTED])
    return f"{shown} and {len(names) - _MOST_LISTED} more" if len(names) > _MOST_LISTED else shown
