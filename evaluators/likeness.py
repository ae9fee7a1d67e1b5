"""Likeness: how near an heir's answers are to those of the network that it inherits from, before any training.

How much of a trained network is left in one of another structure is seen by running it. That takes about as long as two
steps of a training, and shows structures apart that are alike in size (docs/results/inheritance.md).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm

from boostformer.architecture import Architecture
from boostformer.data.normalise import normalise
from boostformer.model import BoostFormer
from boostformer.start import Trained, take_over
from boostformer.training.devices import processes
from evaluators.proxy import Proxy

PIXELS, FEWEST, MOST = 48 * 96 * 128, 8, 48
"""As many training images are looked at as have so many pixels, but no fewer and no more than these."""


class Likeness:
    """Compares networks that inherit from one trained network with it, on some images of the training part."""

    def __init__(self, trained: Trained, proxy: Proxy, seed: int = 0) -> None:
        """Run the trained network.

        Args:
            trained: what networks inherit from; it :func:`boostformer.start.answers_for` the images' classes.
            proxy: has the images.
            seed: chooses them, and what is drawn for parts of a network that cannot inherit.
        """
        self._trained, self._proxy, self._seed = trained, proxy, seed
        training, (height, width) = proxy.training, proxy.data.size
        count = min(len(training), max(FEWEST, min(MOST, PIXELS // (height * width))))
        drawn = torch.randperm(len(training), generator=torch.Generator().manual_seed(seed))[:count].tolist()
        images = torch.stack([torch.tensor(training.resized(index)[0]) for index in drawn])
        self._images = normalise(images.to(processes().device), proxy.normalisation)
        own = trained.architecture.replace(size=proxy.data.size, classes=len(proxy.labels), bands=proxy.bands)
        self._wanted = self._answers(own)

    def __call__(self, arch: Architecture) -> float:
        """Give how unlike the trained network's the answers of an heir are: 0 for equal ones.

        It is the Kullback-Leibler divergence of the classes' probabilities, in nats, the mean over pixels.
        """
        divergence = functional.kl_div(self._answers(arch), self._wanted, reduction="none", log_target=True)
        return float(divergence.sum(1).mean())

    @torch.no_grad()
    def _answers(self, arch: Architecture) -> Tensor:
        """Give the logarithms of probabilities (B, classes, H/4, W/4) of an heir that was not trained."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self._seed)
            model: BoostFormer = self._proxy.network(arch, self._proxy.recipes[0])
            take_over(model, self._trained, self._proxy.labels)
        model = model.to(self._images.device).eval()
        _see_again(model, self._images[: (len(self._images) + 1) // 2])
        return functional.log_softmax(model(self._images).float(), dim=1)


def _see_again(model: nn.Module, images: Tensor) -> None:
    """Let batch norms learn mean and deviation anew: those of the parent's wider maps say little of the heir's."""
    norms = [module for module in model.modules() if isinstance(module, _BatchNorm)]
    if not norms:
        return
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the mean over all that is seen
        norm.train()
    model(images)
    model.eval()
