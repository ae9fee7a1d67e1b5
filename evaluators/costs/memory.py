"""Peak memory of a network's activations, exact, from its parts: nothing is computed.

Counted is the largest sum of the tensors that live at once while the network runs on one image, in fp32: the image, the
result of each function of torch, what a residual or the decoder waits for. A tensor lives from the function that makes
it to the last one that reads it; what a function works in place has no other. Reorderings (reshape, transpose,
contiguous, …) make no tensor, and attention is counted by its plain formula: the scores, then the softmax of them.

It is not what a device takes: weights, a kernel's own workspace and the padding of an allocator are left out, and an
engine that fuses functions, or orders them otherwise, keeps less.

Each part is run once on the meta device; its figure tells what it needs with its inputs kept and with its inputs freed,
and :func:`peak` puts those together along the network, for one or for whole populations.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from boostformer.architecture import STRIDES, Architecture, BlockSpec
from boostformer.files import cache_folder
from boostformer.fingerprints import code_fingerprint
from boostformer.parts import Part, decoder_parts, stage_parts, stem_part
from evaluators.costs.counting import watch
from evaluators.costs.kept import read_rows, write_rows
from evaluators.costs.populations import EMBED, PartSums, Population
from evaluators.costs.shapes import named
from evaluators.costs.table import CODE, SHARED, empty_module, left_beside

BYTES = 4
"""Of a number in fp32."""
_REORDERING = named(
    "contiguous detach expand expand_as flatten movedim narrow permute reshape select squeeze t transpose unflatten "
    "unsqueeze view view_as float to type_as"
)
_ATTENTION = functional.scaled_dot_product_attention


@dataclass
class _Made:
    """A tensor of a run: its bytes, the number of the function that made it, and that of the last that reads it."""

    size: int
    born: int
    last: int


class Trace:
    """The functions of one run, as :func:`evaluators.costs.counting.watch` shows them."""

    def __init__(self, weights: Iterable[Tensor], inputs: Sequence[Tensor]) -> None:
        """Begin a run on ``inputs``; nothing that shares memory with ``weights`` is counted."""
        self._weights = {_place(tensor) for tensor in weights}
        self._tensors: list[Tensor] = list(inputs)  # kept, so that no place is used twice
        self._made: dict[int, _Made] = {}
        self._root: dict[int, int] = {}
        self._count = 0
        self._beyond: dict[int, int] = {}  # bytes more within a function than before it
        self._results: list[int] = []
        for number, tensor in enumerate(inputs):
            self._root[_place(tensor)] = number
            self._made[number] = _Made(_bytes(tensor), -1, -1)
        self._inputs = list(self._made)

    def see(self, function: Any, result: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Take note of a function that ran."""
        now, read = (
            self._count,
            [root for tensor in _tensors((args, kwargs)) if (root := self._known(tensor)) is not None],
        )
        for root in read:
            self._made[root].last = now
        before = len(self._made)
        for tensor in _tensors(result):
            self._take(tensor, function, args)
        fresh = sum(made.size for root, made in self._made.items() if root >= before)
        self._beyond[now] = fresh
        if function is _ATTENTION:
            query, key = args[:2]
            scores = BYTES * prod(query.shape[:-1]) * key.shape[-2]
            self._beyond[now] = max(2 * scores, scores + fresh)
        self._results = [root for tensor in _tensors(result) if (root := self._known(tensor)) is not None]
        self._count += 1

    def _take(self, tensor: Tensor, function: Any, args: tuple[Any, ...]) -> None:
        place = _place(tensor)
        self._tensors.append(tensor)
        if place in self._root or place in self._weights:
            return
        if function in _REORDERING and args and isinstance(args[0], Tensor):
            known = self._known(args[0])
            if known is None:
                self._weights.add(place)
            else:
                self._root[place] = known
            return
        root = len(self._made)
        self._root[place] = root
        self._made[root] = _Made(_bytes(tensor), self._count, self._count)

    def _known(self, tensor: Tensor) -> int | None:
        return self._root.get(_place(tensor))

    def peak(self, *, keep: bool) -> int:
        """Give the most bytes at once, with the inputs kept to the end or freed when they were read the last time."""
        end = self._count
        last = {root: made.last for root, made in self._made.items()}
        last |= dict.fromkeys(self._results, end)
        if keep:
            last |= dict.fromkeys(self._inputs, end)
        most = sum(self._made[root].size for root in self._inputs)
        for now in range(end):
            before = sum(made.size for root, made in self._made.items() if made.born < now <= last[root])
            most = max(most, before + self._beyond[now])
        return most

    @property
    def made(self) -> int:
        """Bytes of the result, as far as it is not an input."""
        return sum(self._made[root].size for root in set(self._results) if root not in self._inputs)


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _tensors(item)
    elif isinstance(value, dict):
        yield from _tensors(list(value.values()))


