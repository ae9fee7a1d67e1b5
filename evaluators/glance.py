"""A glance at a network that inherits: its mIoU after ten steps of training, on some training images.

The shortest proxy there is. It sees which structures the inherited weights fit: on CamVid the order of 36 networks by
their scores after 120 iterations agrees with it by a rank correlation of 0.86, and by 0.76 without any step, for 11 and
4 % of the time (`benchmarks/glances.py`, docs/results/inheritance.md).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from boostformer.architecture import Architecture
from boostformer.data.images import Array
from boostformer.data.normalise import normalise
from boostformer.start import Trained, take_over
from boostformer.training import TrainingFailure, train
from boostformer.training.devices import processes
from boostformer.training.failures import memory_failures
from boostformer.training.scores import confusion_matrix, scores
from boostformer.training.threads import using
from evaluators.proxy import Proxy

STEPS = 10
"""Iterations of training before a network is scored, by default."""
PIXELS, FEWEST, MOST = 48 * 96 * 128, 8, 48
"""As many training images are scored as have so many pixels, but no fewer and no more than these."""
STRIDE = 4
"""Pixels along each side for one logit of a network."""


class Glance:
    """Trains networks that inherit from one trained network for some steps, and scores them on training images."""

    def __init__(self, trained: Trained, proxy: Proxy, seed: int = 0, steps: int = STEPS) -> None:
        """Choose the images.

        Args:
            trained: what networks inherit from.
            proxy: has the images, and the recipe of the steps.
            seed: chooses the images, their order in training, and what is drawn for parts that cannot inherit.
            steps: iterations of training before the score; 0 for none.
        """
        self._trained, self._proxy, self._seed, self._steps = trained, proxy, seed, steps
        recipe, training, (height, width) = proxy.recipes[0], proxy.training, proxy.data.size
        changes: dict[str, Any] = {"iterations": max(1, steps), "warmup_iterations": steps // 5, "seed": seed}
        changes |= {"drop_path": 0.0, "ema": 0.0}
        for_longer = {"compile": False, "graph": False, "workers": 0}  # what only pays when there are more steps
        self._recipe = recipe.model_copy(update=changes | for_longer)
        count = min(len(training), max(FEWEST, min(MOST, PIXELS // (height * width))))
        drawn = torch.randperm(len(training), generator=torch.Generator().manual_seed(seed))[:count].tolist()
        pairs = [training.resized(index) for index in drawn]
        images = np.stack([_cut(image, (height, width), 0) for image, _ in pairs])
        labels = np.stack([_cut(label, (height, width), training.ignored) for _, label in pairs])
        self._images = normalise(torch.from_numpy(images), proxy.normalisation).split(recipe.batch_size)
        rows, columns = _under_logits(height), _under_logits(width)
        self._labels = torch.from_numpy(labels[:, rows[:, None], columns].astype(np.int64))

    def __call__(self, arch: Architecture) -> float:
        """Give the mIoU, 0…1, at the logits' size, of a network that inherits; minus infinity for one that fails."""
        torch.manual_seed(self._seed)
        model = self._proxy.network(arch, self._recipe)
        take_over(model, self._trained, self._proxy.labels)
        try:
            if self._steps:
                train(model, self._proxy.training, self._recipe, size=self._proxy.data.size)
            predicted = self._predicted(model)
        except TrainingFailure:
            return float("-inf")
        confusion = confusion_matrix(predicted, self._labels, len(self._proxy.labels))
        return scores(confusion, len(predicted)).miou if confusion.any() else 0.0

    @memory_failures()
    @torch.no_grad()
    def _predicted(self, model: nn.Module) -> Tensor:
        """Give the classes (B, H/4, W/4), on the CPU."""
        device = processes().device
        model = model.to(device).eval()
        with using(self._recipe.threads):
            _see_again(model, self._images[: (len(self._images) + 1) // 2], device)
            return torch.cat([model(images.to(device)).argmax(1).cpu() for images in self._images])


def _under_logits(length: int) -> NDArray[np.int64]:
    """Give the pixels, along a side of ``length``, in the middle of what each logit stands for."""
    return np.minimum(STRIDE // 2 + STRIDE * np.arange(-(-length // STRIDE)), length - 1)


def _cut(image: Array, size: tuple[int, int], around: int) -> Array:
    """Give the middle (H, W, …) of an image or label, with a border of ``around`` where it is smaller."""
    found = np.full((*size, *image.shape[2:]), around, image.dtype)
    into, of = [], []
    for have, want in zip(image.shape[:2], size, strict=True):
        length = min(have, want)
        into.append(slice((want - length) // 2, (want - length) // 2 + length))
        of.append(slice((have - length) // 2, (have - length) // 2 + length))
    found[tuple(into)] = image[tuple(of)]
    return found


def _see_again(model: nn.Module, batches: tuple[Tensor, ...], device: torch.device) -> None:
    """Let batch norms count mean and deviation anew, which ten steps are too few for."""
    norms = [module for module in model.modules() if isinstance(module, _BatchNorm)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the mean over all that is seen
        norm.train()
    for images in batches if norms else ():
        seen = images.to(device)
        model(torch.cat([seen, seen.flip(-1)]) if len(seen) == 1 else seen)  # of a map of 1x1 one is too few
    model.eval()
