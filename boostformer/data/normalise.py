"""Normalisation of pixels for a network: one definition for training, scoring, prediction and export."""

from __future__ import annotations

import torch
from torch import Tensor

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
"""ImageNet's mean and standard deviation per RGB channel, of pixels in 0…1."""


def normalise(images: Tensor) -> Tensor:
    """Turn uint8 RGB ``(B, H, W, 3)`` in 0…255 into float32 ``(B, 3, H, W)``, on the same device.

    The result's memory stays channels-last, as the pixels are.
    """
    mean = torch.tensor(MEAN, device=images.device) * 255
    std = torch.tensor(STD, device=images.device) * 255
    return ((images.float() - mean) / std).permute(0, 3, 1, 2)
