"""Searches that inherit beside those from scratch on CamVid: the same processor time for search and final training.

`python benchmarks/inheritance.py CAMVID OUT [--size 96x128] [--search 8] [--final 4] [--seeds 3] [--arms …] [--jobs 1]`

Each method has `--search` minutes of one thread for its search, within half of `boostformer_b0`'s parameters and
deployed MACs, then `--final` minutes for the network with the best score: from scratch where the search was, else from
the weights that it has. Beside them networks made by hand train for the whole of that time. Processor time counts, not
the clock: what else runs on the machine disturbs it less. The frames ``0006R0*`` are kept from all and scored as
`sequence`; the search scores on `validation`. Each method and seed is a line of OUT/results.jsonl, its run lies in
OUT/ARM-SEED; the same command goes on, within a search, too.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from camvid_jobs import arguments, finished, opened, parse, run_all, seen, spread

PROXY = 120
"""Iterations that score a network."""
SHARE = "50%"
SCORES = ("validation", "sequence")
BY_HAND = ("boostformer_b0", "segformer_b0")
SEARCHES: dict[str, dict[str, Any]] = {
    "default": {"strategy": "surrogate", "inherit": "never"},
    "inheriting evolution": {"strategy": "evolution", "inherit": "always"},
    "inheriting surrogate": {"strategy": "surrogate", "inherit": "always"},
    "rungs": {"strategy": "surrogate", "inherit": "never"},
    "random": {"strategy": "random", "inherit": "never"},
}
RUNGS = [PROXY // 2, 3 * PROXY // 2, 9 * PROXY // 2]
"""The arm with rungs has these, and spends about as much on a network."""


@dataclass(frozen=True)
class Job:
    """One method with one seed."""

    arm: str
    seed: int

    @property
    def key(self) -> str:
        return f"{self.arm}/{self.seed}"


class Watch:
    """A worker's reporter that ends the search once its processor time is used up, and keeps the time used so far."""

    def __init__(self, file: Path, seconds: float) -> None:
        self.file, self.seconds = file, seconds
        known = json.loads(file.read_text()) if file.is_file() else {"used": 0.0, "curve": []}
        self.curve: list[tuple[float, float]] = known["curve"]
        self._began = time.process_time() - known["used"]

    @property
    def used(self) -> float:
        return time.process_time() - self._began

    def ended(self, trial: Any) -> None:
        best = max(trial.miou or 0.0, self.curve[-1][1] if self.curve else 0.0)
        self.curve.append((round(self.used, 1), best))
        self.file.write_text(json.dumps({"used": self.used, "curve": self.curve}))

    def step(self, done: int, total: int, loss: float) -> None:
        if self.used > self.seconds:
            raise KeyboardInterrupt

    def _nothing(self, *told: Any) -> None:
        """Show nothing."""

    begins = trial = set_aside = says = exhausted = _nothing


def folder_of(job: Job, options: argparse.Namespace) -> Path:
    """Name the folder of a method's run."""
    return Path(options.out / job.key.replace("/", "-").replace(" ", "-"))


def searched(job: Job, options: argparse.Namespace) -> tuple[Any, Watch]:
    """Search for as long as there is time; give the run and the time that went by."""
    import yaml

    from results.run import read_run
    from search.config.opening import resolve
    from search.study.folder import earlier_experiment, set_up
    from search.worker.loop import work

    folder = folder_of(job, options)
    file = folder.with_suffix(".yaml")
    iterations = RUNGS if job.arm == "rungs" else PROXY
    content = {
        "space": "boostformer_b0",
        "data": {"kind": "ade20k", "root": str(options.out / "camvid"), "size": options.size, "ignore": [0, 255]},
        "budgets": {"baseline": "boostformer_b0", "params": SHARE, "macs": SHARE},
        "proxy": {"iterations": iterations, "batch_size": 8, "loss": {"class_weights": "auto"}},
        "search": SEARCHES[job.arm] | {"trials": 100_000, "seed": job.seed},
    }
    file.write_text(yaml.safe_dump(content))
    experiment, trials = resolve(file, earlier_experiment(folder, None))
    experiment.proxy  # noqa: B018  # images are decoded before the time counts
    experiment.problem.share(draws=1)
    set_up(folder, experiment, trials)
    watch = Watch(folder.with_suffix(".json"), 60 * options.search)
    try:
        if watch.used < watch.seconds:
            work(experiment, folder, watch)
    except KeyboardInterrupt:
        if watch.used < watch.seconds:  # somebody's own Ctrl-C
            raise
    return read_run(folder), watch


def hypervolume(trials: Sequence[Any], budget: float) -> float:
    """Measure the part of mIoU 0…1 times MACs 0…``budget`` that these trials dominate."""
    volume, best, before = 0.0, 0.0, 0.0
    for trial in sorted(trials, key=lambda trial: trial.macs):
        if trial.miou > best:
            volume += best * (trial.macs - before)
            best, before = trial.miou, float(trial.macs)
    return (volume + best * (budget - before)) / budget


