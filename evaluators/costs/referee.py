"""The referee of :mod:`evaluators.costs.counting`: fvcore's FlopCountAnalysis, which follows a module by tracing it.

It shares no code with what it judges, but for :class:`Cost`. Only tests and the benchmark need it: it is slow.
"""

from __future__ import annotations

import copy
import logging
import warnings
from collections import Counter
from collections.abc import Callable
from itertools import chain
from math import prod
from typing import Any

import torch
from fvcore.nn import FlopCountAnalysis
from fvcore.nn.jit_handles import addmm_flop_jit, bmm_flop_jit, get_shape, linear_flop_jit, matmul_flop_jit
from torch import nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from evaluators.costs.counting import Cost


def _sdpa_macs(inputs: list[Any], outputs: list[Any]) -> Counter[str]:
    """Count N·M·d for the scores and N·M·e for the sum: query (…, N, d), key (…, M, d), value (…, M, e)."""
    query, key, value = (get_shape(item) for item in inputs[:3])
    *batch, tokens, width = query
    return Counter({"attention": prod(batch) * tokens * key[-2] * (width + value[-1])})


def _attention(handler: Callable[..., Any]) -> Callable[..., Any]:
    """Make a handler count as attention: a bare matrix product is part of it, whatever fvcore calls it."""

    def handle(inputs: list[Any], outputs: list[Any]) -> Counter[str]:
        counted = handler(inputs, outputs)
        total = sum(counted.values()) if isinstance(counted, dict) else counted
        return Counter({"attention": total})

    return handle


# torch's meta kernel of convolutions cannot run under the tracer that fvcore uses: while a trace is on,
# sizes read in Python are tensors. So the tracer is shown an operator of our own in its place.
_LIBRARY = torch.library.Library("boostformer", "DEF")
_LIBRARY.define(
    "conv2d(Tensor x, Tensor weight, Tensor? bias, int[] stride, int[] padding, int[] dilation, int groups) -> Tensor"
)
_LIBRARY.impl("conv2d", torch.conv2d, "Meta")


def _conv2d_macs(inputs: list[Any], outputs: list[Any]) -> Counter[str]:
    """Count one MAC for each output position and weight."""
    batch, _, height, width = get_shape(outputs[0])
    return Counter({"conv": batch * height * width * prod(get_shape(inputs[1]))})


class _OwnConv2d(TorchFunctionMode):
    """Sends every 2-D convolution to our operator."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is not functional.conv2d:
            return func(*args, **(kwargs or {}))
        x, weight, bias, *settings, groups = args
        return torch.ops.boostformer.conv2d(x, weight, bias, *settings, groups)


COUNTED: dict[str, Callable[..., Any]] = {
    "boostformer::conv2d": _conv2d_macs,
    "aten::linear": linear_flop_jit,
    "aten::addmm": addmm_flop_jit,
    "aten::matmul": _attention(matmul_flop_jit),
    "aten::mm": _attention(matmul_flop_jit),
    "aten::bmm": _attention(bmm_flop_jit),
    "aten::baddbmm": _attention(lambda inputs, outputs: bmm_flop_jit(inputs[1:], outputs)),
    "aten::scaled_dot_product_attention": _sdpa_macs,
}

# Of an operator's name only: shape and memory; norms, pooling, resizing; element by element.
_FREE = """
cat chunk contiguous copy_ detach expand flatten clone permute reshape select slice split split_with_sizes
squeeze stack to transpose unbind unflatten unsqueeze view
adaptive_avg_pool2d avg_pool2d batch_norm group_norm layer_norm mean sum upsample_bilinear2d pad
add add_ div mul mul_ neg rsub sub sub_ dropout feature_dropout gelu hardswish hardtanh
leaky_relu leaky_relu_ relu relu_ relu6
sigmoid silu softmax exp tanh clamp abs embedding lt sqrt square where
"""
FREE = frozenset(f"aten::{name}" for name in _FREE.split())


def count_with_fvcore(module: nn.Module, *inputs: Any) -> Cost:
    """Count the cost of ``module`` for meta tensors ``inputs`` (batch 1); ValueError names an unknown operator."""
    params = sum(p.numel() for p in module.parameters())
    on_meta = all(tensor.is_meta for tensor in chain(module.parameters(), module.buffers()))
    shadow = module.eval() if on_meta else copy.deepcopy(module).to("meta").eval()
    analysis = FlopCountAnalysis(shadow, inputs)
    analysis.clear_op_handles()
    for name, handler in COUNTED.items():
        analysis.set_op_handle(name, handler)
    analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False).tracer_warnings("none")
    with warnings.catch_warnings(), torch.no_grad(), _OwnConv2d():
        warnings.simplefilter("ignore")  # the tracer's own, about itself
        by_operator = analysis.by_operator()
        missed = set(analysis.unsupported_ops()) - FREE
    if missed:
        raise ValueError(
            f"{type(module).__name__}: operators {sorted(missed)} have no count; add each to COUNTED or FREE "
            "in evaluators/costs/referee.py"
        )
    attention = int(by_operator.pop("attention", 0))
    return Cost(params, int(sum(by_operator.values())), attention)


logging.getLogger("fvcore").setLevel(logging.ERROR)
