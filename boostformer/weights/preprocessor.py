"""Preparation of images in transformers' words, for whoever feeds a checkpoint without this program."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

PREPROCESSOR = "preprocessor_config.json"
BILINEAR, BOX, HAMMING = 2, 4, 5
"""Pillow's numbers of its filters."""
_SOFT = 2
"""Ratio from which on Hamming's filter is nearer to averages over areas than a bilinear one."""


def preprocessor(
    size: tuple[int, int], mean: tuple[float, ...], std: tuple[float, ...], provenance: Mapping[str, Any]
) -> dict[str, Any] | None:
    """Describe how RGB images become the input, as transformers' ``SegformerImageProcessor`` reads it.

    The processor brings all images to size by one of Pillow's filters: that which suits the median image that the
    network was trained on. Where that keeps its size, grows, or shrinks by whole numbers the pixels are ours but for
    rounding; else, since no filter weights a pixel by the part of it that lies in an area, they are near (of images
    with little noise within 1 % of the range, in the mean).

    Args:
        size: (H, W) of the network's images.
        mean: of red, green and blue in 0…1.
        std: their deviation.
        provenance: of the weights: the data and the sizes of their images.

    Returns:
        None where the processor cannot do the same: images that keep their proportions or their size.
    """
    data, summary = (_mapping(provenance.get(key)) for key in ("data", "data_summary"))
    if data.get("fit", "exact") != "exact" or data.get("levels") is not None or data.get("bands", "rgb") != "rgb":
        return None
    known = _mapping(summary.get("sizes")).get("median")
    return {
        # The processor that needs no torchvision, whose tensors know only some of the filters.
        "image_processor_type": "SegformerImageProcessorPil",
        "do_resize": True,
        "size": {"height": size[0], "width": size[1]},
        "resample": _filter(size, known) if known else HAMMING,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": list(mean),
        "image_std": list(std),
        "do_reduce_labels": False,
    }


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}  # provenance is anybody's to set


def _filter(size: Sequence[int], image: Sequence[int]) -> int:
    """Choose the filter that is nearest to our resizing of an ``image`` (h, w) to ``size``."""
    ratios = [has / wanted for has, wanted in zip(image, size, strict=True)]
    if min(ratios) > 1 and all(ratio.is_integer() for ratio in ratios):
        return BOX
    return HAMMING if min(ratios) >= _SOFT else BILINEAR
