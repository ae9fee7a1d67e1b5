"""The device and the precision that a network is scored with."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from accelerate import PartialState

from boostformer.errors import UserError, nearest

DEVICES = ("auto", "cpu", "cuda")
PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def processes() -> PartialState:
    """Give what this process knows of its device, and of the others of one training.

    Those that train together on CPUs say so by ``ACCELERATE_USE_CPU``, which accelerate must be told at first.
    """
    return PartialState(cpu=os.environ.get("ACCELERATE_USE_CPU", "").lower() in ("1", "true", "yes"))


def chosen_device(name: str) -> torch.device:
    """Find the device of a name in :data:`DEVICES`; "auto" is the one that training would take: a GPU if there is one.

    Raises :class:`UserError` for an unknown name, and for a GPU where torch finds none.
    """
    if name not in DEVICES:
        raise UserError(f"--device: unknown '{name}'; {nearest(name, DEVICES)}")
    if name == "auto":
        return processes().device
    if name == "cuda" and not torch.cuda.is_available():
        raise UserError("--device: 'cuda' is asked for, but torch finds no GPU; allowed here: auto, cpu")
    return torch.device(name)


def check_precision(name: str, device: torch.device) -> None:
    """Raise :class:`UserError` unless ``name`` is one of :data:`PRECISIONS` that ``device`` computes in."""
    if name not in PRECISIONS:
        raise UserError(f"--precision: unknown '{name}'; {nearest(name, PRECISIONS)}")
    if name == "fp16" and device.type == "cpu":
        raise UserError("--precision: 'fp16' is not computed on a CPU, allowed here: fp32, bf16")


@contextmanager
def computing(device: torch.device, precision: str = "fp32") -> Iterator[None]:
    """Compute in ``precision`` on ``device``; fp32 is that on a GPU, too, whose convolutions would drop bits else."""
    dtype, before = PRECISIONS[precision], torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = before and precision != "fp32"
    try:
        with torch.autocast(device.type, dtype=dtype, enabled=dtype is not torch.float32):
            yield
    finally:
        torch.backends.cudnn.allow_tf32 = before
