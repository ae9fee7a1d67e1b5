"""Recipes, losses and networks trained in full on CamVid, scored on a sequence that nobody trains or tunes on.

`python benchmarks/camvid_training.py CAMVID OUT GROUP… [--pick RUN_DIR:best-miou] [--only REGEX] [--jobs 8]`

CAMVID is a folder in ADE20K's layout. The frames ``0006R0*`` of its training part are held out; choices are made on
the validation part, frames of a sequence of which others are trained on. Groups: ``recipes`` and ``losses`` change one
thing each in a recipe, for the scout; ``main`` trains the networks of the table with all changes that helped, by the
rule of :func:`helping`; ``teacher`` trains SegFormer-B0 and keeps it in `OUT/teacher`; ``taught`` trains the picks with
terms of distillation from it, each for the wall-clock that a full training without a teacher takes: the seconds of a
step are measured first, alone on the machine, and kept in `OUT/paces.json`. Each training is one line of
`OUT/results.jsonl`; the same command goes on with those that are missing, and ends after so many minutes.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from camvid_jobs import CamVid, arguments, device_named, finished, loaders, opened, parse, run_all, spread, state_of

SCOUTED = 1200
"""Iterations of trainings that try a change."""
FULL = 4000
TEACHING = 5000
"""Iterations of the teacher."""
SEEDS = (0, 1, 2)
RECIPES: dict[str, dict[str, Any]] = {
    "lr 3e-3": {"lr": 3e-3},
    "ema": {"ema": 0.998},
    "batch 16": {"batch_size": 16},
}
LOSSES: dict[str, dict[str, Any]] = {
    "no class weights": {"loss": {"class_weights": "none"}},
    "label smoothing": {"loss": {"label_smoothing": 0.1}},
    "no dice": {"loss": {"dice": 0.0}},
    "lovasz": {"loss": {"lovasz": 1.0}},
    "hardest 0.3": {"loss": {"hardest": 0.3}},
    "focal": {"loss": {"cross_entropy": 0.0, "focal": 1.0}},
    "boundary": {"loss": {"boundary": 1.0}},
    "auxiliary": {"loss": {"auxiliary": 0.4}},
    "at logits": {"loss": {"resolution": "logits"}},
}


_OFF = {"logits": 0.0, "channels": 0.0, "stages": 0.0}
TAUGHT: dict[str, dict[str, Any] | None] = {
    "no teacher": None,
    "logits": _OFF | {"logits": 1.0},
    "channels": _OFF | {"channels": 1.0},
    "stages": _OFF | {"stages": 1.0},
    "logits+channels": _OFF | {"logits": 1.0, "channels": 1.0},
}
"""Weights of the terms of distillation; None without a teacher."""


@dataclass(frozen=True)
class Job:
    """One training: its group and arm, the network, the seed, and what the arm changes in the recipe.

    Who is ``taught`` learns from the teacher, too.
    """

    group: str
    arm: str
    network: str
    seed: int
    changes: dict[str, Any]
    taught: bool = False

    @property
    def key(self) -> str:
        return f"{self.group}/{self.arm}/{self.network}/{self.seed}"


def prepared(job: Job, options: argparse.Namespace, data: CamVid) -> tuple[Any, Any, Any]:
    """Build a training's network, make its recipe, and open its teacher, None where it has none."""
    import torch

    from boostformer import recipes
    from boostformer.model import build
    from boostformer.teachers.opening import open_teacher
    from boostformer.training.taught import Teaching
    from search.cli.arch_argument import read_architecture

    recipe = recipes.load("small-data", workers=loaders(), seed=job.seed, precision=options.precision, **job.changes)
    torch.manual_seed(job.seed)
    architecture = read_architecture(job.network).replace(classes=data.training.num_classes, size=data.size)
    model, teaching = build(architecture, recipe.drop_path), None
    if job.taught:
        names = [data.training.name(index) for index in range(len(data.training))]
        teaching = Teaching(open_teacher(options.out / "teacher", data.size, names))
    return model, recipe, teaching


def run(job: Job, options: argparse.Namespace) -> dict[str, Any]:
    """Train and score one network."""
    import torch

    from boostformer.training import train

    torch.set_num_threads(1)
    data = opened(options.root, options.size, options.cache)
    model, recipe, teaching = prepared(job, options, data)
    state = state_of(job, options)
    report = train(model, data.training, recipe, size=data.size, resume_dir=state, teaching=teaching)
    found = data.scores(model)
    scores = {"val": found["validation"], "test": found["sequence"]}
    if job.group == "teacher":
        model.labels = data.training.labels
        model.save_pretrained(options.out / "teacher")
    return {
        "key": job.key,
        **{"group": job.group, "arm": job.arm, "network": job.network, "seed": job.seed, "id": model.architecture.id},
        **{f"{name}_miou": score.miou for name, score in scores.items()},
        **{f"{name}_accuracy": score.accuracy for name, score in scores.items()},
        **{"iterations": report.iterations, "seconds": round(report.seconds, 1), "changes": job.changes},
        "device": device_named(report.device),
    }


