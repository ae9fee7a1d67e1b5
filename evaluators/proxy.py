"""Proxy training: what a network scores after a short training from scratch."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from accelerate import PartialState

from boostformer.architecture import Architecture
from boostformer.data import DataConfig, SegmentationSplit, open_split
from boostformer.data.split import Array
from boostformer.model import build
from boostformer.training import Recipe, evaluate, loop, train
from boostformer.training.metrics import confusion_over

Progress = Callable[[int, int, float], None]
"""Called with (iterations done, of how many, running mean of the loss)."""


@dataclass(frozen=True)
class Score:
    """What an evaluation found: ``miou`` in 0…1, wall-clock ``seconds``, and how the score came about."""

    miou: float
    seconds: float
    provenance: str


class Proxy:
    """Trains networks with ``recipe`` on the training part of ``data`` and scores them on its validation part.

    Decoded and resized images are kept in the folder ``cache``, shared by trials, runs and processes.
    Opening raises UserError for data that are missing, damaged or inconsistent.
    """

    def __init__(self, data: DataConfig, recipe: Recipe, cache: Path | None = None) -> None:
        self.data, self.recipe = data, recipe
        self.training = open_split(data, "training", cache)
        self.validation = open_split(data, "validation", cache)

    @property
    def labels(self) -> list[str]:
        """Names of the classes."""
        return self.training.labels

    def evaluate(self, arch: Architecture, seed: int, progress: Progress | None = None) -> Score:
        """The score after training from weights and in an order that follow from ``seed``.

        Raises :class:`boostformer.training.TrainingFailure`, which has the reason.
        """
        started = time.perf_counter()
        recipe = self.recipe.model_copy(update={"seed": seed})
        torch.manual_seed(seed)
        model = build(arch, recipe.drop_path)
        train(model, self.training, recipe, size=self.data.size, progress=progress)
        metrics = evaluate(model, self.validation, size=self.data.size)
        how = f"proxy training, {recipe.iterations} iterations of {recipe.batch_size}, from scratch"
        return Score(metrics.miou, time.perf_counter() - started, how)

    def estimate_seconds(self, arch: Architecture) -> float:
        """An estimate of :meth:`evaluate` 's wall-clock time, from a few of its steps, measured.

        Raises :class:`boostformer.training.TrainingFailure` when the memory does not suffice.
        """
        model = build(arch, self.recipe.drop_path)
        reports: list[tuple[int, float]] = []
        # Up to the first report all warms up. The rate is next to none: a recipe that diverges is timed too.
        steps = max(5, 2 * loop.report_every(PartialState().device))
        few = self.recipe.model_copy(update={"iterations": steps, "warmup_iterations": 0, "lr": 1e-12})
        train(
            model,
            self.training,
            few,
            size=self.data.size,
            progress=lambda done, *_: reports.append((done, time.perf_counter())),
        )
        step = 0.0
        if reports:  # of several processes only the main one is told
            (first, began), (last, ended) = reports[0], reports[-1]
            step = (ended - began) / (last - first)
        confusion_over(model, _First(self.validation, 1), size=self.data.size)
        images = _First(self.validation, 8)
        started = time.perf_counter()
        confusion_over(model, images, size=self.data.size)
        image = (time.perf_counter() - started) / len(images)
        return self.recipe.iterations * step + len(self.validation) * image


class _First(SegmentationSplit):
    """The first images of a split."""

    def __init__(self, split: SegmentationSplit, count: int) -> None:
        self.labels, self.size, self.fit = split.labels, split.size, split.fit
        self._split, self._count = split, min(count, len(split))

    def __len__(self) -> int:
        return self._count

    def image(self, index: int) -> Array:
        return self._split.image(index)

    def label(self, index: int) -> Array:
        return self._split.label(index)

    def resized(self, index: int) -> tuple[Array, Array]:
        return self._split.resized(index)

    def name(self, index: int) -> str:
        return self._split.name(index)

    def fingerprint(self) -> Iterable[str]:
        return self._split.fingerprint()
