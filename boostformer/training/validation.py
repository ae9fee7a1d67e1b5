"""Validation on the way: scores every so many iterations, the best network so far, and an early end."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from accelerate import Accelerator
from torch import Tensor, nn

from boostformer.data import SegmentationSplit
from boostformer.data.part import Part
from boostformer.errors import UserError
from boostformer.training.averaging import plain
from boostformer.training.metrics import Metrics, confusion_over, scores
from boostformer.training.recipes import Recipe


@dataclass(frozen=True)
class Best:
    """The best validation so far and the iterations before it."""

    iteration: int
    metrics: Metrics


class Validation:
    """Scores of a training on the way, by ``recipe.validate_every`` and ``recipe.patience``.

    The end of a training is scored by whoever saves it, who tells :meth:`take` of that.

    Args:
        split: what to score on.
        size: height and width at which images of an "exact" split are scored.
        recipe: the training's.

    Attributes:
        best: the best score; None before the first.
        weights: the network's state then, on the CPU.
        latest: the last score.
    """

    def __init__(self, split: SegmentationSplit, size: tuple[int, int], recipe: Recipe) -> None:
        self._split, self._size, self._recipe = split, size, recipe
        self.best: Best | None = None
        self.weights: dict[str, Tensor] = {}
        self.latest: Metrics | None = None
        self._without_better = 0

    def due(self, done: int) -> bool:
        """Tell whether to score after ``done`` iterations."""
        every = self._recipe.validate_every
        return every is not None and every > 0 and done % every == 0 and done < self._recipe.iterations

    @property
    def over(self) -> bool:
        """Tell whether the training's patience is at its end."""
        return self._recipe.patience is not None and self._without_better >= self._recipe.patience

    def score(self, done: int, network: nn.Module, accelerator: Accelerator) -> None:
        """Score ``network`` after ``done`` iterations, each process its share of the images."""
        own = Part(self._split, range(accelerator.process_index, len(self._split), accelerator.num_processes))
        confusion = confusion_over(network, own, size=self._size).to(accelerator.device)
        confusion = accelerator.reduce(confusion, "sum")
        if not confusion.any():
            raise UserError("nothing to score: every pixel of the validation images is ignored")
        self.take(done, scores(confusion, len(self._split)), network)

    def take(self, done: int, metrics: Metrics, network: nn.Module) -> None:
        """Take note of the scores of ``network`` after ``done`` iterations; of equal ones the first is the best."""
        self.latest = metrics
        if self.best is None or metrics.miou > self.best.metrics.miou:
            self.best, self.weights, self._without_better = Best(done, metrics), plain(network), 0
        else:
            self._without_better += 1

    def state(self) -> dict[str, Any]:
        """Collect, beside ``weights``, what a resumed training needs, as plain values."""
        return {
            "best": asdict(self.best) if self.best else None,
            "latest": asdict(self.latest) if self.latest else None,
            "without_better": self._without_better,
        }

    def restore(self, state: dict[str, Any], weights: dict[str, Tensor]) -> None:
        """Take up what :meth:`state` gave."""
        best, latest = state["best"], state["latest"]
        self.best = Best(best["iteration"], Metrics(**best["metrics"])) if best else None
        self.latest = Metrics(**latest) if latest else None
        self._without_better, self.weights = state["without_better"], weights