def paces(options: argparse.Namespace) -> dict[str, float]:
    """Give the seconds of a step of each arm of ``taught`` for each pick, measured once and kept.

    On a CPU, where trainings have one thread and load by themselves, processor time counts: whatever else runs disturbs
    it less.
    """
    import torch
    from accelerate import PartialState

    from boostformer.training import loop, train

    file = options.out / "paces.json"
    known: dict[str, float] = json.loads(file.read_text()) if file.is_file() else {}
    clock = time.perf_counter if torch.cuda.is_available() else time.process_time
    torch.set_num_threads(1)
    data = opened(options.root, options.size, options.cache)
    few = {"iterations": 120, "warmup_iterations": 0, "lr": 1e-12}
    for network in options.pick:
        for arm, weights in TAUGHT.items():
            if (key := f"{arm}/{network}") in known:
                continue
            job = Job("taught", arm, network, 0, few | distilled(weights), weights is not None)
            model, recipe, teaching = prepared(job, options, data)
            times: list[tuple[int, float]] = []
            told = lambda done, *_: times.append((done, clock()))  # noqa: B023, E731
            train(model, data.training, recipe, size=data.size, progress=told, teaching=teaching)
            every = loop.report_every(PartialState().device)
            (first, began), (last, ended) = next(told for told in times if told[0] >= 2 * every), times[-1]
            known[key] = (ended - began) / (last - first)
            file.write_text(json.dumps(known, indent=1))
            print(f"{key}: {1000 * known[key]:.1f} ms a step", flush=True)
    return known


def distilled(weights: dict[str, Any] | None) -> dict[str, Any]:
    return {} if weights is None else {"distillation": weights}


def taught_jobs(options: argparse.Namespace) -> list[Job]:
    """List the trainings with a teacher, all of the same wall-clock."""
    known, found = paces(options), []
    for network in options.pick:
        for arm, weights in TAUGHT.items():
            count = round(options.full * known[f"no teacher/{network}"] / known[f"{arm}/{network}"])
            changes = {"iterations": count} | distilled(weights)
            found += [Job("taught", arm, network, seed, changes, weights is not None) for seed in SEEDS]
    return sorted(found, key=lambda job: job.seed)


def helping(done: list[dict[str, Any]]) -> dict[str, Any]:
    """Collect the changes that helped.

    Those are the ones whose mean validation mIoU, over the same seeds, exceeds that of no change by more than one
    standard error of the differences; of two that change one value, the better.
    """
    by_arm: dict[str, dict[int, float]] = {}
    for row in done:
        if row["group"] in ("recipes", "losses"):
            by_arm.setdefault(row["arm"], {})[row["seed"]] = row["val_miou"]
    base, gains = by_arm.get("base", {}), {}
    for arm, scores in by_arm.items():
        pairs = [scores[seed] - base[seed] for seed in scores if seed in base]
        if arm != "base" and len(pairs) > 1 and statistics.mean(pairs) > statistics.stdev(pairs) / len(pairs) ** 0.5:
            gains[arm] = statistics.mean(pairs)
    merged: dict[str, Any] = {}
    for arm in sorted(gains, key=gains.__getitem__):
        for key, value in (RECIPES | LOSSES)[arm].items():
            merged[key] = merged.get(key, {}) | value if isinstance(value, dict) else value
    print(f"helping: {', '.join(gains) or 'nothing'}: {merged}", flush=True)
    return merged


def jobs(options: argparse.Namespace) -> list[Job]:
    """List the trainings that are asked for, the longest first within a group."""
    found: list[Job] = []
    for group in options.groups:
        if group in ("recipes", "losses"):
            arms = {"base": {}} | RECIPES if group == "recipes" else LOSSES
            found += [
                Job(group, arm, options.scout, seed, {"iterations": SCOUTED} | changes)
                for seed in SEEDS
                for arm, changes in arms.items()
            ]
            continue
        if group == "teacher":
            found.append(Job(group, "best", "segformer_b0", 0, {"iterations": TEACHING}))
            continue
        if group == "taught":
            found += taught_jobs(options)
            continue
        best = {"iterations": options.full} | helping(finished(options.out))
        networks = ["segformer_b0", "boostformer_b0", *options.pick]
        found += [Job(group, "best", network, seed, best) for seed in SEEDS for network in networks]
    return found


def table(out: Path) -> None:
    """Print the mean and deviation of each arm's scores."""
    rows: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
    for row in finished(out):
        rows.setdefault((row["group"], row["arm"], row["network"]), []).append(row)
    for (group, arm, network), some in rows.items():
        said = [f"{key} {spread(row[f'{key}_miou'] for row in some)}" for key in ("val", "test")]
        print(f"{group:9} {arm:20} {network:28} {', '.join(said)}, {len(some)} seeds", flush=True)


def main() -> None:
    parser = arguments(__doc__.splitlines()[0], size="128x192")
    parser.add_argument("groups", nargs="+", choices=["recipes", "losses", "main", "teacher", "taught"])
    parser.add_argument("--pick", nargs="*", default=[], help="networks found: architecture files or RUN_DIR:TRIAL")
    parser.add_argument("--scout", default="boostformer_b0", help="the network of recipes and losses")
    parser.add_argument("--full", type=int, default=FULL, help="iterations of main, and of taught without a teacher")
    options = parse(parser)
    said = lambda row: f"val {row['val_miou']:.2%}, test {row['test_miou']:.2%}"  # noqa: E731
    failed = run_all(jobs(options), run, options, said)
    table(options.out)
    if failed:
        sys.exit(f"{len(failed)} trainings failed")


if __name__ == "__main__":
    main()
