"""Trials per hour of a search on a CPU: one worker with all threads, and one worker per core with one thread each.

`python benchmarks/threads.py [--trials 12] [--iterations 40] [--repeats 3]`

Both run `boostformer search` on generated scenes with the same seeds, in turns; a first, short search that fills the
caches is not timed. The machine's load is printed, since it matters: two threads that share their cores with other
processes wait for each other.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from machine import cores, processor, versions

RUN_FILE = """\
space: tiny
data: {{kind: scenes, size: 64x64, scenes: {{training: 64, validation: 16, seed: 0}}}}
objectives: [miou, macs, params]
budgets: {{baseline: boostformer_b0, params: 3%, macs: 5%}}
proxy: {{iterations: {iterations}, batch_size: 8, lr: 0.01, scale: [1, 1], threads: {threads}}}
search: {{strategy: random, trials: {trials}, seed: {seed}}}
"""


def search(folder: Path, *, trials: int, iterations: int, workers: int, threads: int, seed: int) -> float:
    """Seconds that a search of ``trials`` networks takes, from its start to its end.

    Args:
        folder: Where to keep it.
        trials: How many networks it trains.
        iterations: Length of each training.
        workers: How many processes train.
        threads: With how many threads each.
        seed: Of the search; the first networks of equal seeds are the same.
    """
    folder.mkdir()
    run_file = folder / "run.yaml"
    run_file.write_text(RUN_FILE.format(iterations=iterations, threads=threads, trials=trials, seed=seed))
    command = [sys.executable, "-m", "search.cli", "search", str(run_file), "--out", str(folder / "run")]
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    started = time.perf_counter()
    done = subprocess.run([*command, "--workers", str(workers)], env=environment, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(done.stderr)
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=12, help="of each search")
    parser.add_argument("--iterations", type=int, default=40, help="of each training")
    parser.add_argument("--repeats", type=int, default=3, help="searches of each kind")
    options = parser.parse_args()
    print(f"{processor()}, {cores()} cores; {versions('torch')}; load {os.getloadavg()[0]:.1f}")
    kinds = {"one worker, all threads": (1, cores()), "a worker per core, one thread each": (cores(), 1)}
    rates: dict[str, list[float]] = {name: [] for name in kinds}
    with tempfile.TemporaryDirectory() as folder:
        search(Path(folder) / "first", trials=1, iterations=2, workers=1, threads=1, seed=0)
        for repeat in range(options.repeats):
            for name, (workers, threads) in kinds.items():
                seconds = search(
                    Path(folder) / f"{repeat}-{workers}",
                    trials=options.trials,
                    iterations=options.iterations,
                    workers=workers,
                    threads=threads,
                    seed=repeat,
                )
                rates[name].append(3600 * options.trials / seconds)
                print(f"{name}: {rates[name][-1]:.0f} trials per hour, load {os.getloadavg()[0]:.1f}", flush=True)
    print()
    for name, found in rates.items():
        print(f"{name}: {statistics.median(found):.0f} trials per hour ({min(found):.0f} to {max(found):.0f})")
    before, after = rates.values()
    ratios = [new / old for old, new in zip(before, after, strict=True)]
    print(f"ratio: {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})")


if __name__ == "__main__":
    main()
