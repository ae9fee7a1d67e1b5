"""Recipes, losses and networks trained in full on CamVid, scored on a sequence that nobody trains or tunes on.

`python benchmarks/camvid_training.py CAMVID OUT GROUP… [--pick RUN_DIR:best-miou] [--jobs 8] [--minutes 5]`

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
import multiprocessing
import statistics
import time
from argparse import Namespace
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HELD_OUT = "0006R0"
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
    "dice": {"loss": {"dice": 1.0}},
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


def parts(options: Namespace) -> tuple[Any, Any, Any]:
    """Open the images to train on, to validate on, and the held-out ones."""
    from boostformer.data import DataConfig, open_split
    from boostformer.data.part import Part

    data = DataConfig(root=options.root.resolve(), kind="ade20k", size=options.size, ignore=(0, 255))
    whole, validation = (open_split(data, split, options.cache) for split in ("training", "validation"))
    sides: dict[bool, list[int]] = {False: [], True: []}
    for index in range(len(whole)):
        sides[whole.name(index).startswith(HELD_OUT)].append(index)
    return Part(whole, sides[False]), validation, Part(whole, sides[True])


def recipe_of(job: Job, options: Namespace) -> Any:
    """Make the recipe of a training."""
    import torch

    from boostformer import recipes

    loaders = 1 if torch.cuda.is_available() else 0
    return recipes.load("small-data", workers=loaders, seed=job.seed, precision=options.precision, **job.changes)


def network_of(job: Job, training: Any, drop_path: float) -> Any:
    """Build a training's network."""
    import torch

    from boostformer.model import build
    from search.cli.arch_argument import read_architecture

    torch.manual_seed(job.seed)
    architecture = read_architecture(job.network).replace(classes=training.num_classes, size=training.size)
    return build(architecture, drop_path)


def teaching_of(job: Job, options: Namespace, training: Any) -> Any:
    """Open the teacher of a training; None where it has none."""
    from boostformer.teachers.opening import open_teacher
    from boostformer.training.taught import Teaching

    if not job.taught:
        return None
    names = [training.name(index) for index in range(len(training))]
    return Teaching(open_teacher(options.out / "teacher", training.size, names))


def run(job: Job, options: Namespace) -> dict[str, Any]:
    """Train and score one network."""
    import torch

    from boostformer.training import evaluate, train

    torch.set_num_threads(1)
    training, validation, held_out = parts(options)
    recipe = recipe_of(job, options)
    model = network_of(job, training, recipe.drop_path)
    report = train(model, training, recipe, size=training.size, teaching=teaching_of(job, options, training))
    splits = {"val": validation, "test": held_out}
    scores = {name: evaluate(model, split, size=training.size) for name, split in splits.items()}
    if job.group == "teacher":
        model.labels = training.labels
        model.save_pretrained(options.out / "teacher")
    return {
        "key": job.key,
        **{"group": job.group, "arm": job.arm, "network": job.network, "seed": job.seed, "id": model.architecture.id},
        **{f"{name}_miou": found.miou for name, found in scores.items()},
        **{f"{name}_accuracy": found.accuracy for name, found in scores.items()},
        **{"iterations": report.iterations, "seconds": round(report.seconds, 1), "changes": job.changes},
        "device": torch.cuda.get_device_name() if report.device.startswith("cuda") else report.device,
    }


def paces(options: Namespace) -> dict[str, float]:
    """Give the seconds of a step of each arm of ``taught`` for each pick, measured once and kept."""
    from boostformer.training import loop, train

    file = options.out / "paces.json"
    known: dict[str, float] = json.loads(file.read_text()) if file.is_file() else {}
    training = parts(options)[0]
    few = {"iterations": 120, "warmup_iterations": 0, "lr": 1e-12}
    for network in options.pick:
        for arm, weights in TAUGHT.items():
            if (key := f"{arm}/{network}") in known:
                continue
            job = Job("taught", arm, network, 0, few | distilled(weights), weights is not None)
            recipe, times = recipe_of(job, options), []
            told = lambda done, *_: times.append((done, time.perf_counter()))  # noqa: B023, E731
            teaching = teaching_of(job, options, training)
            model = network_of(job, training, recipe.drop_path)
            train(model, training, recipe, size=training.size, progress=told, teaching=teaching)
            warm = next(index for index, (done, _) in enumerate(times) if done >= 2 * loop.report_every(device()))
            (first, began), (last, ended) = times[warm], times[-1]
            known[key] = (ended - began) / (last - first)
            file.write_text(json.dumps(known, indent=1))
            print(f"{key}: {1000 * known[key]:.1f} ms a step", flush=True)
    return known


