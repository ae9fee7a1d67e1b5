"""Photometric distortion of training images: brightness, contrast, saturation and hue, in an order of their own.

Brightness, contrast and saturation are affine in the RGB of a pixel, and so is any run of them: they become one matrix,
which goes over the image once, and nothing is rounded or clipped between them. Only hue needs a pass of its own.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from boostformer.data.images import Array

PROBABILITY = 0.75
"""Probability that an image's colours are varied at all."""
GREY = np.array([0.299, 0.587, 0.114])
"""Shares of R, G and B in the brightness that is seen."""

Affine = NDArray[np.float64]
"""(3, 4): a matrix of RGB, and what is added."""


@dataclass(frozen=True)
class ColourJitter:
    """A change of colours, drawn at random.

    Args:
        brightness: the factor of all values.
        contrast: the factor of their distance from the image's mean grey.
        saturation: the factor of their distance from the pixel's own grey.
        hue: the shift round the colour circle, which is 1 long.
        order: the names of these four, the first to be applied first.
    """

    brightness: float
    contrast: float
    saturation: float
    hue: float
    order: tuple[str, ...] = ("brightness", "contrast", "saturation", "hue")

    @classmethod
    def draw(cls, strength: float, rng: random.Random) -> ColourJitter | None:
        """Draw SegFormer's variation (NVlabs) times ``strength``; None where the colours stay as they are."""
        if not strength or rng.random() >= PROBABILITY:
            return None
        ranges = {"brightness": 0.125, "contrast": 0.5, "saturation": 0.5}
        factors = {name: rng.uniform(1 - half * strength, 1 + half * strength) for name, half in ranges.items()}
        hue = rng.uniform(-0.1 * strength, 0.1 * strength)
        return cls(**factors, hue=hue, order=tuple(rng.sample([*factors, "hue"], 4)))

    def __call__(self, image: Array) -> Array:
        """Change uint8 (h, w, 3) RGB; of other numbers of bands the brightness and contrast alone, alike on all."""
        if image.shape[2] != 3:
            return self._of_bands(image)
        done = Run(image)
        for step in self.order:
            if step == "brightness":
                done.add(np.eye(3) * self.brightness)
            elif step == "contrast":
                done.add(np.eye(3) * self.contrast, (1 - self.contrast) * done.mean())
            elif step == "saturation":
                done.add(np.eye(3) * self.saturation + (1 - self.saturation) * GREY)
            elif shift := round(256 * self.hue) % 256:
                done = Run(shifted_hue(done.result(), shift))
        return done.result()

    def _of_bands(self, image: Array) -> Array:
        numbers = np.arange(256, dtype=np.float64)
        brighter = np.clip(numbers * self.brightness, 0, 255)
        # Contrast is about the mean of all bands as it is once they are brighter.
        mean = brighter @ np.bincount(image.ravel(), minlength=256) / image.size
        table = np.round(np.clip(mean + self.contrast * (brighter - mean), 0, 255)).astype(np.uint8)
        return cv2.LUT(image, table).reshape(image.shape)  # type: ignore[return-value]


class Run:
    """An image, and the affine changes of its colours that are still to be made, as one."""

    def __init__(self, image: Array) -> None:
        self._image = image
        self._change: Affine | None = None

    def add(self, matrix: NDArray[np.float64], offset: float = 0.0) -> None:
        """Add a change: ``matrix`` (3, 3) of RGB, and an ``offset`` of all three."""
        before = np.eye(3, 4) if self._change is None else self._change
        self._change = matrix @ before
        self._change[:, 3] += offset

    def mean(self) -> float:
        """Compute the mean grey of the image once it is changed."""
        mean = np.array([*cv2.mean(self._image)[:3], 1.0])
        return float(GREY @ (mean[:3] if self._change is None else self._change @ mean))

    def result(self) -> Array:
        """Give the changed image, uint8."""
        if self._change is None:
            return self._image
        return cv2.transform(self._image, self._change)  # type: ignore[return-value]


def shifted_hue(image: Array, shift: int) -> Array:
    """Shift the hue of uint8 (h, w, 3) RGB by ``shift`` (0…255) 256ths of the circle."""
    hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV_FULL)  # whose hue has 256 steps: a sum in 8 bits goes round as it does
    height, width = hsv.shape[:2]
    # Rows of 3 * width numbers are added at once; hue alone would be every third of them, one by one.
    rows = hsv.reshape(height, 3 * width)
    rows += np.tile(np.array([shift, 0, 0], np.uint8), width)
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB_FULL)  # type: ignore[return-value]
