"""A network's kernels on a GPU, recorded once and replayed: small networks otherwise wait for their launches.

A lightweight network has more than a thousand kernels of a few microseconds each, which Python launches one by one. A
CUDA graph (torch.cuda.make_graphed_callables) launches all of a forward or backward pass at once; what is computed
stays the same.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import nn


class _Shell(nn.Module):
    """Around a module, which keeps its own ``forward``: torch replaces that of what it records."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, inputs: Any) -> Any:
        return self.module(inputs)


def recorded(module: nn.Module, inputs: Any) -> nn.Module:
    """Record the forward pass of ``module``, and the backward pass where it learns, and give what replays them.

    Its outputs are overwritten by the next call. Values of parameters and buffers, and the state of the random numbers,
    are afterwards what they were. RuntimeError where it cannot be recorded, as where it reads a value back.

    Args:
        module: in the mode in which it will be used, on a GPU, without gradients.
        inputs: of the shape and layout that all later ones have; overwritten by each.
    """
    kept = [(buffer, buffer.clone()) for buffer in module.buffers()]
    random = torch.cuda.get_rng_state()
    torch.autograd.graph.set_warn_on_accumulate_grad_stream_mismatch(False)  # recorded and replayed on two of them
    try:
        with _uncached(), _uncollected():
            shell: Any = torch.cuda.make_graphed_callables(_Shell(module), (inputs,), allow_unused_input=True)
        found: nn.Module = shell
        return found
    finally:
        torch.cuda.synchronize()
        torch.cuda.set_rng_state(random)
        with torch.no_grad():
            for buffer, value in kept:
                buffer.copy_(value)


@contextmanager
def _uncollected() -> Iterator[None]:
    """Have nothing collected meanwhile: a graph of an earlier network that is freed then ends the recording."""
    gc.collect()
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()


def _uncached() -> AbstractContextManager[object]:
    """Within autocast, have weights cast in every pass: a recorded pass would find those of the rehearsals."""
    if not torch.is_autocast_enabled("cuda"):  # autocast within the module, which then ends with each pass
        return nullcontext()
    return torch.autocast("cuda", torch.get_autocast_dtype("cuda"), cache_enabled=False)