def device() -> Any:
    from accelerate import PartialState

    return PartialState().device


def distilled(weights: dict[str, Any] | None) -> dict[str, Any]:
    return {} if weights is None else {"distillation": weights}


def taught_jobs(options: Namespace) -> list[Job]:
    """List the trainings with a teacher, all of the same wall-clock."""
    known, found = paces(options), []
    for network in options.pick:
        for arm, weights in TAUGHT.items():
            count = round(FULL * known[f"no teacher/{network}"] / known[f"{arm}/{network}"])
            changes = {"iterations": count} | distilled(weights)
            found += [Job("taught", arm, network, seed, changes, weights is not None) for seed in SEEDS]
    return sorted(found, key=lambda job: job.seed)


def finished(out: Path) -> list[dict[str, Any]]:
    """Read the trainings that are done."""
    file = out / "results.jsonl"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.is_file() else []


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


def jobs(options: Namespace) -> list[Job]:
    """List the trainings that are asked for and not done, the longest first within a group."""
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
        best = {"iterations": FULL} | helping(finished(options.out))
        networks = ["segformer_b0", "boostformer_b0", *options.pick]
        found += [Job(group, "best", network, seed, best) for seed in SEEDS for network in networks]
    known = {row["key"] for row in finished(options.out)}
    return [job for job in found if job.key not in known]


def table(out: Path) -> None:
    """Print the mean and deviation of each arm's scores."""
    rows: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
    for row in finished(out):
        rows.setdefault((row["group"], row["arm"], row["network"]), []).append(row)
    for (group, arm, network), some in rows.items():
        said = []
        for key in ("val_miou", "test_miou"):
            values = [100 * row[key] for row in some]
            spread = statistics.stdev(values) if len(values) > 1 else 0.0
            said.append(f"{key[:-5]} {statistics.mean(values):.2f} ± {spread:.2f}")
        print(f"{group:9} {arm:20} {network:28} {', '.join(said)}, {len(some)} seeds", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("root", type=Path, metavar="CAMVID")
    parser.add_argument("out", type=Path, metavar="OUT")
    parser.add_argument("groups", nargs="+", choices=["recipes", "losses", "main", "teacher", "taught"])
    parser.add_argument("--pick", nargs="*", default=[], help="networks found: architecture files or RUN_DIR:TRIAL")
    parser.add_argument("--scout", default="boostformer_b0", help="the network of recipes and losses")
    parser.add_argument("--size", default="128x192", help="HxW")
    parser.add_argument("--precision", default="fp32", help="fp32 or bf16")
    parser.add_argument("--jobs", type=int, default=1, help="trainings at once")
    parser.add_argument("--minutes", type=float, default=60.0, help="after which nothing new begins")
    parser.add_argument("--cache", type=Path, help="folder for decoded images; by default in OUT")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    options.cache = options.cache or options.out / "cache"
    until = time.monotonic() + 60 * options.minutes
    waiting = jobs(options)
    print(
        f"{len(waiting)} trainings to do, {options.jobs} at once, for at most {options.minutes:g} minutes", flush=True
    )
    context = multiprocessing.get_context("spawn")
    failed = 0
    with ProcessPoolExecutor(options.jobs, context) as pool:
        running = {}
        for job in waiting:
            running[pool.submit(run, job, options)] = job
        try:
            for future in as_completed(running, timeout=max(0.0, until - time.monotonic())):
                if (error := future.exception()) is not None:  # of the others nothing is lost
                    failed += 1
                    print(f"{running[future].key}: {type(error).__name__}: {error}", flush=True)
                    continue
                row = future.result()
                with (options.out / "results.jsonl").open("a") as stream:
                    stream.write(json.dumps(row) + "\n")
                print(
                    f"{row['key']}: val {row['val_miou']:.2%}, test {row['test_miou']:.2%}, {row['seconds']} s",
                    flush=True,
                )
        except TimeoutError:
            print("time is up; the same command goes on", flush=True)
            for process in list(pool._processes.values()):
                process.kill()
            pool.shutdown(wait=False, cancel_futures=True)
    table(options.out)
    if failed:
        raise SystemExit(f"{failed} trainings failed")


if __name__ == "__main__":
    main()
