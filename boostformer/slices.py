"""Slices: a tensor of one shape laid over one of another, where both mean the same."""

from __future__ import annotations

from itertools import product

import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from boostformer.blocks.block import Runs

Axes = tuple[Runs, Runs]
"""Runs of the outputs and of the inputs, see :meth:`boostformer.blocks.block.Block.runs`."""
PLAIN: Axes = ((), ())
_Pairs = list[tuple[slice, slice]]


def overlaid(
    value: Tensor, source: Tensor, runs: Axes = PLAIN, source_runs: Axes = PLAIN, *, of_patches: bool = False
) -> tuple[Tensor, int] | None:
    """Lay the overlapping slices of ``source`` over ``value``; None where they have other numbers of dimensions.

    The first dimension is of outputs: rows that only ``value`` has stay. The second is of inputs: what only ``value``
    has becomes 0 in the rows that are taken. Two more are of a kernel, which keeps its centre.

    Args:
        value: the tensor to start from.
        source: the trained one.
        runs: of ``value``; slices are made run by run where ``source`` has as many.
        source_runs: of ``source``.
        of_patches: whether the kernel's windows do not overlap, so that another size means a finer or coarser one.

    Returns:
        The tensor, and how many of its numbers are the source's.
    """
    if value.dim() != source.dim():
        return None
    if of_patches and value.dim() == 4 and value.shape[2:] != source.shape[2:]:
        source = _resampled(source, value.shape[2], value.shape[3])
    pairs: list[_Pairs] = []
    for axis, (length, other) in enumerate(zip(value.shape, source.shape, strict=True)):
        if axis < 2:
            pairs.append(_by_run(length, other, runs[axis], source_runs[axis]))
            continue
        kept = min(length, other)
        start, begin = (length - kept) // 2, (other - kept) // 2
        pairs.append([(slice(start, start + kept), slice(begin, begin + kept))])
    result, taken = value.clone(), 0
    if value.dim() > 1:
        for here, _ in pairs[0]:
            result[here] = 0
    for chosen in product(*pairs):
        piece = source[tuple(there for _, there in chosen)]
        result[tuple(here for here, _ in chosen)] = piece.to(value.dtype)
        taken += piece.numel()
    return result, taken


def _by_run(length: int, other: int, runs: Runs, their_runs: Runs) -> _Pairs:
    """Pair the slices of two axes: run by run where both consist of as many, else from the start."""
    if len(runs) != len(their_runs) or (sum(runs), sum(their_runs)) != (length, other):
        runs, their_runs = (length,), (other,)
    pairs, start, begin = [], 0, 0
    for own, theirs in zip(runs, their_runs, strict=True):
        kept = min(own, theirs)
        pairs.append((slice(start, start + kept), slice(begin, begin + kept)))
        start, begin = start + own, begin + theirs
    return pairs


def _resampled(kernel: Tensor, rows: int, columns: int) -> Tensor:
    """Resize filters (..., k, l) so that they give the same on a map without detail."""
    factor = kernel.shape[2] * kernel.shape[3] / (rows * columns)
    return F.interpolate(kernel.float(), (rows, columns), mode="area") * factor
