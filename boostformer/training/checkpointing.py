"""Less memory for gradients: of each encoder stage only the input is kept, and the rest computed again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from types import MethodType

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from boostformer.errors import UserError
from boostformer.model import Network


@contextmanager
def checkpointed_stages(model: nn.Module, wanted: bool) -> Iterator[None]:
    """Within the block the stages of ``model`` are computed twice in training, to the same gradients.

    UserError when that is ``wanted`` of a network without stages.
    """
    if not wanted:
        yield
        return
    if not isinstance(model, Network):
        raise UserError(f"gradient_checkpointing needs a network with stages, which {type(model).__name__} is not")
    stages = list(model.encoder.stages)
    for stage in stages:
        stage.forward = MethodType(_forward, stage)  # a method, which copies of the network have as their own
    try:
        yield
    finally:
        for stage in stages:
            del stage.forward


def _forward(stage: nn.Module, x: Tensor) -> Tensor:
    def once(x: Tensor) -> Tensor:
        result: Tensor = type(stage).forward(stage, x)
        return result

    if not stage.training:
        return once(x)
    result: Tensor = checkpoint(
        once, x, use_reentrant=False, context_fn=lambda: (nullcontext(), _without_statistics(stage))
    )
    return result


@contextmanager
def _without_statistics(stage: nn.Module) -> Iterator[None]:
    """The second time, BatchNorm computes the same, but the batch does not count once more in its statistics."""
    norms = [module for module in stage.modules() if isinstance(module, _BatchNorm)]
    kept = [dict(norm._buffers) for norm in norms]
    for norm, buffers in zip(norms, kept, strict=True):
        norm._buffers.update({name: value.clone() for name, value in buffers.items() if value is not None})
    try:
        yield
    finally:
        for norm, buffers in zip(norms, kept, strict=True):
            norm._buffers.update(buffers)
