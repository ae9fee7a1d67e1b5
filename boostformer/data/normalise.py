"""Normalisation of pixels for a network: one definition for training, scoring, prediction and export."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor, nn

from boostformer.data.split import SegmentationSplit
from boostformer.errors import UserError
from boostformer.shown import number_of

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
"""ImageNet's mean and standard deviation per RGB channel, of pixels in 0…1."""
_LEAST_STD = 1 / 255
"""Deviation of a band that is the same everywhere: its pixels become 0 then, and not infinite elsewhere."""


@dataclass(frozen=True)
class Normalisation:
    """Mean and standard deviation of each band, of pixels in 0…1."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


IMAGENET = Normalisation(MEAN, STD)


def normalisation_for(split: SegmentationSplit) -> Normalisation:
    """Give ImageNet's constants for RGB, for other bands what the split's images have at network scale."""
    if split.reading.bands == "rgb":
        return IMAGENET
    count, total, squares = split.moments().tolist()
    mean = [one / n / 255 for one, n in zip(total, count, strict=True)]
    # In whole numbers until the last step, so that it does not depend on any order.
    variance = [(n * sq - one * one) / (n * n) for n, one, sq in zip(count, total, squares, strict=True)]
    return Normalisation(tuple(mean), tuple(max(v**0.5 / 255, _LEAST_STD) for v in variance))


def normalisation_of(model: nn.Module) -> Normalisation | None:
    """Give the mean and deviation that a network was trained with: its own, or ImageNet's where it has none."""
    found: Normalisation | None = getattr(model, "normalisation", IMAGENET)
    return found


def normalise(images: Tensor, by: Normalisation | None = IMAGENET) -> Tensor:
    """Turn uint8 ``(B, H, W, bands)`` in 0…255 into float32 ``(B, bands, H, W)``, on the same device.

    The result's memory stays channels-last, as the pixels are. UserError where the bands are not those of ``by``.
    """
    bands = images.shape[3]
    if by is None or len(by.mean) != bands:
        known = "knows no mean and deviation yet: it was not trained" if by is None else f"has {len(by.mean)}"
        raise UserError(f"the images have {number_of(bands, 'band')}, but the network {known}")
    mean, std = _constants(by, images.device)
    return ((images.float() - mean) / std).permute(0, 3, 1, 2)


@cache
def _constants(by: Normalisation, device: torch.device) -> tuple[Tensor, Tensor]:
    """Bring mean and deviation to a device once: each copy would wait for all that a GPU has to do."""
    with torch.inference_mode(False):
        return torch.tensor(by.mean, device=device) * 255, torch.tensor(by.std, device=device) * 255
