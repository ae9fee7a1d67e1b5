"""Shapes of results without torch's own kernels for the meta device, which are written in Python and slow.

:data:`ANSWERS` stands in for the functions that take most of the time. An answer is called as its function is and
gives an empty tensor as the result would be (shape, type, order in memory), or None where this does not follow
plainly from the inputs: then the function itself must run, which also says what is wrong with them.
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
    """The functions of these names: torch's, functional's, and the methods."""
    spaces = (torch, functional, Tensor)
    return frozenset(getattr(space, name) for name in names.split() for space in spaces if hasattr(space, name))


def _like(x: Tensor, dtype: torch.dtype) -> Tensor | None:
    """Dense, of the shape of ``x`` and with the dimensions in the same order in memory."""
    strides = x.stride()
    if 0 in strides:  # what is only repeated has no order
        return None
    order = sorted(range(len(strides)), key=strides.__getitem__, reverse=True)
    return torch.empty_permuted(x.shape, order, dtype=dtype, device="meta")


def _new(shape: Sequence[int], like: Tensor) -> Tensor:
    return torch.empty(shape, dtype=like.dtype, device="meta")


def _floating(first: Tensor, *others: Tensor) -> bool:
    """Whether these are on the meta device and of one floating type."""
    if not first.is_meta or not first.is_floating_point():
        return False
    return all(x.is_meta and x.dtype is first.dtype for x in others)


def _fits(shape: torch.Size, wide: torch.Size) -> bool:
    """Whether ``shape`` is ``wide`` or can be broadcast to it."""
    if shape == wide:
        return True
    pairs = zip(reversed(shape), reversed(wide), strict=False)
    return len(shape) <= len(wide) and all(n in (1, m) for n, m in pairs)


def _wide(operands: Sequence[Any], options: dict[str, Any]) -> tuple[Tensor, torch.dtype] | None:
    """The operand to whose shape all are broadcast, and the common type of the tensors."""
    wide: Tensor | None = None
    for operand in operands:
        if isinstance(operand, Tensor):
            if not operand.is_meta:
                return None
            if wide is None:
                wide, dtype = operand, operand.dtype
                continue
            if operand.dtype is not dtype:
                if not operand.dim() or not wide.dim():  # what has no dimension hardly counts for the type
                    return None
                dtype = torch.promote_types(dtype, operand.dtype)
            if not _fits(operand.shape, wide.shape):
                if not _fits(wide.shape, operand.shape):
                    return None
                wide = operand
        elif not isinstance(operand, _PLAIN):
            return None
    if wide is None or not all(isinstance(option, _PLAIN) for option in options.values()):
        return None
    return wide, dtype


def _elementwise(*operands: Any, **options: Any) -> Tensor | None:
    """Of floating numbers: these remain what they are."""
    found = _wide(operands, options)
    return _like(*found) if found and found[1].is_floating_point else None


def _activation(input: Tensor, *rest: Any, inplace: bool = False, **options: Any) -> Tensor | None:
    """In place, the input itself."""
    if inplace or any(option is True for option in rest):
        return input if _floating(input) and 0 not in input.stride() else None
    return _elementwise(input, *rest, **options)


def _arithmetic(*operands: Any, **options: Any) -> Tensor | None:
    """Also of integers among themselves."""
    found = _wide(operands, options)
    if found is None:
        return None
    whole = found[1] is torch.int64 and not any(isinstance(x, float) for x in (*operands, *options.values()))
    return _like(*found) if whole or found[1].is_floating_point else None


def _comparison(*operands: Any, **options: Any) -> Tensor | None:
    found = _wide(operands, options)
    return _like(found[0], torch.bool) if found else None


def _batch_norm(input: Tensor, running_mean: Tensor | None = None, *rest: Any, **options: Any) -> Tensor | None:
    fits = running_mean is not None and input.dim() > 1 and input.shape[1] == len(running_mean)
    return _like(input, input.dtype) if fits and _floating(input) else None


def _group_norm(input: Tensor, num_groups: int, *rest: Any, **options: Any) -> Tensor | None:
    fits = input.dim() > 1 and input.shape[1] % num_groups == 0
    return _new(input.shape, input) if fits and _floating(input) else None


def _layer_norm(input: Tensor, normalized_shape: Sequence[int], *rest: Any, **options: Any) -> Tensor | None:
    fits = input.shape[-len(normalized_shape) :] == tuple(normalized_shape)
    return _new(input.shape, input) if fits and _floating(input) else None


def _softmax(input: Tensor, *rest: Any, **options: Any) -> Tensor | None:
    plain = all(isinstance(x, _PLAIN) for x in (*rest, *options.values()))
    return _new(input.shape, input) if plain and _floating(input) else None


def _linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor | None:
    fits = input.dim() > 1 and weight.dim() == 2 and input.shape[-1] == weight.shape[1]
    return _new((*input.shape[:-1], weight.shape[0]), input) if fits and _floating(input, weight) else None


def _matmul(input: Tensor, other: Tensor) -> Tensor | None:
    """Of stacks of equal size only."""
    stacked = input.dim() == other.dim() > 1 and input.shape[:-2] == other.shape[:-2]
    fits = stacked and input.shape[-1] == other.shape[-2]
    return _new((*input.shape[:-1], other.shape[-1]), input) if fits and _floating(input, other) else None


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
    """Of maps, to a given size."""
    pair = _pair(size)
    if pair is None or scale_factor is not None or input.dim() != 4 or not input.is_contiguous():
        return None
    return _new((*input.shape[:2], *pair), input) if _floating(input) else None


def _cat(tensors: Sequence[Tensor], dim: int = 0) -> Tensor | None:
    first, length = tensors[0], 0
    before, after = first.shape[:dim], first.shape[dim:][1:]
    for x in tensors:
        if x.shape[:dim] != before or x.shape[dim:][1:] != after or not x.is_contiguous():
            return None
        length += x.shape[dim]
    return _new((*before, length, *after), first) if _floating(*tensors) else None


def _arange(end: Any, *rest: Any, dtype: Any = None, device: Any = None) -> Tensor | None:
    plain = type(end) is int and not rest and device is not None and torch.device(device).type == "meta"
    return torch.empty(end, dtype=dtype or torch.int64, device="meta") if plain else None


Answer = Callable[..., Tensor | None]
_NAMED: dict[str, Answer] = {
    "add sub mul rsub __rsub__ neg abs clamp square": _arithmetic,
    "div pow __pow__ __rtruediv__ floor exp sqrt": _elementwise,
    "tanh sigmoid relu relu6 leaky_relu gelu silu hardswish": _activation,
    "softmax": _softmax,
    "eq ne lt le gt ge __eq__ __ne__": _comparison,
    "batch_norm": _batch_norm,
    "group_norm": _group_norm,
    "layer_norm": _layer_norm,
    "linear": _linear,
    "matmul": _matmul,
    "cat": _cat,
    "arange": _arange,
    "conv2d": _conv2d,
    "scaled_dot_product_attention": _attention,
    "interpolate": _interpolate,
}
ANSWERS = {function: answer for names, answer in _NAMED.items() for function in named(names)}

_FILLING = named("fill_ zero_") | {
    getattr(nn.init, name) for name in dir(nn.init) if name.endswith("_") and not name.startswith("_")
}


class _Empty(TorchFunctionMode):
    """Answers, and leaves tensors empty that are to be filled."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in _FILLING:
            return args[0] if args else kwargs["tensor"]
        answer = ANSWERS.get(func)
        found = answer(*args, **kwargs) if answer else None
        return func(*args, **kwargs) if found is None else found


@contextmanager
def shapes_only() -> Iterator[None]:
    """Build modules and tensors on the meta device, as fast as may be."""
    with torch.device("meta"), _Empty():
        yield
