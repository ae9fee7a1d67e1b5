"""The fused kernels that an inference runtime such as TensorRT launches for a folded module.

The module runs once on the meta device, as for counting (:func:`evaluators.costs.counting.watch`), and every value that
follows from the inputs is traced back to the kernel that writes it. Much that is done element by element joins that
kernel and costs no launch of its own: biases, ReLU, residual additions. What only changes a shape costs nothing,
unless it copies. This is a model of a runtime, with the rules below; none fuses exactly so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from math import prod
from typing import Any, Literal

from torch import Tensor, nn
from torch.overrides import resolve_name

from evaluators.costs.counting import watch
from evaluators.costs.shapes import named

Kind = Literal["conv", "pointwise", "depthwise", "grouped", "matmul", "memory"]
"""``pointwise``: 1x1 convolutions and linear layers. ``memory``: norms, pooling, softmax, resizing, sums, copies."""


@dataclass(frozen=True, slots=True)
class Kernel:
    """One launch at batch 1.

    Attributes:
        kind: decides the share of the peak that it reaches.
        elements: how many numbers are read and written, weights included.
        groups: how many matrix products of (rows, depth) by (depth, columns) it computes.
        rows: positions.
        columns: output channels.
        depth: what is summed up for one result.
    """

    kind: Kind
    elements: int
    groups: int = 0
    rows: int = 0
    columns: int = 0
    depth: int = 0

    @property
    def macs(self) -> int:
        return self.groups * self.rows * self.columns * self.depth

    def padded_macs(self, tile: int) -> int:
        """Count MACs where whole tiles of ``tile`` by ``tile`` results are computed; depthwise and grouped use none."""
        if self.kind in ("depthwise", "grouped"):
            return self.macs
        rows, columns = (-(-side // tile) * tile for side in (self.rows, self.columns))
        return self.groups * rows * columns * self.depth


def _convolution(out: Tensor, input: Tensor, weight: Tensor, *rest: Any, **options: Any) -> list[Kernel]:
    groups = input.shape[1] // weight.shape[1]
    kind: Kind = "conv" if prod(weight.shape[2:]) > 1 else "pointwise"
    if groups > 1:
        kind = "depthwise" if weight.shape[1] == 1 else "grouped"
    width = weight.shape[0]
    return [Kernel(kind, 0, groups, out.numel() // width, width // groups, prod(weight.shape[1:]))]


def _linear(out: Tensor, input: Tensor, *rest: Any, **options: Any) -> list[Kernel]:
    return [Kernel("pointwise", 0, 1, out.numel() // out.shape[-1], out.shape[-1], input.shape[-1])]


def _product(out: Tensor, input: Tensor, *rest: Any, **options: Any) -> list[Kernel]:
    rows, columns = (out.shape[-2], out.shape[-1]) if out.dim() > 1 else (out.numel(), 1)
    return [Kernel("matmul", 0, out.numel() // (rows * columns), rows, columns, input.shape[-1])]


def _product_and_sum(out: Tensor, input: Tensor, factor: Tensor, *rest: Any, **options: Any) -> list[Kernel]:
    return _product(out, factor)


def _scaled_dot_product(out: Tensor, query: Tensor, key: Tensor, *rest: Any, **options: Any) -> list[Kernel]:
    """The scores, their softmax, and the weighted sum, which only the newest runtimes do in one."""
    stacks, (rows, width), keys = prod(out.shape[:-2]), out.shape[-2:], key.shape[-2]
    scores = stacks * rows * keys
    return [
        Kernel("matmul", scores, stacks, rows, keys, query.shape[-1]),
        Kernel("memory", 2 * scores),
        Kernel("matmul", scores, stacks, rows, width, keys),
    ]


_PRODUCTS: dict[str, Callable[..., list[Kernel]]] = {
    "conv1d conv2d conv3d": _convolution,
    "linear": _linear,
    "addmm baddbmm": _product_and_sum,
    "matmul mm bmm": _product,
    "scaled_dot_product_attention": _scaled_dot_product,
}
PRODUCTS = {function: kernels for names, kernels in _PRODUCTS.items() for function in named(names)}
"""Kernels of a function, made from its result and its arguments; ``elements`` are still without inputs and outputs."""

LAYOUT = named(
    """
    chunk contiguous expand expand_as flatten movedim narrow permute reshape select split split_with_sizes squeeze
    transpose unbind unflatten unsqueeze view view_as __getitem__ __iter__
    embedding gather index_select pad roll
    """
)
"""Free where the result lies in the same memory, and a copy where not."""
JOINING = named("cat stack")
"""Free where each map comes whole from a kernel, which then writes it in its place."""
WRITING = named("copy_ __setitem__")
SAME = named("clone detach dropout dropout2d to type_as bfloat16 bool double float half long")
"""The same numbers; another type is written at once."""
CONSTANT = named(
    """
    arange empty full ones zeros empty_like full_like new_empty new_full new_zeros ones_like zeros_like
    __len__ dim is_contiguous is_floating_point nelement numel size stride
    """
)
"""Known when the engine is built."""
MEMORY = named(
    "adaptive_avg_pool2d argmax avg_pool2d group_norm interpolate layer_norm max mean softmax sum max_pool2d"
)
SUMS = named("add add_ sub sub_ rsub __rsub__")
STRAIGHT = SUMS | named(
    "batch_norm clamp clamp_ div div_ hardtanh leaky_relu leaky_relu_ mul mul_ neg relu relu_ relu6"
)
"""Functions that a product computes on the way out: sums of maps, factors, activations of straight lines.

