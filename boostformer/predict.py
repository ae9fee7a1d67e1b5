"""Prediction of whole image files: label maps, and overlays that a person can judge."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from boostformer.data import fitted_shape, read_image, resize_image
from boostformer.data.config import Fit
from boostformer.data.normalise import normalise
from boostformer.errors import UserError
from boostformer.files import replacing
from boostformer.model import BoostFormer
from boostformer.overlays import overlay
from boostformer.training.bands import predicted_bands

MOST_CLASSES = 254
"""As many as a label map of one byte holds beside 0 and 255."""


def predict_array(
    model: BoostFormer, image: NDArray[np.uint8], size: tuple[int, int], fit: Fit = "exact"
) -> NDArray[np.uint8]:
    """Predict the class numbers (h, w), uint8, of an image, on the device that the network lies on.

    Args:
        model: has at most :data:`MOST_CLASSES` classes; :class:`UserError` otherwise.
        image: uint8 RGB (h, w, 3).
        size: (H, W) at which the network sees it.
        fit: how it is brought to that size, as in scoring.
    """
    if model.architecture.classes > MOST_CLASSES:
        raise UserError(f"{model.architecture.classes} classes do not fit a label map, allowed: {MOST_CLASSES}")
    with torch.inference_mode():
        shape = fitted_shape(image.shape[:2], size, fit)
        device = next(model.parameters()).device
        seen = normalise(torch.from_numpy(resize_image(image, shape))[None].to(device))
        predicted = np.empty(image.shape[:2], np.uint8)
        for rows, band in predicted_bands(model(seen), image.shape[:2]):
            predicted[rows] = band[0].cpu().numpy()
        return predicted


def predict_file(
    model: BoostFormer, image: Path, out: Path, size: tuple[int, int], fit: Fit = "exact"
) -> tuple[Path, Path]:
    """Write NAME.labels.png (class + 1, as ADE20K's annotations) and NAME.overlay.png; return both paths.

    Args:
        model: see :func:`predict_array`, as for ``size`` and ``fit``.
        image: the file; :class:`UserError` if it cannot be read.
        out: a folder, made if it is not there; :class:`UserError` if it cannot be written.
        size: (H, W) at which the network sees the image.
        fit: how the image is brought to that size.
    """
    pixels = read_image(image)
    predicted = predict_array(model, pixels, size, fit)
    files = out / f"{image.stem}.labels.png", out / f"{image.stem}.overlay.png"
    names = model.labels or [str(i) for i in range(model.architecture.classes)]
    for file, picture in zip(files, (Image.fromarray(predicted + 1), overlay(pixels, predicted, names)), strict=True):
        with replacing(file, parents=True) as part:
            picture.save(part, "PNG")
    return files
