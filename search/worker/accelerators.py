"""Choice of a worker's CUDA device, through ``CUDA_VISIBLE_DEVICES``, before torch looks at the devices."""

from __future__ import annotations

import os

from boostformer.errors import UserError

VISIBLE = "CUDA_VISIBLE_DEVICES"


def visible() -> list[str]:
    """Return the devices that this process may use, as the variable names them."""
    named = os.environ.get(VISIBLE)
    if named is not None:
        return [name.strip() for name in named.split(",") if name.strip()]
    import torch

    return [str(index) for index in range(torch.cuda.device_count())]


def share(worker: int) -> dict[str, str]:
    """Return the environment that gives worker number ``worker`` its device, in turn; empty without devices."""
    devices = visible()
    return {VISIBLE: devices[worker % len(devices)]} if devices else {}


def use(device: int) -> None:
    """Make this process train on the device of this number; :class:`UserError` when there is none."""
    devices = visible()
    if not 0 <= device < len(devices):
        there = f"0 to {len(devices) - 1}" if devices else "none, for there is no CUDA device"
        raise UserError(f"--device {device}: no such device, allowed: {there}")
    os.environ[VISIBLE] = devices[device]
