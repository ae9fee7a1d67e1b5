"""Weights in files of others' making: only numbers that a network can compute with come through."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from boostformer.errors import UserError
from boostformer.files import check_regular

LONGEST_HEADER = 16 << 20
"""Bytes of the names, types and shapes in a safetensors file; those of a network have some 100 KB."""
_FLOATS = (torch.float32, torch.float16, torch.bfloat16)
_COUNTER = "num_batches_tracked"
"""Ends the name of the one tensor of a BatchNorm that is a whole number."""


def read_tensors(file: Path) -> dict[str, Tensor]:
    """Read a safetensors file; :class:`UserError` when it is missing, damaged or fails :func:`check_tensors`."""
    try:
        check_regular(file)
        with file.open("rb") as stream:
            length, size = int.from_bytes(stream.read(8), "little"), os.fstat(stream.fileno()).st_size
        if size < 8 or length > min(size - 8, LONGEST_HEADER):
            raise UserError(f"{file}: damaged or not a weights file: its header's length is wrong")
        tensors = load_file(file)
    except FileNotFoundError:
        raise UserError(f"{file}: no such file") from None
    except OSError as error:
        raise UserError(f"{file}: cannot be read: {error.strerror}") from None
    except (SafetensorError, ValueError, TypeError, KeyError, AttributeError, RuntimeError) as error:
        raise UserError(f"{file}: damaged or not a weights file: {' '.join(str(error).split())[:200]}") from None
    return check_tensors(tensors, file)


def check_tensors(tensors: object, file: Path) -> dict[str, Tensor]:
    """Give ``tensors`` by name; :class:`UserError`, which names ``file``, when one is not what a network computes with.

    That is finite float32, float16 or bfloat16; the counters of BatchNorms are whole numbers.
    """
    if not isinstance(tensors, Mapping):
        raise UserError(f"{file}: damaged or not a weights file: holds no weights by name")
    for name, value in tensors.items():
        if not isinstance(name, str) or not isinstance(value, Tensor) or value.layout is not torch.strided:
            raise UserError(f"{file}: damaged or not a weights file: {str(name)[:80]!a} is no weight")
        allowed = (torch.int64,) if name.endswith(_COUNTER) else _FLOATS
        if value.dtype not in allowed:
            kinds = ", ".join(str(kind).removeprefix("torch.") for kind in allowed)
            found = str(value.dtype).removeprefix("torch.")
            raise UserError(f"{file}: weight {name[:80]!a} is of {found}, allowed: {kinds}")
        if not torch.isfinite(value).all():
            raise UserError(f"{file}: weight {name[:80]!a} holds numbers that are not finite; train or convert it anew")
    return dict(tensors)