def run(job: Job, options: argparse.Namespace) -> dict[str, Any]:
    """Search and train, or only train, in the same time."""
    import torch

    from boostformer import presets, recipes
    from boostformer.architecture import Architecture
    from boostformer.model import build
    from boostformer.start import start_from
    from boostformer.training import train
    from search.study.weights import weights_of

    torch.set_num_threads(1)
    data = opened(options.root, options.size, options.cache)
    row: dict[str, Any] = {"key": job.key, "arm": job.arm, "seed": job.seed, "search": 0.0}
    trained, minutes = None, options.final
    if job.arm in BY_HAND:
        architecture = presets.load(job.arm, classes=data.training.num_classes, size=data.size)
        minutes += options.search
    else:
        found, watch = searched(job, options)
        done = [trial for trial in found.trials if trial.is_finished]
        pick = max(done, key=lambda trial: (trial.iterations, trial.miou))
        architecture = Architecture.from_dict(pick.architecture, job.key)
        row |= {"search": round(watch.used, 1), "curve": watch.curve, "trials": len(done), "score": pick.miou}
        row |= {"hypervolume": hypervolume(done, found.config["budgets"]["macs"]), "behind": pick.behind}
        if pick.weights is not None:
            trained = weights_of(folder_of(job, options), pick)
    recipe = recipes.load("small-data", seed=job.seed, threads=1, workers=0, loss={"dice": 0.0})
    torch.manual_seed(job.seed)
    model = build(architecture, recipe.drop_path)
    began = time.process_time()
    few = recipe.model_copy(update={"iterations": 20, "warmup_iterations": 0, "lr": 1e-12})
    train(model, data.training, few, size=data.size)
    step = (time.process_time() - began) / 20
    iterations = max(1, round((60 * minutes - 20 * step) / step))
    torch.manual_seed(job.seed)
    model = build(architecture, recipe.drop_path)
    if trained is not None:
        start_from(model, trained, data.training.labels)
        row |= {f"{name}_before": score.miou for name, score in data.scores(model).items()}
    warmup = min(recipe.warmup_iterations, iterations // 4)
    recipe = recipe.model_copy(update={"iterations": iterations, "warmup_iterations": warmup})
    began = time.process_time()
    train(model, data.training, recipe, size=data.size)
    row |= {"final": round(time.process_time() - began, 1), "iterations": iterations}
    row |= {name: score.miou for name, score in data.scores(model).items()}
    asked = {"size": options.size, "search_minutes": options.search, "final_minutes": options.final}
    return row | {"id": architecture.id, "seconds": round(row["search"] + row["final"], 1), "options": asked}


def table(rows: list[dict[str, Any]]) -> None:
    """Print each method's means and deviations, and how sure its difference to the default is."""
    from scipy.stats import mannwhitneyu

    usual = [row for row in rows if row["arm"] == "default"]
    heads = "".join(f"{head:>15}" for head in (*SCORES, "score", "hypervolume"))
    print(f"\n{'method':22}{heads}  networks, iterations of the final training; seeds")
    for arm in [*SEARCHES, *BY_HAND]:
        some = [row for row in rows if row["arm"] == arm]
        if not some:
            continue
        columns = "".join(
            f"{spread(row[name] for row in some) if name in some[0] else '':>15}"
            for name in (*SCORES, "score", "hypervolume")
        )
        counts = f"{sum(row.get('trials', 0) for row in some) / len(some):.0f}, "
        counts += f"{sum(row['iterations'] for row in some) / len(some):.0f}; {len(some)}"
        if arm != "default" and usual and len(some) > 1:
            for name in SCORES:
                mine, theirs = [row[name] for row in some], [row[name] for row in usual]
                u, p = mannwhitneyu(mine, theirs)
                counts += f"; {name}: A12 {u / len(mine) / len(theirs):.2f}, p {p:.2f}"
        print(f"{arm:22}{columns}  {counts}")


def said(row: dict[str, Any]) -> str:
    """Say how a method did."""
    searched = f"{row['trials']} networks, best score {row['score']:.2%}; " if "trials" in row else ""
    return f"{searched}validation {row['validation']:.2%}, sequence {row['sequence']:.2%}"


def main() -> None:
    parser = arguments(__doc__.splitlines()[0], size="96x128")
    parser.add_argument("--search", type=float, default=8.0, help="minutes of processor time for a search")
    parser.add_argument("--final", type=float, default=4.0, help="minutes of processor time for the final training")
    parser.add_argument("--arms", nargs="+", choices=[*SEARCHES, *BY_HAND], default=[*SEARCHES, *BY_HAND])
    parser.add_argument("--seeds", type=int, default=3, help="how many")
    options = parse(parser)
    options.out = options.out.resolve()
    seen(options.root, options.out)
    jobs = [Job(arm, seed) for seed in range(options.seeds) for arm in options.arms]
    failed = run_all(jobs, run, options, said)
    if rows := finished(options.out):
        table(rows)
    if failed:
        sys.exit(f"{len(failed)} methods failed")


if __name__ == "__main__":
    main()
