"""Where a block must not compute in half precision."""

from __future__ import annotations

import contextlib

import torch
from torch import Tensor


def at_least_single(x: Tensor) -> Tensor:
    """``x`` in float32 where it is bfloat16 or float16; itself otherwise."""
    return x.float() if x.dtype in (torch.bfloat16, torch.float16) else x


def as_they_are(x: Tensor) -> contextlib.AbstractContextManager[object]:
    """Products are formed in the precision of their factors, also under autocast; ``x`` tells the device."""
    if x.is_meta or torch.compiler.is_exporting():  # neither has autocast
        return contextlib.nullcontext()
    return torch.autocast(x.device.type, enabled=False)