def _place(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata


def _bytes(tensor: Tensor) -> int:
    return tensor.numel() * (BYTES if tensor.is_floating_point() else tensor.element_size())


def traced(module: nn.Module, *inputs: Any) -> Trace:
    """Run ``module``, which is on the meta device, on meta tensors or lists of them."""
    weights = [*module.parameters(), *module.buffers()]
    trace = Trace(weights, list(_tensors(inputs)))
    watch(module, inputs, trace.see)
    return trace


class Figure(NamedTuple):
    """Bytes of one part: the peak with its inputs kept, that with its inputs freed, and those of its result."""

    kept: int
    freed: int
    made: int


def _trace(part: Part) -> Figure:
    module = empty_module(replace(part, inputs=()))
    inputs = [torch.empty(1, *shape, device="meta") for shape in part.inputs]
    trace = traced(module, inputs) if part.kind == "fusion" else traced(module, *inputs)
    return Figure(trace.peak(keep=True), trace.peak(keep=False), trace.made)


class Group(NamedTuple):
    """Bytes of a group of parts: the peak beside the maps of earlier stages, and those of the map that stays."""

    peak: Any
    map: Any


class Peaks(PartSums[Any]):
    """Peak memory of a network's parts, ``deployed`` or as they are trained; tables of populations are kept on disk."""

    def __init__(self, file: Path | None = SHARED, *, deployed: bool = True) -> None:
        super().__init__(None, deployed)
        own = f"activations-{code_fingerprint(*CODE, 'evaluators/costs/memory.py')}"
        self._file = cache_folder() / own if file is SHARED else file
        self._parts: dict[Part, Figure] = {}

    def part(self, part: Part) -> Figure:
        """Give the figure of one part, traced when it is first met."""
        if part not in self._parts:
            bare = replace(part, norm="", scale=False, local_connection=False)
            self._parts[part] = _trace(part) if part == bare else self._branch(part, self.part(bare))
        return self._parts[part]

    def _branch(self, part: Part, block: Figure) -> Figure:
        """Put a residual branch together; the map that it takes always stays, to be added to its result."""
        own, made = _map(part.inputs[0]), block.made
        keeps_norm, keeps_scale = left_beside(part)
        norm, most = 0, block.kept
        if keeps_norm:
            norm = own
            before = self.part(Part("norm", BlockSpec(part.norm), part.shape, part.inputs)).kept
            most = max(before, own + (block.kept if part.local_connection else block.freed))
        if part.local_connection:
            most = max(most, own + norm + made + own)
            made = own
        if keeps_scale:
            most = max(most, own + (made or norm) + own)
            made = own
        return Figure(most, most, made or norm)

    def stem(self, arch: Architecture) -> Group:
        return Group(self.part(stem_part(arch, self.deployed)).freed, 0)

    def stage_group(self, arch: Architecture, i: int, group: int) -> Group:
        """Give the peak of some parts of stage ``i`` beside the maps of the stages before it."""
        stage = stage_parts(arch, i, self.deployed)
        own = _map(stage.ffn.inputs[0])
        if group == EMBED:
            embed = self.part(stage.embed)
            # The map that it takes is one of those which the decoder waits for.
            peaks = [embed.kept - _map(stage.embed.inputs[0]) if i else embed.freed]
            beside = stage.stage_norm
        else:
            branch = self.part(stage.mixer if group == 1 else stage.ffn)
            peaks = [branch.kept, 2 * own + branch.made]  # and the sum of the branch and what stands beside it
            beside = stage.layer_norm if group == 2 else None
        if beside is not None:
            peaks.append(self.part(beside).freed)
        return Group(max(peaks), own)

    def decoder_group(self, arch: Architecture, group: Any) -> Group:
        found = [self.part(part) for part in group(decoder_parts(arch, self.deployed))]
        return Group(max(figure.freed for figure in found), found[0].made)

    def columns(self, figure: Group) -> tuple[int, ...]:
        return (figure.peak, figure.map)

    def kept_rows(self, population: str, count: int) -> NDArray[np.int64] | None:
        file = self._rows_file(population)
        return read_rows(file, count, len(Group._fields)) if file else None

    def keep_rows(self, population: str, rows: NDArray[np.int64]) -> None:
        if file := self._rows_file(population):
            write_rows(file, rows)

    def _rows_file(self, population: str) -> Path | None:
        digest = hashlib.sha256(population.encode()).hexdigest()[:16]
        return self._file.with_name(f"{self._file.name}-{digest}.rows") if self._file else None

    def peak(self, arch: Architecture) -> int:
        """Give the peak of a network in bytes, at batch 1 and in fp32."""
        return int(peak(self.pieces(arch)))


class PeakPopulation(Population):
    """Peak memory of whole populations, from :class:`Peaks`."""

    def figures(self, indices: Mapping[str, np.ndarray]) -> np.ndarray:
        """Give the bytes (P, 1) of P networks, from the number of the variant (P,) in every slot."""
        found: np.ndarray = peak([Group(*rows.T) for rows, _ in self.gathered(indices)])
        return found[:, None]


def peak(pieces: Sequence[Group]) -> Any:
    """Put the groups of a network together, in the order of :meth:`PartSums.pieces`: of one, or arrays of many."""
    stem, *stages, fusing = pieces
    most, waiting, projected = stem.peak, 0, 0
    each = [stages[4 * i : 4 * i + 4] for i in range(len(STRIDES))]
    for embed, mixer, ffn, _ in each:
        for group in (embed, mixer, ffn):
            most = np.maximum(most, waiting + group.peak)
        waiting = waiting + embed.map
    for embed, _, _, projection in each:
        waiting = waiting - embed.map
        most = np.maximum(most, waiting + projected + projection.peak)
        projected = projected + projection.map
    return np.maximum(most, fusing.peak)


def _map(shape: tuple[int, ...]) -> int:
    return BYTES * prod(shape)
