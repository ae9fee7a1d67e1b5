"""Exact parameters and MACs of any module, from the shapes that its functions are given: nothing is computed.

A MAC is one multiply-add of a convolution, a linear layer or a matrix product of attention; norms, poolings,
resizes and activations count nothing. The module runs once on the meta device, and each function of torch that it
calls is looked up. A function that is on neither list here is an error, so that no block is ever counted as a
silent zero. The tests hold every block and many networks against fvcore (:mod:`evaluators.costs.referee`).
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from inspect import isdatadescriptor
from itertools import chain
from math import prod
from operator import add, attrgetter
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode, resolve_name
from torch.utils._python_dispatch import TorchDispatchMode

from evaluators.costs.shapes import ANSWERS, named, shapes_only


@dataclass(frozen=True, slots=True)
class Cost:
    """Exact cost of a network or a part at batch 1: parameters, and MACs outside and inside of attention."""

    params: int = 0
    conv_linear_macs: int = 0
    attention_macs: int = 0

    @property
    def macs(self) -> int:
        return self.conv_linear_macs + self.attention_macs

    @property
    def values(self) -> tuple[int, ...]:
        """The fields in their order: a row of a table."""
        found: tuple[int, ...] = _values(self)
        return found

    def __add__(self, other: Cost) -> Cost:
        return Cost(*map(add, self.values, other.values))

    def __mul__(self, times: int) -> Cost:
        return Cost(*(value * times for value in self.values))


_values = attrgetter(*(field.name for field in fields(Cost)))


def _convolution(out: Tensor, input: Tensor, weight: Tensor, *rest: Any, **options: Any) -> int:
    """Count one MAC for each output value and each weight of its filter."""
    return out.numel() * prod(weight.shape[1:])


def _product(out: Tensor, input: Tensor, *rest: Any, **options: Any) -> int:
    """Count matrix products: every output value is a sum over the last dimension of ``input``."""
    return out.numel() * input.shape[-1]


def _product_and_sum(out: Tensor, input: Tensor, factor: Tensor, *rest: Any, **options: Any) -> int:
    return _product(out, factor)


def _scaled_dot_product(out: Tensor, query: Tensor, key: Tensor, *rest: Any, **options: Any) -> int:
    """Count N·M·d for the scores and N·M·e for the sum: query (…, N, d), key (…, M, d), value (…, M, e)."""
    return prod(out.shape[:-1]) * key.shape[-2] * (query.shape[-1] + out.shape[-1])


# The result and the arguments of a function -> its MACs.
_Formulas = dict[str, Callable[..., int]]
_CONV_LINEAR: _Formulas = {
    "conv1d conv2d conv3d": _convolution,
    "linear": _product,
    "addmm": _product_and_sum,
}
_ATTENTION: _Formulas = {
    "matmul mm bmm": _product,
    "baddbmm": _product_and_sum,
    "scaled_dot_product_attention": _scaled_dot_product,
}
COUNTED: dict[Any, tuple[Callable[..., int], bool]] = {
    function: (formula, formulas is _ATTENTION)
    for formulas in (_CONV_LINEAR, _ATTENTION)
    for names, formula in formulas.items()
    for function in named(names)
}
"""The formula of each function that costs MACs, and whether it is part of attention."""

FREE = named(
    # Shape and memory.
    """
    cat chunk clone contiguous copy_ detach empty expand expand_as flatten full gather index_select masked_fill
    movedim narrow ones pad permute reshape roll select split split_with_sizes squeeze stack to transpose type_as
    unbind unflatten unsqueeze view view_as where zeros arange embedding bfloat16 bool double float half long
    __getitem__ __iter__ __setitem__ empty_like full_like new_empty new_full new_zeros ones_like zeros_like
    """
    # Questions about a tensor.
    "__len__ dim is_contiguous is_floating_point nelement numel size stride "
    # Norms, pooling, resizing.
    "adaptive_avg_pool2d argmax avg_pool2d batch_norm group_norm layer_norm interpolate max max_pool2d mean sum "
    # Element by element.
    """
    abs add add_ clamp clamp_ div div_ dropout dropout2d eq exp floor ge gelu gt hardswish hardtanh le leaky_relu
    leaky_relu_ lt mul mul_ ne neg relu relu_ relu6 rsub sigmoid silu softmax sqrt square sub sub_ tanh
    __and__ __eq__ __floordiv__ __invert__ __mod__ __ne__ __rsub__ __rtruediv__
    """
) | {getattr(Tensor, name).__get__ for name in dir(Tensor) if isdatadescriptor(getattr(Tensor, name))}
"""Functions that cost nothing, reading an attribute of a tensor among them."""


See = Callable[[Any, Any, tuple[Any, ...], dict[str, Any]], None]
"""Is called with a function that ran, its result, its positional and its keyword arguments."""


class _Watching(TorchFunctionMode):
    """Shows every function that is called to ``see``, and collects the names of unknown ones."""

    def __init__(self, see: See) -> None:
        super().__init__()
        self.see = see
        self.unknown: set[str] = set()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        with torch._C._DisableTorchDispatch():  # what func is made of is counted with it
            answer = ANSWERS.get(func)
            result = answer(*args, **kwargs) if answer else None
            if result is None:
                if func not in FREE and func not in COUNTED:
                    self.unknown.add(resolve_name(func) or str(func))
                result = func(*args, **kwargs)
            self.see(func, result, args, kwargs)
        return result


class _Unseen(TorchDispatchMode):
    """Collects the operators that run without a function of torch that was called in Python, as in TorchScript."""

    def __init__(self, unknown: set[str]) -> None:
        super().__init__()
        self.unknown = unknown

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.unknown.add(str(func))
        return func(*args, **(kwargs or {}))


def count(module: nn.Module, *inputs: Any) -> Cost:
    """Count the cost of ``module`` for meta tensors ``inputs`` (batch 1); ValueError names an unknown function."""
    params = sum(p.numel() for p in module.parameters())
    macs = [0, 0]  # of convolutions and linear layers, of attention

    def add(func: Any, result: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if func in COUNTED:
            formula, attention = COUNTED[func]
            macs[attention] += formula(result, *args, **kwargs)

    watch(module, inputs, add)
    return Cost(params, *macs)


def watch(module: nn.Module, inputs: Sequence[Any], see: See) -> None:
    """Run ``module`` on the meta device and show its calls; ValueError names a function that is on no list."""
    on_meta = all(tensor.is_meta for tensor in chain(module.parameters(), module.buffers()))
    shadow = module.eval() if on_meta else copy.deepcopy(module).to("meta").eval()
    watching = _Watching(see)
    failure: Exception | None = None
    with torch.no_grad(), _Unseen(watching.unknown), watching:
        try:
            shadow(*inputs)
        except (RuntimeError, TypeError) as error:  # what asks a meta tensor for its values raises one of these
            if not watching.unknown:
                raise
            failure = error
    if watching.unknown:
        raise ValueError(
            f"{type(module).__name__}: operators {sorted(watching.unknown)} have no count; add each to COUNTED or "
            "FREE in evaluators/costs/counting.py"
        ) from failure


__all__ = ["COUNTED", "FREE", "Cost", "count", "shapes_only", "watch"]
