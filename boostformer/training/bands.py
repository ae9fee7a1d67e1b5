"""Classes of each pixel from logits at the network's own resolution, band by band to bound memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

MOST_VALUES = 2**27
"""Numbers of 4 bytes that enlarged logits of one image may take at once: 512 MiB. Larger ones are made by bands."""
BANDS = 8
"""A band holds so many times fewer, since it needs the rows above and below, too."""
COUNTING = 10
"""Numbers of 4 bytes per pixel that it takes to choose a class and to count it."""

Bands = Iterator[tuple[slice, Tensor]]
"""Rows of an image with their classes, int64 ``(B, len(rows), W)``, from top to bottom."""
Shape = tuple[int, ...] | torch.Size


@dataclass(frozen=True)
class Map:
    """Logits that may stand for more than an image.

    Attributes:
        logits: ``(B, classes, h, w)``.
        shape: (H, W) to which they are to be enlarged: at least the image's.
        left: column there at which the image begins; it begins at row 0.
    """

    logits: Tensor
    shape: tuple[int, int]
    left: int = 0


def predict_labels(logits: Tensor, shape: Shape) -> Tensor:
    """Enlarge logits ``(B, classes, h, w)`` to ``shape``, then choose the classes: int64 ``(B, H, W)``."""
    return torch.cat([predicted for _, predicted in predicted_bands(logits, shape)], 1)


def predicted_bands(logits: Tensor, shape: Shape, most: int = MOST_VALUES) -> Bands:
    """Yield :func:`predict_labels` by bands of rows, in memory that does not grow with ``shape``.

    Each is ``(rows, int64 (B, len(rows), W))``. What takes at most ``most`` values is one band. In several, enlarged
    logits may differ from those in one by rounding (1e-6 of the largest), since torch enlarges only whole maps.
    """
    height, width = shape
    return averaged_bands([Map(logits, (height, width))], shape, most)


def averaged_bands(maps: Sequence[Map], shape: Shape, most: int = MOST_VALUES) -> Bands:
    """Yield the classes of the highest mean probability over several ``maps``, as :func:`predicted_bands`.

    The maps may differ in size: each is enlarged before its probabilities are taken.
    """
    logits = [_channels_last(each.logits) for each in maps]
    height, width = shape
    (batch, classes), wide = logits[0].shape[:2], max(each.shape[1] for each in maps)
    if len(maps) > 1:
        most //= 3  # the sum, one map's probabilities and its logits lie beside each other
    row = batch * wide * (classes + COUNTING)
    step = height if row * height <= most else max(1, most // BANDS // row)
    for start in range(0, height, step):
        rows = slice(start, min(start + step, height))
        total: Tensor | None = None
        for each, values in zip(maps, logits, strict=True):
            large = _enlarged(values, each.shape, rows)[:, :, each.left : each.left + width]
            if len(maps) > 1:
                large = large.softmax(3)
            total = large if total is None else total.add_(large)
        assert total is not None
        yield rows, total.argmax(3)


def _channels_last(logits: Tensor) -> Tensor:
    # Then a pixel's classes lie side by side: ten times faster to choose from on a CPU.
    return logits.float().contiguous(memory_format=torch.channels_last)


def _enlarged(logits: Tensor, shape: tuple[int, int], rows: slice) -> Tensor:
    """Enlarge logits to ``shape``, of which only ``rows`` are made: ``(B, len(rows), W, classes)``."""
    (height, width), h = shape, logits.shape[2]
    if rows == slice(0, height):
        return F.interpolate(logits, (height, width), mode="bilinear", align_corners=False).permute(0, 2, 3, 1)
    place = torch.arange(rows.start, rows.stop, device=logits.device) + 0.5
    place = (place * (h / height) - 0.5).clamp(min=0)
    above = place.long().clamp(max=h - 1)
    below = (above + 1).clamp(max=h - 1)
    share = (place - above)[:, None, None]
    first, last = int(above[0]), int(below[-1]) + 1
    # Enlarged along the width alone: equal heights leave the rows as they are.
    wide = F.interpolate(logits[:, :, first:last], (last - first, width), mode="bilinear", align_corners=False)
    wide = wide.permute(0, 2, 3, 1)
    upper, lower = (wide.index_select(1, near - first) for near in (above, below))
    return upper.lerp_(lower, share)
