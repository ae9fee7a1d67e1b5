"""A data set in numbers that its opening knows: images, sizes, classes and their shares."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from boostformer.data.config import SplitName
from boostformer.shown import number_of

RARE = 20
"""The most frequent class has so many times the pixels of another one before that is worth a remark."""
_SHOWN = 3


@dataclass(frozen=True)
class Sizes:
    """Heights and widths of images, by area, and how many different ones there are."""

    smallest: tuple[int, int]
    median: tuple[int, int]
    largest: tuple[int, int]
    distinct: int

    @classmethod
    def of(cls, shapes: NDArray[np.int64]) -> Sizes | None:
        """Sum up the shapes (n, 2) of images; None without any."""
        if not len(shapes):
            return None
        order = shapes[np.lexsort((shapes[:, 0], shapes.prod(axis=1)))]
        smallest, median, largest = ((int(h), int(w)) for h, w in order[[0, (len(order) - 1) // 2, -1]])
        return cls(smallest, median, largest, len(np.unique(shapes, axis=0)))

    def __str__(self) -> str:
        low, high = (f"{width}x{height}" for height, width in (self.smallest, self.largest))
        return low if self.distinct == 1 else f"{low} to {high}"


@dataclass(frozen=True)
class ClassCount:
    """Occurrence of a class: its mask values and their colours, and by split the pixels and the images that have it.

    ``colours`` are those that masks have for each of its values, as ``#rrggbb``; None of values without.
    """

    name: str
    values: tuple[int, ...] = ()
    colours: tuple[str | None, ...] = ()
    pixels: Mapping[SplitName, int] | None = None
    images: Mapping[SplitName, int] | None = None

    @property
    def splits(self) -> list[SplitName]:
        """The splits in which it occurs."""
        return [split for split, count in (self.pixels or {}).items() if count]


@dataclass(frozen=True)
class DataSummary:
    """A data set in numbers; without ``pixels`` of its splits nobody has counted those of the classes.

    Attributes:
        found: its layout, in words.
        images: number by split.
        sizes: of the images.
        classes: in order.
        pixels: all, by split.
        ignored: pixels that do not count, by split.
    """

    found: str
    images: Mapping[SplitName, int]
    sizes: Sizes | None
    classes: Sequence[ClassCount]
    pixels: Mapping[SplitName, int]
    ignored: Mapping[SplitName, int]

    def share(self, pixels: Mapping[SplitName, int] | None) -> float | None:
        """Give the share of all pixels that some are; None where they were not counted."""
        total = sum(self.pixels.values())
        return sum((pixels or {}).values()) / total if total else None

    @property
    def by_frequency(self) -> list[ClassCount]:
        """The classes that occur, the most frequent first."""
        found = [one for one in self.classes if one.splits]
        return sorted(found, key=lambda one: -sum((one.pixels or {}).values()))

    def advice(self) -> list[str]:
        """Say what follows for a training from how often classes occur."""
        lines = []
        if len(frequent := self.by_frequency) > 1:
            first, *_, last = frequent
            ratio = sum((first.pixels or {}).values()) / sum((last.pixels or {}).values())
            if ratio >= RARE:
                lines.append(
                    f"'{first.name}' has {ratio:,.0f} times the pixels of '{last.name}': give rare classes more weight "
                    "in the loss, or label more of them"
                )
        alone = {split: [c.name for c in frequent if c.splits == [split]] for split in self.images}
        training, validation = alone.get("training", []), alone.get("validation", [])
        if self.images.get("training") and self.images.get("validation"):
            for names, where, so in ((training, "training", "scored"), (validation, "validation", "learnt")):
                if names:
                    lines.append(f"only {where} images have {listed(names)}, so it cannot be {so}")
        return lines

    def lines(self) -> list[str]:
        """Word the summary in three lines."""
        counts = " + ".join(str(count) for split, count in self.images.items() if split != "test" or not self.pixels)
        size = f" of {self.sizes}" if self.sizes else ""
        said = [f"data: {self.found}, {counts} images{size}, {number_of(len(self.classes), 'class')}"]
        if self.pixels:
            frequent = self.by_frequency
            most, least = frequent[:_SHOWN], frequent[_SHOWN:][::-1][:_SHOWN]
            parts = [f"most frequent: {self._shares(most)}"]
            parts += [f"rarest: {self._shares(least)}"] if least else []
            said.append("; ".join([*parts, f"ignored {self.share(self.ignored) or 0:.1%}"]))
            advice = self.advice()
            said.append(
                f"advice: {'; '.join(advice)}" if advice else "no advice; `boostformer data check` says all there is"
            )
        return said

    def _shares(self, classes: Sequence[ClassCount]) -> str:
        return ", ".join(f"{one.name} {percent(self.share(one.pixels) or 0)}" for one in classes)

    def to_dict(self) -> dict[str, Any]:
        """Give the summary as plain values: sizes as [height, width], shares in 0…1, None where nobody counted."""
        sizes = self.sizes
        return {
            "layout": self.found,
            "images": dict(self.images),
            "sizes": None
            if sizes is None
            else {key: list(getattr(sizes, key)) for key in ("smallest", "median", "largest")}
            | {"distinct": sizes.distinct},
            "classes": [
                {
                    "class": one.name,
                    "values": list(one.values),
                    "colours": list(one.colours),
                    "share": self.share(one.pixels),
                    "pixels": {split: _part(count, self.pixels[split]) for split, count in (one.pixels or {}).items()},
                    "images": {split: _part(count, self.images[split]) for split, count in (one.images or {}).items()},
                }
                for one in self.classes
            ],
            "ignored": self.share(self.ignored),
            "ignored_by_split": {split: _part(count, self.pixels[split]) for split, count in self.ignored.items()},
        }


def percent(share: float) -> str:
    """Word a share, small ones to two digits."""
    return f"{share:.1%}" if share >= 0.001 or not share else f"{100 * share:.2g}%"


def listed(names: Sequence[str], most: int = 5) -> str:
    """Word names in quotes, of many the first few."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(f"'{name}'" for name in names[:most]) + more


def _part(count: int, of: int) -> float:
    return count / of if of else 0.0
