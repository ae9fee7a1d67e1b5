"""Prediction of whole image files: label maps, and overlays that a person can judge."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from boostformer.architecture import Architecture
from boostformer.data import SegmentationSplit, fitted_shape, read_image, resize_image
from boostformer.data.bands import ImageReading
from boostformer.data.config import OVERLAP, Fit
from boostformer.data.labels import label_dtype
from boostformer.data.normalise import Normalisation, normalise
from boostformer.data.split import resize_label
from boostformer.files import replacing
from boostformer.model import BoostFormer
from boostformer.overlay import Row, legend, palette, rows_side_by_side, shown, side_by_side, tinted
from boostformer.training.bands import Bands, predicted_bands
from boostformer.training.windows import windowed_bands

Kind = Literal["labels", "overlay"]
KINDS: tuple[Kind, ...] = ("labels", "overlay")
LEGEND = "legend.png"
CARD_SIDE = 320
"""Longest side of an image in a model card, in pixels."""
SAMPLES = 6
"""Images in a picture of samples."""


class Segmenter(Protocol):
    """A network, or an exported file as one."""

    architecture: Architecture
    labels: list[str]
    normalisation: Normalisation | None

    @property
    def reading(self) -> ImageReading:
        """Reading of image files for it."""

    def parameters(self) -> Iterator[nn.Parameter]:
        """Give what lies on the device that it runs on."""

    def __call__(self, x: Tensor, /) -> Tensor:
        """(B, bands, H, W) -> logits (B, classes, h, w)."""


def predict_array(
    model: Segmenter,
    image: NDArray[np.uint8],
    size: tuple[int, int],
    fit: Fit = "exact",
    overlap: float = OVERLAP,
) -> NDArray[np.uint8 | np.uint16]:
    """Predict the class numbers (h, w) of an image: uint8 for at most 254 classes, else uint16.

    It runs on the device that the network lies on.

    Args:
        model: the network.
        image: uint8 (h, w, bands); :class:`UserError` when it has others than the network.
        size: (H, W) at which the network sees it, or of the windows through which it does.
        fit: how it is brought to that size, as in scoring.
        overlap: least share of a window that the next one covers, too, if ``fit`` is "tile".
    """
    predicted = np.empty(image.shape[:2], label_dtype(model.architecture.classes))
    with torch.inference_mode():
        for rows, band in _bands(model, image, size, fit, overlap):
            predicted[rows] = band[0].cpu().numpy()
    return predicted


def _bands(model: Segmenter, image: NDArray[np.uint8], size: tuple[int, int], fit: Fit, overlap: float) -> Bands:
    if fit == "tile":
        return windowed_bands(model, image, size, overlap)  # type: ignore[arg-type]  # is a module, too
    seen = torch.from_numpy(resize_image(image, fitted_shape(image.shape[:2], size, fit)))[None]
    logits = model(normalise(seen.to(next(model.parameters()).device), model.normalisation))
    return predicted_bands(logits, image.shape[:2])


def predict_file(
    model: Segmenter,
    image: Path,
    out: Path,
    size: tuple[int, int],
    fit: Fit = "exact",
    overlap: float = OVERLAP,
    kinds: Sequence[Kind] = KINDS,
) -> list[Path]:
    """Write NAME.labels.png (class + 1, as ADE20K's annotations) and NAME.overlay.png; return their paths.

    The label map has 8 bits for at most 254 classes, and shows them in the overlay's colours; else it has 16 bits, and
    no colours. The overlay is as large as the image; its colours are in LEGEND.

    Args:
        model: see :func:`predict_array`, as for ``size``, ``fit`` and ``overlap``.
        image: the file, read as those that the network was trained on; :class:`UserError` if it cannot be.
        out: the pictures' path without their endings; :class:`UserError` if they cannot be written.
        size: (H, W) at which the network sees the image.
        fit: how the image is brought to that size.
        overlap: of windows.
        kinds: which of the two pictures.
    """
    pixels = read_image(image, model.reading)
    predicted = predict_array(model, pixels, size, fit, overlap)
    files = []
    for kind in kinds:
        picture = label_map(predicted, model.architecture.classes) if kind == "labels" else _overlay(pixels, predicted)
        files.append(out.with_name(f"{out.name}.{kind}.png"))
        with replacing(files[-1], parents=True) as part:
            picture.save(part, "PNG")
    return files


def write_legend(model: Segmenter, folder: Path) -> Path:
    """Write the colours of a network's classes, and the numbers that they have in label maps."""
    classes = model.architecture.classes
    names = model.labels or [str(i) for i in range(classes)]
    with replacing(folder / LEGEND, parents=True) as part:
        legend([f"{i} {name}" for i, name in enumerate(names, 1)], palette(classes)).save(part, "PNG")
    return folder / LEGEND


def label_map(predicted: NDArray[np.uint8 | np.uint16], classes: int) -> Image.Image:
    """Make a picture (h, w) of class numbers + 1: with colours of 8 bits where they suffice, else grey of 16."""
    picture = Image.fromarray(predicted + 1)
    if predicted.dtype == np.uint8:
        picture.putpalette(np.concatenate([np.zeros((1, 3), np.uint8), palette(classes)]).tobytes())
    return picture


def _overlay(pixels: NDArray[np.uint8], predicted: NDArray[np.uint8 | np.uint16]) -> Image.Image:
    return Image.fromarray(tinted(shown(pixels), predicted, palette(int(predicted.max()) + 1)))


def card_picture(model: BoostFormer, split: SegmentationSplit) -> bytes:
    """Draw the middle image of ``split``, its label and the prediction for a model card: a PNG."""
    return _png(side_by_side(*_beside_truth(model, split, len(split) // 2), split.labels))


def samples_picture(model: BoostFormer, split: SegmentationSplit, most: int = SAMPLES) -> bytes:
    """Draw up to ``most`` images of ``split``, evenly spread, each beside its label and the prediction: a PNG.

    Small images are enlarged, so that one sees something.
    """
    number = min(most, len(split))
    found = [_beside_truth(model, split, place * len(split) // number) for place in range(number)]
    rows = [tuple(_enlarged(part) for part in row) for row in found]
    return _png(rows_side_by_side(rows, split.labels))  # type: ignore[arg-type]


def _beside_truth(model: BoostFormer, split: SegmentationSplit, index: int) -> Row:
    """Give an image of ``split``, its label and the prediction, each of at most :data:`CARD_SIDE` pixels."""
    image, label = split.pair(index)
    training = model.training
    predicted = predict_array(model.eval(), image, split.size, split.fit, split.overlap)
    model.train(training)
    scale = min(1.0, CARD_SIDE / max(label.shape))
    shape = max(1, round(label.shape[0] * scale)), max(1, round(label.shape[1] * scale))
    small, seen = resize_image(image, shape), resize_label(predicted, shape)  # type: ignore[arg-type]
    return shown(small), resize_label(label, shape), seen


def _enlarged(pixels: NDArray[Any]) -> NDArray[Any]:
    times = max(1, CARD_SIDE // 2 // max(pixels.shape[:2]))
    return pixels.repeat(times, axis=0).repeat(times, axis=1)


def _png(picture: Image.Image) -> bytes:
    out = io.BytesIO()
    picture.save(out, "PNG", optimize=True)
    return out.getvalue()
