"""Shapes of results without torch's own kernels for the meta device, which are written in Python and slow.

:data:`ANSWERS` stands in for the functions that take most of the time: all parts of a space are counted in half the
time. An answer is called as its function is and gives an empty tensor as the result would be (shape, type, order in
memory), or None where this does not follow plainly from the inputs: then the function itself must run, which also says
what is wrong with them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

_PLAIN = (type(None), bool, int, float, str)


def named(names: str) -> frozenset[Any]:
    """Find the functions of these names: in ``torch``, in ``torch.nn.functional``, and methods of tensors."""
    spaces = (torch, functional, Tensor)
    return frozenset(getattr(space, name) for name in names.split() for space in spaces if hasattr(space, name))


def _new(shape: Sequence[int], like: Tensor) -> Tensor:
    return torch.empty(shape, dtype=like.dtype, device="meta")


def _floating(first: Tensor, *others: Tensor) -> bool:
    """Tell whether these are on the meta device and of one floating type."""
    if not first.is_meta or not first.is_floating_point():
        return False
    return all(x.is_meta and x.dtype is first.dtype for x in others)


def _elementwise(*operands: Any, inplace: bool = False, **options: Any) -> Tensor | None:
    """Answer for contiguous floating tensors, which are broadcast, and numbers."""
    tensors = [x for x in operands if isinstance(x, Tensor)]
    others = [x for x in operands if not isinstance(x, Tensor)]
    if not all(isinstance(x, _PLAIN) for x in (*others, *options.values())):
        return None
    if not tensors or not _floating(*tensors) or not all(x.is_contiguous() for x in tensors):
        return None
    if inplace:
        return tensors[0]
    if len(tensors) == 1:
        return _new(tensors[0].shape, tensors[0])
    try:
        return _new(torch.broadcast_shapes(*(x.shape for x in tensors)), tensors[0])
    except RuntimeError:
        return None


def _batch_norm(input: Tensor, running_mean: Tensor | None = None, *rest: Any, **options: Any) -> Tensor | None:
    fits = running_mean is not None and input.dim() > 1 and input.shape[1] == len(running_mean)
    return _new(input.shape, input) if fits and _floating(input) and input.is_contiguous() else None


def _layer_norm(input: Tensor, normalized_shape: Sequence[int], *rest: Any, **options: Any) -> Tensor | None:
    fits = input.shape[-len(normalized_shape) :] == tuple(normalized_shape)
    return _new(input.shape, input) if fits and _floating(input) else None


def _linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor | None:
    fits = input.dim() > 1 and weight.dim() == 2 and input.shape[-1] == weight.shape[1]
    return _new((*input.shape[:-1], weight.shape[0]), input) if fits and _floating(input, weight) else None


def _pair(value: Any) -> Sequence[int] | None:
    if isinstance(value, int):
        return value, value
    return value if isinstance(value, tuple) and len(value) == 2 else None


def _conv2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Tensor | None:
    steps, pads, gaps = _pair(stride), _pair(padding), _pair(dilation)
    if steps is None or pads is None or gaps is None or not input.dim() == weight.dim() == 4:
        return None
    width, in_width, *kernel = weight.shape
    if input.shape[1] != in_width * groups or width % groups:
        return None
    size = [
        (length + 2 * pad - gap * (side - 1) - 1) // step + 1
        for length, side, step, pad, gap in zip(input.shape[2:], kernel, steps, pads, gaps, strict=True)
    ]
    return _new((input.shape[0], width, *size), input) if min(size) > 0 and _floating(input, weight) else None


def _attention(query: Tensor, key: Tensor, value: Tensor, *rest: Any, **options: Any) -> Tensor | None:
    fits = (
        _floating(query, key, value)
        and query.dim() == key.dim() == value.dim() > 2
        and query.shape[:-2] == key.shape[:-2] == value.shape[:-2]
        and query.shape[-1] == key.shape[-1]
        and key.shape[-2] == value.shape[-2]
    )
    return _new((*query.shape[:-1], value.shape[-1]), query) if fits else None


def _interpolate(input: Tensor, size: Any = None, scale_factor: Any = None, **options: Any) -> Tensor | None:
    """Answer for maps that are resized to a given size."""
    pair = _pair(size)
    if pair is None or scale_factor is not None or input.dim() != 4 or not input.is_contiguous():
        return None
    return _new((*input.shape[:2], *pair), input) if _floating(input) else None


Answer = Callable[..., Tensor | None]
_NAMED: dict[str, Answer] = {
    "add sub mul div rsub __rsub__ neg clamp square sqrt relu relu6 gelu silu hardswish sigmoid": _elementwise,
    "batch_norm": _batch_norm,
    "layer_norm": _layer_norm,
    "linear": _linear,
    "conv2d": _conv2d,
    "scaled_dot_product_attention": _attention,
    "interpolate": _interpolate,
}
ANSWERS = {function: answer for names, answer in _NAMED.items() for function in named(names)}

_FILLING = named("fill_ zero_") | {
    getattr(nn.init, name) for name in dir(nn.init) if name.endswith("_") and not name.startswith("_")
}


class _Empty(TorchFunctionMode):
    """Gives the answers, and leaves tensors empty that are to be filled."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in _FILLING:
            return args[0] if args else kwargs["tensor"]
        answer = ANSWERS.get(func)
        found = answer(*args, **kwargs) if answer else None
        return func(*args, **kwargs) if found is None else found


@contextmanager
def shapes_only() -> Iterator[None]:
    """Build modules and tensors on the meta device, fast, for their shapes alone."""
    with torch.device("meta"), _Empty():
        yield
