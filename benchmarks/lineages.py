"""Schedules for lineages on CamVid: short trainings in a row, each of which begins from the weights of the one before.

`python benchmarks/lineages.py CAMVID OUT [--size 96x128] [--arch FILE] [--generations 8] [--seeds 2] [--jobs 1]`

One network, which never changes, is trained for `--generations` times 120 iterations as the networks of a search that
inherits are. The arms differ in warm-up, in the fall of the rate, and in what the next generation begins from: the
weights that were scored, or those before the rate fell. The frames ``0006R0*`` are kept from training and scored as
`sequence`. Beside them stands one training as long as all generations together. Each arm and seed is a line of
OUT/results.jsonl.
"""

from __future__ import annotations

import argparse
import copy
import sys
import time
from dataclasses import dataclass
from typing import Any

from camvid_jobs import arguments, finished, opened, parse, run_all, spread

PROXY = 120
"""Iterations of a generation."""
SHORT = {"warmup_iterations": 5}
STEADY = SHORT | {"schedule": "wsd", "decay": 1 / PROXY}
FALLING = SHORT | {"schedule": "wsd", "decay": 0.2}
ARMS: dict[str, tuple[dict[str, Any], dict[str, Any] | None]] = {
    "as from scratch": ({}, None),
    "short warm-up": (SHORT, None),
    "falling at the end": (FALLING, None),
    "falling, inherited before": (FALLING, {"iterations": round(0.8 * PROXY), **STEADY}),
    "steady, EMA scored": (STEADY | {"ema": 0.97}, STEADY),
}
"""Changes in the recipe that scores, and in one that gives the next generation its start; None for the same."""


@dataclass(frozen=True)
class Job:
    """One lineage with one seed."""

    arm: str
    seed: int

    @property
    def key(self) -> str:
        return f"{self.arm}/{self.seed}"


def run(job: Job, options: argparse.Namespace) -> dict[str, Any]:
    """Train all generations, and score each."""
    import torch

    from boostformer import recipes
    from boostformer.model import build
    from boostformer.training import train
    from search.cli.arch_argument import read_architecture

    torch.set_num_threads(1)
    data = opened(options.root, options.size, options.cache)
    architecture = read_architecture(options.arch).replace(classes=data.training.num_classes, size=data.size)
    torch.manual_seed(job.seed)
    model = build(architecture)
    began, scores = time.process_time(), []
    one = job.arm == "at once"
    for generation in range(1 if one else options.generations):
        usual = {"iterations": PROXY * (options.generations if one else 1), "threads": 1, "workers": 0}
        usual |= {"batch_size": 8, "loss": {"class_weights": "auto"}, "seed": 100 * job.seed + generation}
        scoring, giving = ({}, None) if one else ARMS[job.arm]
        parent = copy.deepcopy(model)
        first = {} if generation else {"warmup_iterations": PROXY // 4}
        train(model, data.training, recipes.load("proxy", **(usual | scoring | first)), size=data.size)
        scores.append({name: score.miou for name, score in data.scores(model).items()})
        if giving is not None:  # the same iterations as before, to another point
            model = parent
            train(model, data.training, recipes.load("proxy", **(usual | giving | first)), size=data.size)
    seconds = round(time.process_time() - began, 1)
    return {"key": job.key, "arm": job.arm, "seed": job.seed, "scores": scores, "seconds": seconds}


def table(rows: list[dict[str, Any]]) -> None:
    """Print the scores of the first, the middle and the last generation."""
    for arm in [*ARMS, "at once"]:
        some = [row["scores"] for row in rows if row["arm"] == arm]
        for name in ("validation", "sequence") if some else ():
            places = sorted({0, len(some[0]) // 2, len(some[0]) - 1})
            said = "  ".join(f"{place + 1}: {spread(one[place][name] for one in some)}" for place in places)
            print(f"{arm:28}{name:12}{said}  {len(some)} seeds")


def main() -> None:
    parser = arguments(__doc__.splitlines()[0], size="96x128")
    parser.add_argument("--arch", default="docs/results/camvid_training/pick_weighted.json", help="the network")
    parser.add_argument("--generations", type=int, default=8, help="of 120 iterations each")
    parser.add_argument("--seeds", type=int, default=2, help="how many")
    options = parse(parser)
    jobs = [Job(arm, seed) for seed in range(options.seeds) for arm in [*ARMS, "at once"]]
    said = lambda row: f"validation {row['scores'][-1]['validation']:.2%}"  # noqa: E731
    failed = run_all(jobs, run, options, said)
    table(finished(options.out))
    if failed:
        sys.exit(f"{len(failed)} lineages failed")


if __name__ == "__main__":
    main()
