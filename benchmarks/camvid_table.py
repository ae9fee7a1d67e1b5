"""Train and measure the networks of `benchmarks/data/camvid_b0`: a table of small segmentation networks to race on.

``python benchmarks/camvid_table.py CAMVID [--workers N]`` says what is left, trains it and appends one line per
training to ``trainings.jsonl``. It may be stopped at any time and goes on when repeated. CAMVID is a folder in ADE20K's
layout. ``--measure`` measures the latency of every network on this machine, which should be idle (some ten minutes,
resumable). ``--export`` writes ``networks.csv`` from all that is there.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from numpy.typing import NDArray

from search_space import SearchSpace, read_space
from search_space.genes import Genes

DATA = Path(__file__).parent / "data" / "camvid_b0"
TRAININGS, LATENCIES = DATA / "trainings.jsonl", DATA / "latencies.jsonl"
BOARDS = {"nano": "jetson-nano", "tx2": "jetson-tx2", "xavier": "jetson-agx-xavier", "orin": "jetson-agx-orin"}
RECIPE = {"iterations": 120, "batch_size": 8, "lr": 4e-3}
"""What the table changes in the proxy's recipe: so short a training from scratch tells more at a high rate."""
NETWORKS, LONGER, SEEDED = 250, 60, 30
"""So many networks, the first of them also trained three times longer, the first of these with three seeds."""
TIMES, SEEDS = 3, 3

_proxies: dict[int, Any] = {}


def genes_of_networks(space: SearchSpace, count: int = NETWORKS) -> list[tuple[int, ...]]:
    """The table's networks, drawn choice by choice with seed 0, none twice."""
    drawn = map(tuple, space.genes.sample(np.random.default_rng(0), 2 * count).tolist())
    return list(dict.fromkeys(drawn))[:count]


def jobs() -> Iterator[tuple[int, int, int]]:
    """(number of the network, iterations, seed) of every training, the most useful first."""
    short = RECIPE["iterations"]
    for network in range(NETWORKS):
        yield network, int(short), 0
    for network in range(LONGER):
        yield network, int(TIMES * short), 0
        if network < SEEDED:
            yield from ((network, int(short), seed) for seed in range(1, SEEDS))


def trainings() -> list[dict[str, Any]]:
    """All that were done."""
    return _lines(TRAININGS)


def _lines(file: Path) -> list[dict[str, Any]]:
    """A last line that a killed writer cut is dropped."""
    return [json.loads(line) for line in file.read_text().split("\n")[:-1]] if file.exists() else []


def _open_to_append(file: Path) -> TextIO:
    """``file``, less a last line that a killed writer cut."""
    if file.exists() and not (content := file.read_bytes()).endswith(b"\n"):
        os.truncate(file, content.rfind(b"\n") + 1)
    return file.open("a")


def trained() -> tuple[SearchSpace, Genes, NDArray[np.float64], NDArray[np.float64]]:
    """The space, and of every network that was trained: genes (P, G), MACs and parameters (P, 2), and the mIoU of the
    short training with seed 0 (P,)."""
    from evaluators.costs.table import CostTable

    space, table = read_space(DATA / "space.yaml"), CostTable()
    scores = {t["id"]: t["miou"] for t in trainings() if "miou" in t and (t["iterations"], t["seed"]) == (120, 0)}
    archs = {arch.id: arch for arch in map(space.decode, genes_of_networks(space))}
    found = [archs[network] for network in scores]
    costs = [table.cost(arch) for arch in found]
    figures = np.array([(cost.macs, cost.params) for cost in costs], dtype=np.float64)
    return space, space.encode(found), figures, np.array(list(scores.values()))


def measure() -> None:
    """Appends the latency of every network that was not measured yet."""
    from evaluators.latency.devices import find

    space, backend = read_space(DATA / "space.yaml"), find("host").open()
    done = {line["id"] for line in _lines(LATENCIES)}
    left = [arch for arch in map(space.decode, genes_of_networks(space)) if arch.id not in done]
    with _open_to_append(LATENCIES) as file:
        for count, arch in enumerate(left, 1):
            found = backend.latency(arch)
            line = {"id": arch.id, "ms": round(found.ms, 4), "low_ms": found.figure.low, "high_ms": found.figure.high}
            file.write(json.dumps(line | {"provenance": str(found.provenance)}) + "\n")
            file.flush()
            print(f"[{count}/{len(left)}] {arch.id} {found.ms:.2f} ms", flush=True)


