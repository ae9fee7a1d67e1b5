"""Predicted against measured latency of networks that a table was not fitted on, in ONNX Runtime on this machine.

Draws networks of `boostformer_b0`, measures their elements and the networks themselves in random order, so that
drift of the machine affects all alike, corrects by ten networks chosen as `boostformer latency calibrate` chooses, and
predicts the others. Beside the prediction's error and rank correlation stand those of MACs, of parameters and of the
plain sum of the parts. Last, some networks are measured again, for the spread of a measurement itself. Exporting takes
some ten minutes the first time, measuring some ten more; graphs and figures are kept in --folder.
"""

from __future__ import annotations

import argparse
import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from boostformer.architecture import Architecture
from boostformer.files import cache_folder, replacing
from boostformer.fingerprints import code_fingerprint
from boostformer.parts import Part
from boostformer.sizes import parse_size
from evaluators.costs.table import CostTable
from evaluators.latency.graphs import (
    CODE,
    element_graph,
    elements,
    frames_of,
    graph_hash,
    network_graph,
)
from evaluators.latency.host import HostMeter
from evaluators.latency.table.correction import fit, rank_correlation
from evaluators.latency.table.file import TableFile
from evaluators.latency.table.profiling import choose
from evaluators.latency.table.table import Table
from search_space import read_space

CALIBRATING, PREDICTED, REPEATED = 10, 30, 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", default="512x512", help="input size HxW")
    parser.add_argument("--seed", type=int, default=0, help="of the networks drawn")
    parser.add_argument("--folder", type=Path, help="of graphs and figures; by default in the cache folder")
    parser.add_argument("--export", action="store_true", help="only export, and measure later")
    options = parser.parse_args()
    height, width = parse_size(options.size)
    folder = options.folder or cache_folder() / "latency" / f"benchmark-{options.size}"

    meter = HostMeter(threads=1, seconds=0.5)
    space = read_space("boostformer_b0").replace(size=(height, width), classes=19)
    rng = np.random.default_rng(options.seed)
    drawn = [space.sample(rng) for _ in range(CALIBRATING + PREDICTED)]
    needed = dict.fromkeys(element for arch in drawn for element, _ in elements(arch))
    wanted = list(needed | dict.fromkeys(frame for element in needed for frame in frames_of(element)))
    print(f"{meter.provenance()}\n{len(wanted)} elements of {len(drawn)} networks at {options.size}, 19 classes")
    files = {thing: _exported(folder, thing, meter.opset) for thing in [*wanted, *drawn]}
    if options.export:
        return
    table = Table(TableFile(folder / "table.jsonl"), "benchmark")
    left: list[Any] = [*table.missing(wanted), *(arch for arch in drawn if arch.to_json() not in table.file.networks)]
    rng.shuffle(left)
    for start in range(0, len(left), meter.at_once):
        batch = left[start : start + meter.at_once]
        graphs = {str(number): onnx.load(files[thing]) for number, thing in enumerate(batch)}
        for thing, (number, found) in zip(batch, meter.measure(graphs).items(), strict=True):
            add = table.file.add_network if isinstance(thing, Architecture) else table.file.add_element
            add(thing, found, graph_hash(graphs[number]), table.code, meter.provenance())
        print(f"{start + len(batch)}/{len(left)}", flush=True)

    table = Table(TableFile(folder / "table.jsonl"), "benchmark")
    measured = {arch: table.calibrated[arch] for arch in drawn}
    chosen = choose(table, drawn, CALIBRATING)
    others = [arch for arch in drawn if arch not in chosen]
    correction = fit(table.features(chosen), np.array([measured[arch] for arch in chosen]))
    predicted = correction.of_networks(table.features(others))
    _report(table, others, np.array([measured[arch] for arch in others]), predicted)
    print(f"correction: {correction}")
    _repeat(meter, others[:REPEATED], [measured[arch] for arch in others[:REPEATED]])


def _exported(folder: Path, thing: Architecture | Part, opset: int) -> Path:
    """The file of a network's or an element's graph, written if it is not there."""
    name = hashlib.sha256(f"{code_fingerprint(*CODE)} {thing}".encode()).hexdigest()[:16]
    file = folder / f"{name}.onnx"
    if not file.exists():
        graph = network_graph(thing, opset) if isinstance(thing, Architecture) else element_graph(thing, opset)
        with replacing(file) as part:
            folder.mkdir(parents=True, exist_ok=True)
            part.write_bytes(graph.SerializeToString())
    return file


def _report(table: Table, archs: list[Architecture], measured: np.ndarray, predicted: np.ndarray) -> None:
    costs = CostTable()
    print(f"\n{'network':14}{'measured':>10}{'predicted':>11}{'error':>8}")
    for arch, ms, guess in zip(archs, measured, predicted, strict=True):
        print(f"{arch.id:14}{ms:>9.1f} {guess:>10.1f} {guess / ms - 1:>+8.1%}")
    plain = table.features(archs)[:, 0]
    for name, values in (("prediction", predicted), ("sum of parts", plain)):
        errors = np.abs(values / measured - 1)
        print(
            f"{name}: median error {np.median(errors):.1%}, 90th percentile {np.quantile(errors, 0.9):.1%}, "
            f"Spearman {rank_correlation(values.tolist(), measured.tolist()):.3f}"
        )
    for name in ("macs", "params"):
        values = [float(getattr(costs.cost(arch), name)) for arch in archs]
        print(f"{name} alone: Spearman {rank_correlation(values, measured.tolist()):.3f}")


def _repeat(meter: HostMeter, archs: list[Architecture], before: list[float]) -> None:
    graphs = {arch.id: network_graph(arch, meter.opset) for arch in archs}
    rounds = [meter.measure(graphs) for _ in range(5)]
    medians = np.array([[found[arch.id].ms for arch in archs] for found in rounds])
    spread = (medians.max(axis=0) - medians.min(axis=0)) / np.median(medians, axis=0)
    print(f"five measurements of the same network, largest less smallest: {', '.join(f'{s:.1%}' for s in spread)}")
    drift = np.median(medians, axis=0) / np.array(before) - 1
    print(f"against the measurement in the table: {', '.join(f'{d:+.1%}' for d in drift)}")


if __name__ == "__main__":
    main()
