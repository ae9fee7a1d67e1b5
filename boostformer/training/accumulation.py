"""Gradients of a batch: at once, in parts that take less memory, or of several processes with a part each."""

from __future__ import annotations

from contextlib import nullcontext

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from boostformer.training.losses import LEAST
from boostformer.training.tasks import Task


def gradients(
    accelerator: Accelerator, task: Task, network: nn.Module, inputs: Tensor, targets: Tensor, parts: int
) -> Tensor:
    """Add the loss's gradients to those of the network, and return the loss.

    In several parts they are those of the whole batch, for a network whose images do not influence each other, as they
    do in BatchNorm. Of several processes each has a loss whose mean is that of the whole batch.

    Args:
        accelerator: computes the gradients, and those of all processes together after the last part.
        task: has the loss.
        network: gives what the loss is of.
        inputs: the network's, of this process.
        targets: the loss's.
        parts: how many are computed one after the other.
    """
    if parts == 1 and (accelerator.num_processes == 1 or not isinstance(targets, Tensor)):
        loss = task.loss(network(inputs), targets)
        accelerator.backward(loss)
        return loss
    whole = accelerator.reduce(task.weight(targets), "mean").clamp(min=LEAST)
    total = torch.zeros((), device=inputs.device)
    pieces = list(zip(inputs.chunk(parts), targets.chunk(parts), strict=True))
    for number, (some, wanted) in enumerate(pieces, 1):
        with nullcontext() if number == len(pieces) else accelerator.no_sync(network):
            loss = task.loss(network(some), wanted) * (task.weight(wanted) / whole)
            accelerator.backward(loss)
        total += loss.detach()
    return total
