"""Filling a latency table: every element of a space once, then some whole networks that correct their sum."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import onnx
from numpy.typing import NDArray

from boostformer.architecture import Architecture
from boostformer.parts import Part
from evaluators.costs.table import part_key
from evaluators.latency.backend import Measured, MeasureFailure, Meter, Say, silent
from evaluators.latency.graphs import element_graph, elements, graph_hash, network_graph
from evaluators.latency.table.table import Table

PROBES = 3
"""Number of elements, from small to large, that are timed to say how long all will take."""
Done = Callable[[int, int], None]
"""Called with (elements done, of how many)."""


def fill(
    table: Table, meter: Meter, wanted: list[Part], *, say: Say = silent, done: Done = lambda *_: None
) -> list[str]:
    """Measure what the table lacks, keep each figure at once, and say what could not be measured and why.

    Figures of another state of the code are taken over where the graph is still the same.

    Args:
        table: the table to fill.
        meter: measures on its device.
        wanted: elements, and their frames.
        say: called with a line about what is being done.
        done: called with the number of elements that are done, and of all.
    """
    left = table.missing(wanted)
    # Spread over the list, so that what is left is told from small ones and large ones.
    probes = left[:: max(1, len(left) // PROBES)][:PROBES]
    left = [*probes, *(element for element in left if element not in probes)]
    failures: list[str] = []
    started, told = time.monotonic(), False
    for start in range(0, len(left), meter.at_once):
        failures += _fill(table, meter, left[start : start + meter.at_once], say)
        count = min(len(left), start + meter.at_once)
        if not told and PROBES <= count < len(left):
            rest = (time.monotonic() - started) / count * (len(left) - count)
            say(f"{len(left) - count} elements are left: about {max(1, round(rest / 60))} min, from the first {count}")
            told = True
        done(count, len(left))
    return failures


def _fill(table: Table, meter: Meter, batch: list[Part], say: Say) -> list[str]:
    """Measure elements together; arguments and result are those of :func:`fill`."""
    graphs: dict[Part, onnx.ModelProto] = {}
    for element in batch:
        graph = element_graph(element, meter.opset)
        earlier = table.file.elements.get(part_key(element))
        if earlier is not None and earlier.graph == graph_hash(graph):
            table.file.add_element(element, earlier.measured, earlier.graph, table.code, earlier.provenance)
        else:
            graphs[element] = graph
    try:
        found = _measure(meter, graphs, say)
    except MeasureFailure as failure:
        if len(graphs) > 1:  # which of them, is found out one by one
            return [line for element in graphs for line in _fill(table, meter, [element], say)]
        (element,) = graphs
        return [f"{element.kind} {element.spec.name}: {failure}"]
    for element, measured in found.items():
        table.file.add_element(element, measured, graph_hash(graphs[element]), table.code, meter.provenance())
    return []


def _measure(meter: Meter, graphs: Mapping[Part, onnx.ModelProto], say: Say) -> dict[Part, Measured]:
    names = {
        f"{element.kind}-{element.spec.name}-{'x'.join(map(str, element.inputs[0]))}-{number}": element
        for number, element in enumerate(graphs)
    }
    found = meter.measure({name: graphs[element] for name, element in names.items()}, say=say)
    return {names[name]: measured for name, measured in found.items()}


def choose(table: Table, candidates: Sequence[Architecture], count: int) -> list[Architecture]:
    """Choose ``count`` candidates that are as unlike each other as can be, in time and in what takes the time.

    The first is the one of median time, each next the one farthest from all that are chosen already.
    """
    points = np.array([_shares(table, arch) for arch in candidates])
    points = (points - points.mean(axis=0)) / np.maximum(points.std(axis=0), 1e-9)
    chosen = [int(np.argsort(points[:, 0])[len(points) // 2])]
    distance = np.full(len(points), np.inf)
    while len(chosen) < min(count, len(candidates)):
        distance = np.minimum(distance, np.linalg.norm(points - points[chosen[-1]], axis=1))
        distance[chosen] = -1  # where networks of the same elements lie at one point
        chosen.append(int(distance.argmax()))
    return [candidates[i] for i in chosen]


def _shares(table: Table, arch: Architecture) -> NDArray[np.float64]:
    """Compute the logarithm of the sum of all elements, and each kind's share of it: (1 + kinds,)."""
    kinds = dict.fromkeys(("stem", "embed", "mixer", "ffn", "norm", "linear", "fusion"), 0.0)
    for element, times in elements(arch):
        kinds[element.kind] += table.raw(element) * times
    total = sum(kinds.values())
    return np.array([np.log(total), *(value / total for value in kinds.values())])


def calibrate(table: Table, meter: Meter, networks: Sequence[Architecture], say: Say = silent) -> None:
    """Measure whole networks, in turns, and keep them.

    Args:
        table: keeps them.
        meter: measures on the table's device.
        networks: what to measure.
        say: called with a line about what is being done.
    """
    for number, batch in enumerate(networks[i : i + meter.at_once] for i in range(0, len(networks), meter.at_once)):
        graphs: dict[str, onnx.ModelProto] = {}
        for arch in batch:
            say(f"network {len(graphs) + 1 + number * meter.at_once} of {len(networks)}: {arch.id}")
            graphs[arch.id] = network_graph(arch, meter.opset)
        found = meter.measure(graphs, say=say)
        for arch in batch:
            graph = graph_hash(graphs[arch.id])
            table.file.add_network(arch, found[arch.id], graph, table.code, meter.provenance())
