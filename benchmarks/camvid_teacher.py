"""Worth of a teacher at equal wall-clock: a student with each term of distillation on and off, over seeds.

`python benchmarks/camvid_teacher.py DATA OUT --teacher SOURCE [--student boostformer_b0] [--minutes 10] [--seeds 3]`

DATA is a folder such as CamVid in ADE20K's layout; SOURCE is what `boostformer train --teacher` takes: a checkpoint
trained on DATA's training part by `boostformer train segformer_b2 --data DATA --out SOURCE`, say. Every arm has as many
minutes of training, its teacher's passes included: the seconds of a step are measured once for each arm on this
machine, kept in `OUT/lengths.json`, and give the arm's iterations. `OUT/results.csv` gets a line for every finished
training; the same command goes on where it was stopped, within a training, too. On a GPU nothing else is to be said:
accelerate finds it (`ACCELERATE_TORCH_DEVICE=cpu` keeps off it); `--precision bf16` suits it, `--cache` keeps decoded
images in RAM or on a fast disk. Nothing else should run on the machine.
"""

from __future__ import annotations

import argparse
import csv
import json
import shutil
import statistics
import sys
from pathlib import Path
from typing import Any

import torch

from boostformer import presets, recipes
from boostformer.data import DataConfig
from boostformer.errors import UserError
from boostformer.model import build
from boostformer.sizes import parse_size
from boostformer.start import read_trained, start_from
from boostformer.teachers.opening import open_teacher
from boostformer.training import Recipe, evaluate, train
from boostformer.training.taught import Teaching
from boostformer.training.threads import using
from evaluators.proxy import Proxy

OFF = {"logits": 0.0, "channels": 0.0, "stages": 0.0}
ARMS: dict[str, dict[str, Any] | None] = {
    "none": None,
    "logits": OFF | {"logits": 1.0},
    "logits_t4": OFF | {"logits": 1.0, "temperature": 4.0},
    "channels": OFF | {"channels": 1.0},
    "stages": OFF | {"stages": 1.0},
    "logits_channels": OFF | {"logits": 1.0, "channels": 1.0},
    "all": OFF | {"logits": 1.0, "channels": 1.0, "stages": 1.0},
}
"""The weights of each arm; None for a training without the teacher."""
FIELDS = ("arm", "seed", "iterations", "step_seconds", "seconds", "miou", "accuracy", "device", "teacher")
TIMED = 400
"""Iterations whose pace is asked for; a few of them are measured."""


def recipe_of(options: argparse.Namespace, arm: str, seed: int, iterations: int) -> Recipe:
    """Make the recipe of one training of an arm."""
    changes: dict[str, Any] = {"iterations": iterations, "seed": seed, "precision": options.precision}
    if (weights := ARMS[arm]) is not None:
        changes["distillation"] = weights
    return recipes.load(options.recipe, **changes)


def lengths(options: argparse.Namespace, teaching: Teaching) -> dict[str, dict[str, float]]:
    """Give each arm's seconds per step and iterations, measured once and kept."""
    file = options.out / "lengths.json"
    kept: dict[str, dict[str, float]] = json.loads(file.read_text()) if file.is_file() else {}
    for arm in options.arms:
        if arm in kept:
            continue
        recipe = recipe_of(options, arm, 0, TIMED)
        proxy = Proxy(options.data, recipe, options.cache)
        taught = teaching if ARMS[arm] is not None else None
        network = architecture(options, len(proxy.labels))
        paces = [proxy.seconds_per_step(network, taught) for _ in range(3)]
        step = statistics.median(paces)
        kept[arm] = {"step_seconds": step, "iterations": max(10, round(60 * options.minutes / step))}
        file.write_text(json.dumps(kept, indent=2) + "\n")
        print(f"{arm}: {1000 * step:.1f} ms a step, {kept[arm]['iterations']:.0f} iterations", flush=True)
    return kept


def architecture(options: argparse.Namespace, classes: int) -> Any:
    """Give the student's architecture."""
    return presets.load(options.student, classes=classes, size=options.data.size)


