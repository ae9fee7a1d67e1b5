"""Trainings that replay their network's kernels, and their teacher's: who can, and from which batch on."""

from __future__ import annotations

from collections.abc import Callable

import torch
from accelerate import Accelerator
from accelerate.utils import send_to_device
from torch import nn

from boostformer.replay import recorded
from boostformer.teachers.networks import LiveTeacher
from boostformer.training.loading import first_batch
from boostformer.training.recipes import Recipe
from boostformer.training.tasks import Task
from boostformer.training.taught import TaughtTask


def records(recipe: Recipe, accelerator: Accelerator) -> bool:
    """Tell whether a training can replay: on one GPU, with batches whole and nothing computed a second time."""
    alone = accelerator.device.type == "cuda" and accelerator.num_processes == 1
    twice = recipe.gradient_checkpointing or recipe.accumulate > 1
    return recipe.graph and alone and not recipe.compile and not twice


def recorded_for(
    network: nn.Module,
    accelerator: Accelerator,
    task: Task,
    recipe: Recipe,
    says: Callable[[str], None] | None = None,
) -> nn.Module:
    """Give what replays ``network`` in a training; a teacher replays from then on.

    Says so and gives the network itself where a part of it cannot be recorded, such as one that reads a value back.

    Args:
        network: in training, on a GPU, without gradients.
        accelerator: of the training.
        task: has the batches, all of which are of one shape.
        recipe: of the training.
        says: called with a line for the person watching.
    """
    images, targets = send_to_device(first_batch(task, recipe), accelerator.device)
    try:
        with accelerator.autocast():  # a teacher sees the batch
            inputs = task.batch(images, targets, 0)[0]
            if isinstance(task, TaughtTask) and isinstance(task.teacher, LiveTeacher):
                task.ask = task.teacher.recorded(inputs)
        return recorded(network, inputs.clone())
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        if says is not None:
            reason = str(error).splitlines()[0]
            says(f"not recorded as a CUDA graph, so slower: a part of the network cannot be ({reason})")
        return network
