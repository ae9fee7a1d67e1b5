"""Logits of images larger than a network's size, from windows of that size."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from boostformer.data.images import Array
from boostformer.data.normalise import normalise
from boostformer.data.tiles import cut, window_starts
from boostformer.errors import UserError
from boostformer.training.bands import Bands, predicted_bands


def windowed_logits(
    model: nn.Module, image: Array, size: tuple[int, int], overlap: float, batch_size: int = 4
) -> tuple[Tensor, tuple[int, int]]:
    """Average the logits of windows at the network's own resolution, where a logit stands for a square of pixels.

    An image of exactly ``size`` gives the network's own logits.

    Args:
        model: Maps float ``(B, 3, H, W)`` to logits ``(B, classes, H/n, W/n)``.
        image: uint8 (h, w, 3), of any shape.
        size: (H, W) of a window in pixels.
        overlap: The least share of a window that the next one covers, too: 0…0.9.
        batch_size: How many windows run at once.

    Returns:
        Logits, float32 ``(1, classes, h, w)`` and channels last, and the (height, width) of the pixels that they stand
        for: at least the image's, since the last squares may stick out.

    Raises:
        UserError: The network does not divide a window into whole squares.
    """
    device = next(model.parameters()).device

    def run(places: list[tuple[int, int]]) -> Tensor:
        windows = [torch.tensor(cut(image, place, size)) for place in places]
        logits: Tensor = model(normalise(torch.stack(windows).to(device)))
        return logits.float()

    first = run([(0, 0)])
    (height, width), square = first.shape[-2:], size[0] // first.shape[-2]
    if size != (height * square, width * square):
        raise UserError(f"size {size[0]}x{size[1]}: windows of this network are multiples of {square} pixels")
    rows, columns = (
        window_starts(length, window, overlap, square) for length, window in zip(image.shape, size, strict=False)
    )
    if len(rows) == len(columns) == 1:
        total = first
    else:
        shape = (1, first.shape[1], rows[-1] // square + height, columns[-1] // square + width)
        total = torch.empty(shape, device=device, memory_format=torch.channels_last).zero_()
        times = torch.zeros(shape[-2:], device=device)
        places = [(top, left) for top in rows for left in columns]
        for start in range(1 - batch_size, len(places), batch_size):  # the first one has run
            some = places[max(0, start) : start + batch_size]
            for (top, left), logits in zip(some, first if start < 1 else run(some), strict=True):
                y, x = top // square, left // square
                total[0, :, y : y + height, x : x + width] += logits
                times[y : y + height, x : x + width] += 1
        total /= times
    high, wide = (math.ceil(length / square) for length in image.shape[:2])
    return total[..., :high, :wide], (high * square, wide * square)


def windowed_bands(model: nn.Module, image: Array, size: tuple[int, int], overlap: float, batch_size: int = 4) -> Bands:
    """Yield the classes of the image's pixels by bands; parameters and errors are :func:`windowed_logits` 's."""
    logits, covered = windowed_logits(model, image, size, overlap, batch_size)
    height, width = image.shape[:2]
    for rows, classes in predicted_bands(logits, covered):
        if rows.start < height:
            yield slice(rows.start, min(rows.stop, height)), classes[:, : height - rows.start, :width]
