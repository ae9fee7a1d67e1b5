"""Prediction of whole image files: label maps, and overlays that a person can judge."""

from __future__ import annotations

import colorsys
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from boostformer.data import fitted_shape, read_image, resize_image
from boostformer.data.config import Fit
from boostformer.data.normalise import normalise
from boostformer.errors import UserError
from boostformer.files import replacing
from boostformer.model import BoostFormer
from boostformer.training.metrics import predicted_bands

OPACITY = 0.55
MOST_CLASSES = 254
"""As many as a label map of one byte holds beside 0 and 255."""
ROWS_AT_ONCE = 64
_GOLDEN = 0.618033988749895


def palette(classes: int) -> NDArray[np.uint8]:
    """Make RGB colours (classes, 3) that are well apart: hues by the golden ratio, three lightnesses."""
    colours = [colorsys.hls_to_rgb(i * _GOLDEN % 1, (0.5, 0.68, 0.36)[i % 3], 0.85) for i in range(classes)]
    return (np.array(colours) * 255).astype(np.uint8)


def predict_array(
    model: BoostFormer, image: NDArray[np.uint8], size: tuple[int, int], fit: Fit = "exact"
) -> NDArray[np.uint8]:
    """Predict the class numbers (h, w), uint8, of an image.

    Args:
        model: has at most :data:`MOST_CLASSES` classes; :class:`UserError` otherwise.
        image: uint8 (h, w, bands); :class:`UserError` when it has others than the network.
        size: (H, W) at which the network sees it.
        fit: how it is brought to that size, as in scoring.
    """
    if model.architecture.classes > MOST_CLASSES:
        raise UserError(f"{model.architecture.classes} classes do not fit a label map, allowed: {MOST_CLASSES}")
    with torch.inference_mode():
        shape = fitted_shape(image.shape[:2], size, fit)
        seen = normalise(torch.from_numpy(resize_image(image, shape))[None], model.normalisation)
        predicted = np.empty(image.shape[:2], np.uint8)
        for rows, band in predicted_bands(model(seen), image.shape[:2]):
            predicted[rows] = band[0].numpy()
        return predicted


def predict_file(
    model: BoostFormer, image: Path, out: Path, size: tuple[int, int], fit: Fit = "exact"
) -> tuple[Path, Path]:
    """Write NAME.labels.png (class + 1, as ADE20K's annotations) and NAME.overlay.png; return both paths.

    Args:
        model: see :func:`predict_array`, as for ``size`` and ``fit``.
        image: the file, read as those that the network was trained on; :class:`UserError` if it cannot be.
        out: a folder, made if it is not there; :class:`UserError` if it cannot be written.
        size: (H, W) at which the network sees the image.
        fit: how the image is brought to that size.
    """
    pixels = read_image(image, model.reading)
    predicted = predict_array(model, pixels, size, fit)
    labels, overlay = out / f"{image.stem}.labels.png", out / f"{image.stem}.overlay.png"
    names = model.labels or [str(i) for i in range(model.architecture.classes)]
    for file, picture in (
        (labels, Image.fromarray(predicted + 1)),
        (overlay, _overlay(_shown(pixels), predicted, names)),
    ):
        with replacing(file, parents=True) as part:
            picture.save(part, "PNG")
    return labels, overlay


def _shown(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Give a picture (h, w, 3) of any bands: of one or two the first as grey, of more the first three."""
    return np.repeat(image[..., :1], 3, axis=2) if image.shape[2] < 3 else np.ascontiguousarray(image[..., :3])


def _overlay(image: NDArray[np.uint8], predicted: NDArray[np.uint8], names: list[str]) -> Image.Image:
    """Tint the image by class, and add a legend of the classes that occur, most frequent first."""
    colours = palette(len(names))
    mixed = np.empty_like(image)
    for top in range(0, len(image), ROWS_AT_ONCE):  # bounds memory: the sum is of doubles
        rows = slice(top, top + ROWS_AT_ONCE)
        mixed[rows] = image[rows] * (1 - OPACITY) + colours[predicted[rows]] * OPACITY
    tinted = Image.fromarray(mixed)
    counts = np.bincount(predicted.ravel(), minlength=len(names))
    shown = [int(i) for i in np.argsort(-counts, kind="stable") if counts[i]]
    font = ImageFont.load_default(13)
    line, width = 18, 24 + max(int(font.getlength(names[i])) for i in shown) + 8
    canvas = Image.new("RGB", (tinted.width + width, max(tinted.height, line * len(shown) + 6)), "white")
    canvas.paste(tinted, (0, 0))
    draw = ImageDraw.Draw(canvas)
    for row, i in enumerate(shown):
        top = 4 + row * line
        draw.rectangle((tinted.width + 6, top + 2, tinted.width + 18, top + 14), fill=tuple(colours[i].tolist()))
        draw.text((tinted.width + 24, top), names[i], fill="black", font=font)
    return canvas
