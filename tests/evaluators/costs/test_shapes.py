"""Answers in the place of torch's kernels: as torch's own results, or none; and counting sees every way of calling."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from evaluators.costs.shapes import ANSWERS

MAP = (1, 6, 9, 7)


def meta(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.empty(shape, dtype=dtype, device="meta")


MAPS = {
    "contiguous": meta(*MAP),
    "channels last": meta(*MAP).to(memory_format=torch.channels_last),
    "transposed": meta(1, 9, 6, 7).transpose(1, 2),
    "part": meta(1, 12, 9, 14)[:, ::2, :, :7],
    "repeated": meta(1, 6, 1, 1).expand(*MAP),
    "half": meta(*MAP, dtype=torch.float16),
    "whole": meta(*MAP, dtype=torch.int64),
    "boolean": meta(*MAP, dtype=torch.bool),
}
CALLS: dict[str, Callable[[Tensor], Any]] = {
    "add": lambda x: x + x,
    "add a number": lambda x: x + 2.5,
    "subtract from a number": lambda x: 2.5 - x,
    "subtract": lambda x: x - 1,
    "add multiples": lambda x: torch.add(x, x, alpha=2),
    "scale channels": lambda x: x * meta(6, dtype=x.dtype)[:, None, None],
    "scaled channels": lambda x: meta(6, dtype=x.dtype)[:, None, None] * x,
    "broadcast both": lambda x: x[..., :1] * x[..., :1, :],
    "of a scalar": lambda x: meta(dtype=torch.float64) * x,
    "of another type": lambda x: x * meta(*MAP, dtype=torch.float64),
    "of truth": lambda x: x * (x == x),
    "divide": lambda x: x / 2,
    "into": lambda x: 2 / x,
    "round": lambda x: torch.div(x, 2, rounding_mode="floor"),
    "negative": lambda x: -x,
    "clamp": lambda x: x.clamp(min=1e-6),
    "clamp to whole": lambda x: x.clamp(0, 5),
    "clamp to a tensor": lambda x: x.clamp(min=meta(1)),
    "square": torch.square,
    "sqrt": torch.sqrt,
    "gelu": lambda x: functional.gelu(x, approximate="tanh"),
    "relu": lambda x: functional.relu(x, inplace=x.dtype.is_floating_point and 0 not in x.stride()),
    "method": lambda x: x.relu(),
    "sigmoid": lambda x: x.sigmoid(),
    "dropout": lambda x: functional.dropout(x, 0.5, training=False),
    "batch norm": lambda x: functional.batch_norm(x, meta(6), meta(6), meta(6), meta(6)),
    "batch norm of others": lambda x: functional.batch_norm(x, meta(5), meta(5)),
    "layer norm": lambda x: functional.layer_norm(x, (7,), meta(7), meta(7)),
    "layer norm of channels": lambda x: functional.layer_norm(x.permute(0, 2, 3, 1), (6,)),
    "layer norm of others": lambda x: functional.layer_norm(x, (6,)),
    "linear": lambda x: functional.linear(x, meta(5, 7), meta(5)),
    "linear of tokens": lambda x: functional.linear(x.flatten(2).transpose(1, 2), meta(5, 6), meta(5)),
    "linear of others": lambda x: functional.linear(x, meta(7, 5)),
    "convolution": lambda x: functional.conv2d(x, meta(4, 6, 3, 2), meta(4), 2, 1),
    "depthwise": lambda x: functional.conv2d(x, meta(6, 1, 5, 5), None, (1, 2), (2, 1), groups=6),
    "dilated": lambda x: functional.conv2d(x, meta(4, 6, 3, 3), dilation=2),
    "channels-last filters": lambda x: functional.conv2d(x, meta(4, 6, 3, 3).to(memory_format=torch.channels_last)),
    "padding by name": lambda x: functional.conv2d(x, meta(4, 6, 3, 3), padding="same"),
    "too large": lambda x: functional.conv2d(x, meta(4, 6, 11, 11)),
    "convolution of others": lambda x: functional.conv2d(x, meta(4, 5, 3, 3)),
    "attention": lambda x: functional.scaled_dot_product_attention(x, x[:, :, 1:], meta(1, 6, 8, 3)),
    "attention of others": lambda x: functional.scaled_dot_product_attention(x, x, x[:, :, 1:]),
    "resize": lambda x: functional.interpolate(x, size=(3, 20), mode="bilinear"),
    "resize to a square": lambda x: functional.interpolate(x, 4),
    "resize by": lambda x: functional.interpolate(x, scale_factor=2.0, mode="bilinear"),
}


def result(call: Callable[[Tensor], Any], x: Tensor) -> Any:
    """Shape, type and order of what it gives, or that it fails."""
    try:
        found = call(x)
    except (RuntimeError, ValueError):
        return "fails"
    strides = [step for step, length in zip(found.stride(), found.shape, strict=True) if length > 1]
    return found.shape, found.dtype, strides, found.device


@pytest.mark.parametrize("layout", MAPS)
@pytest.mark.parametrize("name", CALLS)
def test_an_answer_is_as_torchs_own(name: str, layout: str) -> None:
    call, x = CALLS[name], MAPS[layout]
    with torch.no_grad():
        expected = result(call, x)
        with Answering():
            assert result(call, x) == expected


class Answering(TorchFunctionMode):
    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        answer = ANSWERS.get(func)
        found = answer(*args, **(kwargs or {})) if answer else None
        return func(*args, **(kwargs or {})) if found is None else found
