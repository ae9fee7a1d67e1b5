"""Agreements among the processes of one training: the statistics of a batch, and when to save and stop."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import MethodType
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, distributed, nn
from torch.nn.modules.batchnorm import _BatchNorm


def agreed(accelerator: Accelerator, *wishes: bool) -> list[bool]:
    """Tell of each wish whether any process has it; where there are several, all must ask at the same iteration."""
    if accelerator.num_processes == 1:
        return list(wishes)
    having = accelerator.reduce(torch.tensor(wishes, dtype=torch.float32, device=accelerator.device), "sum")
    return [count > 0 for count in having.tolist()]


@contextmanager
def shared_statistics(model: nn.Module, accelerator: Accelerator) -> Iterator[None]:
    """Within the block BatchNorms in training take mean and variance of the whole batch, not of a process's part.

    All parts must be of one size. torch's SyncBatchNorm does the same, but on GPUs alone.
    """
    several = accelerator.num_processes > 1
    norms = [module for module in model.modules() if isinstance(module, _BatchNorm)] if several else []
    for norm in norms:
        norm.forward = MethodType(_forward, norm)  # type: ignore[method-assign]
    try:
        yield
    finally:
        for norm in norms:
            del norm.forward


def _forward(norm: _BatchNorm, x: Tensor) -> Tensor:
    if not norm.training:
        result: Tensor = type(norm).forward(norm, x)
        return result
    axes = [axis for axis in range(x.dim()) if axis != 1]
    shape = [-1 if axis == 1 else 1 for axis in range(x.dim())]
    values = x.float()  # sums in half precision would lose the variance
    variance, mean = torch.var_mean(values, axes, correction=0)
    means, variances = _Gathered.apply(torch.stack([mean, variance])).unbind(1)
    mean = means.mean(0)
    variance = (variances + (means - mean) ** 2).mean(0)
    if norm.running_mean is not None:
        _take_note(norm, mean.detach(), variance.detach(), len(means) * x.numel() // x.shape[1])
    scale = torch.rsqrt(variance + norm.eps)
    scale = scale if norm.weight is None else scale * norm.weight
    result = (values - mean.view(shape)) * scale.view(shape)
    return (result if norm.bias is None else result + norm.bias.view(shape)).to(x.dtype)


def _take_note(norm: _BatchNorm, mean: Tensor, variance: Tensor, count: int) -> None:
    """Take the mean and variance, (C,) each, of ``count`` values into the running ones."""
    assert norm.running_mean is not None and norm.running_var is not None and norm.num_batches_tracked is not None
    norm.num_batches_tracked.add_(1)
    share = 1 / int(norm.num_batches_tracked) if norm.momentum is None else norm.momentum
    norm.running_mean.lerp_(mean, share)
    norm.running_var.lerp_(variance * count / (count - 1), share)


class _Gathered(torch.autograd.Function):
    """A tensor of each process, of one shape: (processes, …)."""

    @staticmethod
    def forward(ctx: Any, own: Tensor) -> Tensor:
        found = [torch.empty_like(own) for _ in range(distributed.get_world_size())]
        distributed.all_gather(found, own)
        return torch.stack(found)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        gradient = gradients[0].clone(memory_format=torch.contiguous_format)
        distributed.all_reduce(gradient)
        return gradient[distributed.get_rank()]
