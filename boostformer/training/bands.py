"""Classes of each pixel from logits at the network's own resolution, band by band to bound memory."""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

MOST_VALUES = 2**27
"""Numbers of 4 bytes that enlarged logits of one image may take at once: 512 MiB. Larger ones are made by bands."""
BANDS = 8
"""A band holds so many times fewer, since it needs the rows above and below, too."""
COUNTING = 10
"""As many numbers of 4 bytes per pixel does it take to choose a class and to count it."""

Bands = Iterator[tuple[slice, Tensor]]
"""Rows of an image with their classes, int64 ``(B, len(rows), W)``, from top to bottom."""


def predict_labels(logits: Tensor, shape: tuple[int, ...] | torch.Size) -> Tensor:
    """Enlarge logits ``(B, classes, h, w)`` to ``shape``, then choose the classes: int64 ``(B, H, W)``."""
    return torch.cat([predicted for _, predicted in predicted_bands(logits, shape)], 1)


def predicted_bands(logits: Tensor, shape: tuple[int, ...] | torch.Size, most: int = MOST_VALUES) -> Bands:
    """Yield :func:`predict_labels` by bands of rows, in memory that does not grow with ``shape``.

    Each is ``(rows, int64 (B, len(rows), W))``. What takes at most ``most`` values is one band. In several, enlarged
    logits may differ from those in one by rounding (1e-6 of the largest), since torch enlarges only whole maps.
    """
    # Channels last, a pixel's classes lie side by side: ten times faster to choose from on a CPU.
    logits = logits.float().contiguous(memory_format=torch.channels_last)
    (batch, classes, h, _), (height, width) = logits.shape, shape
    row = batch * width * (classes + COUNTING)
    if row * height <= most:
        large = F.interpolate(logits, (height, width), mode="bilinear", align_corners=False)
        yield slice(0, height), large.argmax(1)
        return
    place = ((torch.arange(height, device=logits.device) + 0.5) * (h / height) - 0.5).clamp(min=0)
    above = place.long().clamp(max=h - 1)
    below = (above + 1).clamp(max=h - 1)
    share = (place - above)[:, None, None]
    step = max(1, most // BANDS // row)
    for start in range(0, height, step):
        rows = slice(start, min(start + step, height))
        first, last = int(above[rows.start]), int(below[rows.stop - 1]) + 1
        # Enlarged along the width alone: equal heights leave the rows as they are.
        wide = F.interpolate(logits[:, :, first:last], (last - first, width), mode="bilinear", align_corners=False)
        wide = wide.permute(0, 2, 3, 1)
        upper, lower = (wide.index_select(1, near[rows] - first) for near in (above, below))
        yield rows, upper.lerp_(lower, share[rows]).argmax(3)