def export() -> None:
    """Writes ``networks.csv``: costs, latencies and scores of every network, one line each."""
    import pandas as pd

    from evaluators.costs.table import CostTable
    from evaluators.latency.devices import find

    space, table = read_space(DATA / "space.yaml"), CostTable()
    boards = {name: find(device).open() for name, device in BOARDS.items()}
    hosts = {line["id"]: line for line in _lines(LATENCIES)}
    scores: dict[str, dict[str, float]] = {}
    for line in trainings():
        if "miou" in line:
            scores.setdefault(line["id"], {})[f"miou_{line['iterations']}_seed{line['seed']}"] = line["miou"]
    rows = []
    for genes in genes_of_networks(space):
        arch = space.decode(genes)
        cost = table.cost(arch)
        row = {"id": arch.id, "genes": " ".join(map(str, genes)), "params": cost.params, "macs": cost.macs}
        row["host_ms"] = hosts.get(arch.id, {}).get("ms")
        row |= {f"{name}_ms": round(board.latency(arch).ms, 4) for name, board in boards.items()}
        rows.append(row | scores.get(arch.id, {}))
    frame = pd.DataFrame(rows)
    columns = [column for column in frame if column.startswith("miou")]
    frame = frame[[*(column for column in frame if column not in columns), *sorted(columns)]]
    said = [f"host_ms: {found}" for found in sorted({line["provenance"] for line in hosts.values()})]
    said += [f"{name}_ms: {board.provenance()}" for name, board in boards.items()]
    head = "".join(f"# {line}\n" for line in said)
    (DATA / "networks.csv").write_text(head + frame.to_csv(index=False))
    print(f"{len(frame)} networks, {sum(map(len, scores.values()))} scores: {DATA / 'networks.csv'}")


def train(root: Path, genes: tuple[int, ...], iterations: int, seed: int) -> dict[str, Any]:
    """One training, in a process of its own with one thread."""
    from boostformer import recipes
    from boostformer.data import DataConfig
    from boostformer.data.cache import data_cache
    from boostformer.training import TrainingFailure
    from evaluators.proxy import Proxy

    space = read_space(DATA / "space.yaml")
    if iterations not in _proxies:
        data = DataConfig(kind="ade20k", root=root, size=space.size)
        _proxies[iterations] = Proxy(data, recipes.load("proxy", **(RECIPE | {"iterations": iterations})), data_cache())
    arch = space.decode(genes)
    found: dict[str, Any] = {"id": arch.id, "iterations": iterations, "seed": seed}
    try:
        score = _proxies[iterations].evaluate(arch, seed)
    except TrainingFailure as failure:
        return found | {"failure": failure.reason}
    return found | {"miou": round(score.miou, 6), "seconds": round(score.seconds, 1)}


def _begin_worker() -> None:
    import torch

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides
    os.nice(19)
    torch.set_num_threads(1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("camvid", type=Path, nargs="?")
    parser.add_argument("--measure", action="store_true")
    parser.add_argument("--export", action="store_true")
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    arguments = parser.parse_args()
    if arguments.measure:
        measure()
    if arguments.export:
        export()
    if arguments.camvid is not None:
        train_missing(arguments.camvid, arguments.workers)


def train_missing(camvid: Path, workers: int) -> None:
    """Trains what was not yet, in so many processes."""
    space = read_space(DATA / "space.yaml")
    genes = genes_of_networks(space)
    ids = [space.decode(row).id for row in genes]
    before = trainings()
    done = {(known["id"], known["iterations"], known["seed"]) for known in before}
    left = [job for job in jobs() if (ids[job[0]], *job[1:]) not in done]
    each = statistics.mean([known["seconds"] for known in before if "seconds" in known] or [20.0])
    print(f"{len(done)} trainings done, {len(left)} left: about {each * len(left) / workers / 60:.0f} min")
    began = time.perf_counter()
    with (
        ProcessPoolExecutor(workers, initializer=_begin_worker) as pool,
        _open_to_append(TRAININGS) as file,
    ):
        futures = [pool.submit(train, camvid, genes[network], *rest) for network, *rest in left]
        try:
            for count, future in enumerate(as_completed(futures), 1):
                file.write(json.dumps(future.result()) + "\n")
                file.flush()
                minutes = (time.perf_counter() - began) / 60
                print(f"[{count}/{len(left)}] {future.result()}, {minutes:.0f} min", flush=True)
        except KeyboardInterrupt:
            pool.shutdown(wait=False, cancel_futures=True)
            print("stopped; the same command goes on")


if __name__ == "__main__":
    main()
