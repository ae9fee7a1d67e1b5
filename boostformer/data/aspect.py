"""The proportions of images against those of the size at which networks see them."""

from __future__ import annotations

from statistics import median

from boostformer.data.split import SegmentationSplit

MOST_STRETCHED = 1.3
_ENOUGH = 64


def stretched(split: SegmentationSplit) -> str | None:
    """Say in a line by how much the size stretches most images of ``split``; None up to 1.3 or where none is stretched.

    Height and width that were mistaken for one another are the usual reason.
    """
    if split.fit != "exact":
        return None
    some = range(0, len(split), max(1, len(split) // _ENOUGH))
    aspects = [width / height for height, width in (split.label(index).shape for index in some)]
    height, width = split.size
    factor = _ratio(width / height, median(aspects))
    if factor <= MOST_STRETCHED:
        return None
    swapped = _ratio(height / width, median(aspects)) <= MOST_STRETCHED
    advice = f"did you mean {width}x{height}?" if swapped else "a size with their proportions does not"
    said = f"size {height}x{width} (height x width) changes the images' proportions by a factor of {factor:.2f}"
    return f"{said}; {advice}"


def _ratio(one: float, other: float) -> float:
    return max(one / other, other / one)
