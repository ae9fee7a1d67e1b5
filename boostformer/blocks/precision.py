"""Guards for what a block must not compute in half precision."""

from __future__ import annotations

import contextlib

import torch
from torch import Tensor


def at_least_single(x: Tensor) -> Tensor:
    """``x`` in float32 where it is bfloat16 or float16; itself otherwise."""
    return x.float() if x.dtype in (torch.bfloat16, torch.float16) else x


def as_they_are(x: Tensor) -> contextlib.AbstractContextManager[object]:
    """A context in which products keep the precision of their factors, also under autocast, on the device of ``x``."""
    if x.is_meta or torch.compiler.is_exporting():  # neither has autocast
        return contextlib.nullcontext()
    return torch.autocast(x.device.type, enabled=False)
