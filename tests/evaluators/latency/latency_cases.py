"""A small space, a made-up device that runs no graph, and tables filled from it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import onnx

from boostformer.architecture import Architecture
from boostformer.figures import Figure, Provenance
from boostformer.parts import Part
from evaluators.costs.table import part_key
from evaluators.latency.backend import Measured, MeasureFailure, Say, silent
from evaluators.latency.graphs import elements, space_elements
from evaluators.latency.table.file import TableFile
from evaluators.latency.table.table import Table
from search_space import SearchSpace, space_from_yaml

PROVENANCE = Provenance("measured", "made up", "nothing", "fp32", ("1 thread",))
OTHER = replace(PROVENANCE, settings=("2 threads",))
SLOPE, LAUNCH, OVERHEAD = 1.1, 0.004, 0.3
"""What a network takes on the made-up device beside the sum of its elements."""
SPACE = """\
version: 1
size: 64x64
classes: 4
stages:
  - width: [8, 16]
    depth: [1, 3]
    embed: {overlap_conv: {kernel: 7}}
    mixer: {pooling: {}}
    ffn: {mix_ffn: {ratio: 2}}
  - {width: 16, depth: 1, embed: {pooling: {kernel: 3}}, mixer: {pooling: {}}, ffn: {mix_ffn: {ratio: [2, 4]}}}
  - {width: 16, depth: 1, embed: {pooling: {kernel: 3}}, mixer: {pooling: {}, identity: {}}, ffn: {mix_ffn: {ratio: 2}}}
  - width: 16
    depth: [1, 2]
    embed: {pooling: {kernel: 3}}
    mixer: {pooling: {}, mhsa: {heads: [1, 2]}}
    ffn: {mix_ffn: {ratio: 2}}
    norm: [layer, batch]
    arrangement: [pre, post]
    layer_scale: [false, true]
    local_connection: [false, true]
decoder: {width: [8, 16], fusion: {concat: {}, weighted_sum: {normalised: true}}}
"""


@cache
def space() -> SearchSpace:
    return space_from_yaml(SPACE, "space.yaml")


def sampled(count: int, seed: int = 0) -> list[Architecture]:
    """So many different networks of the space."""
    rng = np.random.default_rng(seed)
    found: dict[Architecture, None] = {}
    while len(found) < count:
        found[space().sample(rng)] = None
    return list(found)


@cache
def all_elements() -> list[Part]:
    return space_elements(space().slots, next(iter(space())))


def made_up(ms: float) -> Measured:
    return Measured(Figure(ms, 0.9 * ms, 1.2 * ms), 100)


def element_ms(element: Part) -> float:
    """Between 0.5 and 1.5; a frame takes a tenth of that."""
    share = int(hashlib.sha256(part_key(element).encode()).hexdigest()[:8], 16) / 2**32
    return (0.5 + share) * (0.1 if element.kind == "frame" else 1)


def network_ms(table: Table, arch: Architecture) -> float:
    """As the made-up device runs a network."""
    listed = list(elements(arch))
    total = sum(table.raw(element) * times for element, times in listed)
    return SLOPE * total + LAUNCH * sum(times for _, times in listed) + OVERHEAD


def filled(file: Path, networks: int = 0, noise: float = 0.0) -> Table:
    """A table of all elements of the space, and of some whole networks."""
    table = Table(TableFile(file), "mine")
    for element in all_elements():
        table.file.add_element(element, made_up(element_ms(element)), "0", table.code, PROVENANCE)
    rng = np.random.default_rng(7)
    for arch in sampled(networks, seed=5):
        ms = network_ms(table, arch) * (1 + noise * rng.standard_normal())
        table.file.add_network(arch, made_up(ms), "0", table.code, PROVENANCE)
    return Table(TableFile(file), "mine")


class FakeMeter:
    """Says of every graph that it takes one millisecond per node; refuses those that hold one of ``refused``."""

    opset, at_once = 17, 4

    def __init__(self, refused: tuple[str, ...] = ()) -> None:
        self.refused, self.asked = refused, list[list[str]]()
        self.told, self.builds = PROVENANCE, 1
        self.graphs: dict[str, onnx.ModelProto] = {}

    def provenance(self) -> Provenance:
        return self.told

    def measure(
        self, graphs: Mapping[str, onnx.ModelProto], *, builds: int = 1, say: Say = silent
    ) -> dict[str, Measured]:
        self.asked.append(list(graphs))
        self.builds = builds
        self.graphs |= graphs
        for name, graph in graphs.items():
            if found := {node.op_type for node in graph.graph.node} & set(self.refused):
                raise MeasureFailure(f"{name}: no {min(found)} here")
        return {name: made_up(float(len(graph.graph.node))) for name, graph in graphs.items()}
