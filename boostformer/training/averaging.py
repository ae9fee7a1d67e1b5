"""The network that is scored and saved: a moving average of the trained one, or what that is at the time."""

from __future__ import annotations

import copy
from functools import cached_property

import torch
from torch import Tensor, nn


class Scored:
    """A copy of ``model`` beside its training: never wrapped, compiled or in half precision, and in eval mode.

    With ``decay`` above 0 it is the exponential moving average of weights and BatchNorm statistics; else it follows
    them when it is asked for.

    Args:
        model: whose training begins.
        decay: of the average, 0…1; the first iterations' is smaller, so that the random start is soon forgotten.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self._model, self.decay = model, decay
        self._network = copy.deepcopy(model).eval().requires_grad_(False)

    def to(self, device: torch.device) -> None:
        """Bring the copy to where the training computes, before anything else is asked of it."""
        self._network.to(device)

    def update(self, iteration: int) -> None:
        """Take the model's state after ``iteration`` iterations (1…) into the average."""
        if not self.decay:
            return
        averages, values = self._floats
        decay = min(self.decay, (1 + iteration) / (10 + iteration))
        with torch.no_grad():
            torch._foreach_lerp_(averages, values, 1 - decay)

    def network(self) -> nn.Module:
        """Give what is to be scored now; it changes with the next :meth:`update`."""
        if not self.decay:
            self._network.load_state_dict(self._model.state_dict())
        else:  # counters of batches
            for mine, own in zip(self._network.buffers(), self._model.buffers(), strict=True):
                if not mine.is_floating_point():
                    mine.copy_(own)
        return self._network

    def finish(self) -> None:
        """Put the average into the model, whose training is over."""
        if self.decay:
            self._model.load_state_dict(self.network().state_dict())

    def tensors(self) -> dict[str, Tensor]:
        """Collect what a resumed training needs: nothing without an average."""
        return plain(self._network) if self.decay else {}

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Take up what :meth:`tensors` gave."""
        if self.decay:
            self._network.load_state_dict(tensors)

    @cached_property
    def _floats(self) -> tuple[list[Tensor], list[Tensor]]:
        """The copy's and the model's values of floating point, which share the memory of their parameters."""
        mine, own = self._network.state_dict(), self._model.state_dict()
        names = [name for name, value in mine.items() if value.is_floating_point()]
        return [mine[name] for name in names], [own[name] for name in names]


def plain(network: nn.Module) -> dict[str, Tensor]:
    """Copy a network's state to the CPU, each tensor with memory of its own."""
    return {name: value.detach().to("cpu", copy=True).contiguous() for name, value in network.state_dict().items()}
