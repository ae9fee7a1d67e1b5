"""Prediction of whole image files: label maps, and overlays that a person can judge."""

from __future__ import annotations

import colorsys
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from boostformer.data import fitted_shape, read_image, resize_image
from boostformer.data.config import OVERLAP, Fit
from boostformer.data.labels import label_dtype
from boostformer.data.normalise import normalise
from boostformer.files import replacing
from boostformer.model import BoostFormer
from boostformer.training.bands import Bands, predicted_bands
from boostformer.training.windows import windowed_bands

OPACITY = 0.55
ROWS_AT_ONCE = 64
_GOLDEN = 0.618033988749895


def palette(classes: int) -> NDArray[np.uint8]:
    """Make RGB colours (classes, 3) that are well apart: hues by the golden ratio, three lightnesses."""
    colours = [colorsys.hls_to_rgb(i * _GOLDEN % 1, (0.5, 0.68, 0.36)[i % 3], 0.85) for i in range(classes)]
    return (np.array(colours) * 255).astype(np.uint8)


def predict_array(
    model: BoostFormer,
    image: NDArray[np.uint8],
    size: tuple[int, int],
    fit: Fit = "exact",
    overlap: float = OVERLAP,
) -> NDArray[np.uint8 | np.uint16]:
    """Predict the class numbers (h, w) of an image: uint8 for at most 254 classes, else uint16.

    Args:
        model: the network.
        image: uint8 RGB (h, w, 3).
        size: (H, W) at which the network sees it, or of the windows through which it does.
        fit: how it is brought to that size, as in scoring.
        overlap: least share of a window that the next one covers, too, if ``fit`` is "tile".
    """
    predicted = np.empty(image.shape[:2], label_dtype(model.architecture.classes))
    with torch.inference_mode():
        for rows, band in _bands(model, image, size, fit, overlap):
            predicted[rows] = band[0].cpu().numpy()
    return predicted


def _bands(model: BoostFormer, image: NDArray[np.uint8], size: tuple[int, int], fit: Fit, overlap: float) -> Bands:
    if fit == "tile":
        return windowed_bands(model, image, size, overlap)
    seen = resize_image(image, fitted_shape(image.shape[:2], size, fit))
    return predicted_bands(model(normalise(torch.from_numpy(seen)[None])), image.shape[:2])


def predict_file(
    model: BoostFormer,
    image: Path,
    out: Path,
    size: tuple[int, int],
    fit: Fit = "exact",
    overlap: float = OVERLAP,
) -> tuple[Path, Path]:
    """Write NAME.labels.png (class + 1, as ADE20K's annotations) and NAME.overlay.png; return both paths.

    The label map has 8 bits for at most 254 classes, else 16.

    Args:
        model: see :func:`predict_array`, as for ``size``, ``fit`` and ``overlap``.
        image: the file; :class:`UserError` if it cannot be read.
        out: a folder, made if it is not there; :class:`UserError` if it cannot be written.
        size: (H, W) at which the network sees the image.
        fit: how the image is brought to that size.
        overlap: of windows.
    """
    pixels = read_image(image)
    predicted = predict_array(model, pixels, size, fit, overlap)
    labels, overlay = out / f"{image.stem}.labels.png", out / f"{image.stem}.overlay.png"
    names = model.labels or [str(i) for i in range(model.architecture.classes)]
    for file, picture in ((labels, Image.fromarray(predicted + 1)), (overlay, _overlay(pixels, predicted, names))):
        with replacing(file, parents=True) as part:
            picture.save(part, "PNG")
    return labels, overlay


def _overlay(image: NDArray[np.uint8], predicted: NDArray[np.uint8 | np.uint16], names: list[str]) -> Image.Image:
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
