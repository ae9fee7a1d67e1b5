"""Graphs for a device to time: whole networks, and the elements that a prediction sums up.

What writes graphs is imported where one is written: it takes a second or two, and estimates need none.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from math import prod
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from boostformer.architecture import STRIDES, Architecture, BlockSpec
from boostformer.fold import fold
from boostformer.model import build
from boostformer.parts import Part, labels_part, parts
from evaluators.costs.populations import PartSums, Population
from evaluators.costs.table import left_beside

if TYPE_CHECKING:
    import onnx

CODE = (
    *(f"boostformer/{name}" for name in ("parts.py", "layers.py", "model.py", "fold.py", "blocks/*.py", "deploy/*.py")),
    "evaluators/latency/graphs.py",
)
"""Files that decide a graph: a figure is kept with their fingerprint, and is not taken for another graph's."""
LOGITS = "logits"
IDENTITY = BlockSpec("identity")
NARROW = 8
"""Channels of the maps at the ends of an element's graph."""
_SMALL = 16
"""A constant of at most so many whole numbers is an axis or a shape, and so part of the structure."""


def deployed_network(arch: Architecture) -> nn.Module:
    """Build the folded network with random weights."""
    torch.manual_seed(0)
    return fold(build(arch).eval(), in_place=True)


def network_graph(arch: Architecture, opset: int) -> onnx.ModelProto:
    """Export the deployed network at batch 1 with random weights: ``image`` (1, bands, H, W) to ``logits``."""
    from boostformer.deploy.onnx_writer import to_onnx

    return to_onnx(deployed_network(arch), (torch.zeros(1, arch.bands, *arch.size),), opset, ["image"], [LOGITS])


def elements(arch: Architecture, *, labels: bool = False) -> Iterator[tuple[Part, int]]:
    """Iterate over what a prediction of ``arch`` sums up: ``(element, how often)``."""
    for _, part, times in parts(arch, deployed=True):
        for element in elements_of(part):
            yield element, times
    if labels:
        yield labels_part(arch), 1


def elements_of(part: Part) -> list[Part]:
    """Split a deployed part into what is timed on its own, so that few elements make up many parts.

    A residual branch is its block, with the sum behind it, and what was not folded into it: a norm, and a pass over
    the map for LayerScale or a local connection, which is what an identity's branch is timed for.
    """
    if part.kind not in ("mixer", "ffn"):
        return [part] if part.kind != "stem" or part.spec.name != "none" else []
    bare = replace(part, norm="", scale=False, local_connection=False)
    norm, scale = left_beside(part)
    found = [bare]
    if norm:
        found.append(Part("norm", BlockSpec(part.norm), part.shape, part.inputs, deployed=True))
    one_pass = replace(bare, kind="mixer", spec=IDENTITY)
    return found + [one_pass] * (scale + part.local_connection)


def frames_of(element: Part) -> list[Part]:
    """List the frame of each map that an element takes or gives: half of each is in :func:`element_graph`.

    A runtime lays maps out to suit its convolutions, and then resizes and adds in that layout too. An element that is
    timed bare would be laid out for its input, which in a network it is not: a resize took four times as long.
    """
    maps = [] if _takes_image(element) else [*element.inputs]
    if after := _output(element):
        maps.append(after)
    return [Part("frame", BlockSpec("frame"), (NARROW,), (shape,), deployed=True) for shape in maps]


def space_elements(slots: Mapping[str, Sequence[Any]], one: Architecture) -> list[Part]:
    """List all elements, with their frames, of a space's networks.

    ``slots`` are the space's, by name, each with its variants; ``one`` is any of its networks.
    """
    collector = _Collector()
    Population(collector, slots, one.size, one.classes, one.bands)
    tail = labels_part(one)
    return list(collector.found | dict.fromkeys([tail, *frames_of(tail)]))


class _Collector(PartSums[float]):
    """A sum that is asked for every part that a space may need, and remembers their elements."""

    def __init__(self) -> None:
        super().__init__(0.0, deployed=True)
        self.found: dict[Part, None] = {}

    def part(self, part: Part) -> float:
        for element in elements_of(part):
            self.found |= dict.fromkeys([element, *frames_of(element)])
        return 0.0


def element_graph(element: Part, opset: int) -> onnx.ModelProto:
    """Export an element at batch 1 with random weights between narrow 1x1 convolutions, or a frame itself."""
    from boostformer.deploy.onnx_writer import to_onnx

    torch.manual_seed(0)
    whole = _takes_image(element)
    inputs = [torch.zeros(1, width if whole else NARROW, *size) for width, *size in element.inputs]
    return to_onnx(_Framed(element).eval(), (inputs,), opset)


def _takes_image(element: Part) -> bool:
    """Tell whether an element is given an image, as the network is or as a stem makes it, and no map."""
    return element.kind == "stem" or (element.kind == "embed" and element.shape[2] == STRIDES[0])


def _output(element: Part) -> tuple[int, int, int] | None:
    """Give (C, H, W) of the map that an element gives to a convolution, if it does."""
    (width, height, length), *_ = element.inputs
    if element.kind in ("labels", "stem", "frame"):
        return None
    if element.kind == "linear":
        return element.shape[1], height, length
    if element.kind == "embed":
        _, out, stride = element.shape
        return out, -(-height // stride), -(-length // stride)
    return width, height, length


class _Framed(nn.Module):
    def __init__(self, element: Part) -> None:
        super().__init__()
        self.residual, self.fusing = element.kind in ("mixer", "ffn"), element.kind == "fusion"
        whole, widths = _takes_image(element), [shape[0] for shape in element.inputs]
        self.before = nn.ModuleList(nn.Identity() if whole else nn.Conv2d(NARROW, width, 1) for width in widths)
        self.element = nn.Identity() if element.kind == "frame" else element.build()
        after = element.inputs[0] if element.kind == "frame" else _output(element)
        self.after = nn.Conv2d(after[0], NARROW, 1) if after else nn.Identity()

    def forward(self, maps: list[Tensor]) -> Tensor:
        maps = [before(x) for before, x in zip(self.before, maps, strict=True)]
        found = self.element(maps) if self.fusing else self.element(maps[0])
        return self.after(maps[0] + found if self.residual else found)


def graph_hash(graph: onnx.ModelProto) -> str:
    """Hash all that decides how long a graph takes: its operators and shapes, not its weights or names."""
    import onnx

    names: dict[str, int] = {"": 0}
    digest = hashlib.sha256()

    def number(name: str) -> int:
        return names.setdefault(name, len(names))

    for item in graph.opset_import:
        digest.update(f"{item.domain} {item.version}\n".encode())
    for value in [*graph.graph.input, *graph.graph.output]:
        digest.update(f"{number(value.name)} {value.type.SerializeToString(deterministic=True)!r}\n".encode())
    for constant in graph.graph.initializer:
        structural = constant.data_type == onnx.TensorProto.INT64 and prod(constant.dims) <= _SMALL
        content = onnx.numpy_helper.to_array(constant).tolist() if structural else ""
        digest.update(f"{number(constant.name)} {constant.data_type} {list(constant.dims)} {content}\n".encode())
    for node in graph.graph.node:
        attributes = sorted(a.SerializeToString(deterministic=True) for a in node.attribute)
        inputs, outputs = [number(n) for n in node.input], [number(n) for n in node.output]
        digest.update(f"{node.op_type} {inputs} {outputs} {attributes!r}\n".encode())
    return digest.hexdigest()[:16]
