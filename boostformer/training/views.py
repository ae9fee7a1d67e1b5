"""Views of the images that a network is scored on: whole or through windows, at one scale or several, mirrored."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from torch import nn

from boostformer.data import SegmentationSplit, fitted_shape, resize_image
from boostformer.data.images import Array
from boostformer.data.normalise import normalisation_of, normalise
from boostformer.training.bands import Bands, Map, averaged_bands, predicted_bands
from boostformer.training.windows import windowed_logits


@dataclass(frozen=True)
class View:
    """View of an image.

    With several scales, or mirrored, the probabilities of all are averaged at the label's size.

    Attributes:
        mode: "whole", each image at once at the split's own fit; or "slide", through windows of the network's size over
            the image, whose shorter side is the window's (of a split that keeps images as they are, at their own size).
        overlap: the least share of a window that the next one covers, too.
        scales: factors on the size of the image.
        flip: whether mirrored images are seen, too.
    """

    mode: Literal["whole", "slide"] = "whole"
    overlap: float = 0.25
    scales: tuple[float, ...] = (1.0,)
    flip: bool = False

    @property
    def is_plain(self) -> bool:
        """Tell whether each image is seen once, as in training's own scores."""
        return self.mode == "whole" and self.scales == (1.0,) and not self.flip


PLAIN = View()


def predictions(
    model: nn.Module,
    split: SegmentationSplit,
    size: tuple[int, int],
    batch_size: int = 8,
    view: View = PLAIN,
    indices: Sequence[int] | None = None,
) -> Iterator[tuple[int, Bands]]:
    """Yield images' indices, and their classes at the label's size by bands, which are to be read before the next.

    Args:
        model: maps float ``(B, 3, H, W)`` to logits ``(B, classes, h, w)``; in eval mode.
        split: the images.
        size: (H, W) in pixels of images of an "exact" split, and of windows.
        batch_size: how many images of one shape run at once, or how many windows.
        view: how images are seen.
        indices: which images; by default all.
    """
    if split.fit == "tile":
        view = replace(view, mode="slide", overlap=split.overlap)
    indices = range(len(split)) if indices is None else indices
    device = next(model.parameters()).device
    if view.is_plain:
        for some, images in _batches(split, size, batch_size, indices):
            logits = model(normalise(torch.from_numpy(images).to(device), normalisation_of(model)))
            for index, one in zip(some, logits.split(1), strict=True):  # bounds memory
                yield index, predicted_bands(one, split.label(index).shape)
        return
    for index in indices:
        image, label = split.pair(index)
        yield index, averaged_bands(list(_maps(model, image, size, split, batch_size, view)), label.shape)


def _maps(
    model: nn.Module, image: Array, size: tuple[int, int], split: SegmentationSplit, batch_size: int, view: View
) -> Iterator[Map]:
    """Yield an image's logits at each scale, and mirrored; the parameters are those of :func:`predictions`."""
    device = next(model.parameters()).device
    height, width = image.shape[:2]
    fit = "short_side" if view.mode == "slide" and split.fit == "exact" else split.fit
    base = fitted_shape((height, width), size, fit)
    for scale in view.scales:
        seen = resize_image(image, (max(1, round(base[0] * scale)), max(1, round(base[1] * scale))))
        for mirrored in (False, True) if view.flip else (False,):
            pixels = np.ascontiguousarray(seen[:, ::-1]) if mirrored else seen
            covered = seen.shape[:2]
            if view.mode == "slide":
                logits, covered = windowed_logits(model, pixels, size, view.overlap, batch_size)
            else:
                logits = model(normalise(torch.from_numpy(pixels)[None].to(device), normalisation_of(model)))
            # The last squares of windows may stick out of the image: mirrored, at its left.
            shape = round(height * covered[0] / seen.shape[0]), round(width * covered[1] / seen.shape[1])
            if mirrored:
                yield Map(logits.flip(3), shape, shape[1] - width)
            else:
                yield Map(logits, shape)


def _batches(
    split: SegmentationSplit, size: tuple[int, int], batch_size: int, chosen: Sequence[int]
) -> Iterator[tuple[list[int], Array]]:
    """Yield neighbouring images of one shape: ``(indices, uint8 (B, H, W, 3))``."""
    indices: list[int] = []
    images: list[Array] = []
    for index in chosen:
        image = split.resized(index)[0]
        if split.fit == "exact":
            image = resize_image(image, size)
        if images and (len(images) == batch_size or image.shape != images[0].shape):
            yield indices, np.stack(images)
            indices, images = [], []
        indices.append(index)
        images.append(image)
    if images:
        yield indices, np.stack(images)