TensorRT's list of fusions has no others but GELU on newer GPUs; its profiles show Swish as a kernel of its own.
"""
ELEMENTWISE = STRAIGHT | named(
    """
    abs eq exp floor ge gelu gt hardswish le lt masked_fill ne sigmoid silu sqrt square tanh where
    __and__ __eq__ __floordiv__ __invert__ __mod__ __ne__ __rtruediv__
    """
)


def kernels(module: nn.Module, inputs: Sequence[Any]) -> tuple[Kernel, ...]:
    """List the kernels of a folded ``module`` for meta tensors ``inputs`` (batch 1), in the order of their launches.

    Raises ValueError on a function that is on no list here or in :mod:`evaluators.costs.counting`.
    """
    recording = _Recording(_tensors(inputs))
    watch(module, inputs, recording.see)
    if recording.unknown:
        raise ValueError(
            f"{type(module).__name__}: operators {sorted(recording.unknown)} have no kernel; add each to a list in "
            "evaluators/latency/estimate/kernels.py"
        )
    return tuple(recording.kernels)


@dataclass(frozen=True, slots=True)
class _Value:
    """A tensor that follows from the inputs, and the number of the kernel that writes it: -1 is none."""

    tensor: Tensor  # held, so that no other tensor gets its identity
    kernel: int


class _Recording:
    """Collects kernels and the names of unknown functions."""

    def __init__(self, inputs: Iterable[Tensor]) -> None:
        self.kernels: list[Kernel] = []
        self.unknown: set[str] = set()
        self._written: list[int] = []  # elements, by kernel
        self._read: set[int] = set()  # kernels whose results went into others
        self._values = {id(tensor): _Value(tensor, -1) for tensor in inputs}

    def see(self, func: Any, result: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Sort one call; what does not follow from the inputs is computed when an engine is built.

        Args:
            func: the function of torch.
            result: what it returned.
            args: its positional arguments.
            kwargs: its keyword arguments.
        """
        given = list(_tensors((*args, *kwargs.values())))
        sources = [self._values[id(tensor)] for tensor in given if id(tensor) in self._values]
        results = list(_tensors((result,)))
        if not sources or func in CONSTANT:
            return
        if func in PRODUCTS:
            self._multiply(PRODUCTS[func](result, *args, **kwargs), sources, given, results)
        elif func in ELEMENTWISE:
            self._join(func, sources, results)
        elif func in MEMORY:
            self._launch(sources, results, Kernel("memory", _size(given) + _size(results)))
        elif func in JOINING:
            self._concatenate(sources, given, results)
        elif func in WRITING:
            self._launch(sources, given[:1], Kernel("memory", 2 * given[-1].numel()))
        elif func in SAME or all(_memory(tensor) == _memory(sources[0].tensor) for tensor in results):
            self._assign(results, sources[0].kernel)
        elif func in LAYOUT:
            self._copy(sources, results)
        else:
            self.unknown.add(resolve_name(func) or str(func))

    def _assign(self, results: Iterable[Tensor], kernel: int) -> None:
        for tensor in results:
            self._values[id(tensor)] = _Value(tensor, kernel)

    def _launch(self, sources: Iterable[_Value], results: Sequence[Tensor], *launched: Kernel) -> None:
        """Add kernels of which the last writes ``results``."""
        self._read.update(value.kernel for value in sources)
        self.kernels += launched
        self._written += [_size(results)] * len(launched)
        self._assign(results, len(self.kernels) - 1)

    def _copy(self, sources: Iterable[_Value], results: Sequence[Tensor]) -> None:
        self._launch(sources, results, Kernel("memory", 2 * _size(results)))

    def _multiply(self, found: list[Kernel], sources: list[_Value], given: list[Tensor], results: list[Tensor]) -> None:
        """Launch products; one with weights is a linear layer, however it is written.

        Args:
            found: the kernels, without what they read and write.
            sources: the operands that follow from the inputs.
            given: all operands.
            results: what the last kernel writes.
        """
        if len(found) == 1:
            kind = "pointwise" if found[0].kind == "matmul" and len(sources) == 1 < len(given) else found[0].kind
            found = [replace(found[0], kind=kind, elements=_size(given) + _size(results))]
        else:
            first, softmax, last = found
            query_and_key, rest = given[:2], given[2:]
            first = replace(first, elements=first.elements + _size(query_and_key))
            found = [first, softmax, replace(last, elements=last.elements + _size(rest) + _size(results))]
        self._launch(sources, results, *found)

    def _join(self, func: Any, sources: list[_Value], results: list[Tensor]) -> None:
        """Join a function to the kernel that wrote its last operand, where that can be; else launch a pass."""
        operands = list({id(value.tensor): value for value in sources}.values())
        last = max(operands, key=lambda value: value.kernel)
        if not (self._is_open(last, _size(results)) and self._takes(last.kernel, func, len(operands))):
            self._launch(
                operands, results, Kernel("memory", _size(value.tensor for value in operands) + _size(results))
            )
            return
        others = [value for value in operands if value.kernel != last.kernel]
        kernel = self.kernels[last.kernel]
        read = _size(value.tensor for value in others)
        self.kernels[last.kernel] = replace(kernel, elements=kernel.elements + read)
        self._read.update(value.kernel for value in others)
        self._assign(results, last.kernel)

    def _is_open(self, value: _Value, size: int) -> bool:
        """Tell whether a value is all that its kernel writes, of ``size``, and no other kernel has read it yet."""
        return value.tensor.numel() == size and self._is_whole(value) and value.kernel not in self._read

    def _is_whole(self, value: _Value) -> bool:
        return value.kernel >= 0 and value.tensor.numel() == self._written[value.kernel]

    def _takes(self, kernel: int, func: Any, operands: int) -> bool:
        """Tell whether a function can join a kernel.

        Memory traffic takes every function; a product takes sums of maps, and straight lines of its own result.
        """
        return self.kernels[kernel].kind == "memory" or func in SUMS or (func in STRAIGHT and operands == 1)

    def _concatenate(self, sources: list[_Value], given: list[Tensor], results: list[Tensor]) -> None:
        if len(sources) == len(given) and all(map(self._is_whole, sources)):
            self._assign(results, max(value.kernel for value in sources))
        else:
            self._copy(sources, results)


def _tensors(values: Iterable[Any]) -> Iterator[Tensor]:
    """Iterate over the tensors among ``values`` and in lists among them."""
    lists = (value if isinstance(value, list | tuple) else (value,) for value in values)
    return (value for value in chain.from_iterable(lists) if isinstance(value, Tensor))


def _size(tensors: Iterable[Tensor]) -> int:
    return sum(tensor.numel() for tensor in tensors)


def _memory(tensor: Tensor) -> int:
    """Identify the memory that holds the numbers of a tensor or a view."""
    return tensor.untyped_storage()._cdata