def run(options: argparse.Namespace, arm: str, seed: int, length: dict[str, float], teaching: Teaching) -> None:
    """Train and score one arm with one seed, and write the line."""
    recipe = recipe_of(options, arm, seed, int(length["iterations"]))
    proxy = Proxy(options.data, recipe, options.cache)
    torch.manual_seed(seed)
    model = build(architecture(options, len(proxy.labels)), recipe.drop_path)
    if options.init is not None:
        print(start_from(model, read_trained(options.init), proxy.labels))
    state = options.out / f"{arm}-{seed}"
    taught = teaching if ARMS[arm] is not None else None
    report = train(
        model,
        proxy.training,
        recipe,
        size=options.data.size,
        resume_dir=state,
        about={"arm": arm, "init": options.init, "content": proxy.content["training"]},
        teaching=taught,
    )
    with using(report.threads):
        metrics = evaluate(model, proxy.validation, size=options.data.size)
    line = {
        "arm": arm,
        "seed": seed,
        "iterations": report.iterations,
        "step_seconds": f"{length['step_seconds']:.6f}",
        "seconds": f"{report.seconds:.1f}" if not report.resumed_from else "",  # of one sitting, or unknown
        "miou": f"{metrics.miou:.6f}",
        "accuracy": f"{metrics.accuracy:.6f}",
        "device": torch.cuda.get_device_name() if report.device.startswith("cuda") else report.device,
        "teacher": teaching.teacher.identity.sha256[:16],
    }
    file = options.out / "results.csv"
    new = not file.is_file()
    with file.open("a", newline="") as stream:
        writer = csv.DictWriter(stream, FIELDS)
        if new:
            writer.writeheader()
        writer.writerow(line)
    shutil.rmtree(state, ignore_errors=True)
    print(f"{arm} {seed}: mIoU {metrics.miou:.2%} after {report.seconds:.0f} s", flush=True)


def finished(file: Path) -> dict[tuple[str, int], float]:
    """Read the mIoU of the trainings that are done."""
    if not file.is_file():
        return {}
    with file.open(newline="") as stream:
        return {(row["arm"], int(row["seed"])): float(row["miou"]) for row in csv.DictReader(stream)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("root", type=Path, metavar="DATA", help="folder of the data")
    parser.add_argument("out", type=Path, metavar="OUT", help="folder of the results")
    parser.add_argument("--teacher", required=True, help="as `boostformer train --teacher` takes it")
    parser.add_argument("--student", default="boostformer_b0", help="a preset")
    parser.add_argument("--init", help="what students start from; by default random weights")
    parser.add_argument("--recipe", default="small-data", help="of all arms, but for their length")
    parser.add_argument("--precision", default="fp32", help="fp32, bf16 or fp16")
    parser.add_argument("--size", type=parse_size, default=(360, 480), help="HxW")
    parser.add_argument("--minutes", type=float, default=10.0, help="of each training")
    parser.add_argument("--seeds", type=int, default=3, help="how many")
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS))
    parser.add_argument("--cache", type=Path, help="folder for decoded images; by default in OUT")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    options.cache = options.cache or options.out / "cache"
    options.data = DataConfig(root=options.root, size=options.size)
    training = Proxy(options.data, recipe_of(options, "none", 0, TIMED), options.cache).training
    names = [training.name(index) for index in range(len(training))]
    teaching = Teaching(open_teacher(options.teacher, options.data.size, names))
    arms = lengths(options, teaching)
    results = options.out / "results.csv"
    for seed in range(options.seeds):
        for arm in options.arms:
            if (arm, seed) not in finished(results):
                run(options, arm, seed, arms[arm], teaching)
    scores = finished(results)
    for arm in options.arms:
        own = [scores[arm, seed] for seed in range(options.seeds)]
        spread = statistics.stdev(own) if len(own) > 1 else 0.0
        gains = [scores[arm, seed] - scores["none", seed] for seed in range(options.seeds) if ("none", seed) in scores]
        gain = f", {100 * statistics.mean(gains):+.2f} against none" if gains else ""
        print(f"{arm}: mIoU {statistics.mean(own):.2%} ± {spread:.2%}{gain}")


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        sys.exit(f"error: {error}")
