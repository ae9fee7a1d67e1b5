"""Measure inheritance on CamVid: a trained SegFormer-B0 made lighter, beside the same structures from scratch.

`python benchmarks/lightening.py CAMVID OUT [--size 96x128] [--jobs 14] [--minutes 4] [--cache DIR]`

The parent is trained once (5,000 iterations, recipe `small-data`, seed 0) and kept in OUT/parent; one that lies there
already is taken. The frames ``0006R0*`` of CAMVID's training part are held out and scored as `sequence`. For a half, a
quarter and an eighth of the parent's deployed MACs there are three structures made by hand, each as wide as its budget
allows (see :data:`STYLES`), and the best of `--screen` networks that a search's screening sees for ten steps, kept in
OUT/screened-SHARE.json; of each the arms

- `inherited`: starts from the parent's weights and is trained on;
- `taught`: the same, with the parent as its teacher (logits and channels);
- `scratch`: from random weights with as many iterations, and with 3,000 more, as if a search's time went into it;
- `encoder`: with `--encoder`, a checkpoint of `pretrain`, starts from that instead of the parent.

Beside them `parent` is the parent itself, trained on for as long. All arms have the same recipe and length, three
seeds each. Each training is a line of OUT/results.jsonl; the same command goes on with those that are missing, the
most important first, and ends with the tables.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from camvid_jobs import arguments, device_named, finished, loaders, opened, parse, run_all, seen, spread, state_of

from boostformer import presets
from boostformer.architecture import Architecture, BlockSpec, Decoder, Stage
from boostformer.blocks.registry import complete

PARENT = "segformer_b0"
HEADS = (1, 2, 5, 8)
WIDEST = 32
"""Channels of each of the parent's heads."""
LOSS = {"class_weights": "auto", "dice": 0.0}
"""As all has been measured so far; the recipe has had Dice since."""
TEACHER = {"logits": 1.0, "channels": 1.0}
SCORES = ("validation", "sequence")
COLUMNS = f"{'MACs':8}{'structure':11}{'arm':11}{'iterations':>10}  "
Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class Style:
    """A way to be lighter than SegFormer-B0, at any width.

    Attributes:
        depth: layers of each stage.
        ratio: of each FFN.
        light: how many stages, from the first on, have re-parameterised depthwise mixers instead of attention.
        decoder: its width over that of one head.
    """

    depth: int = 2
    ratio: int = 4
    light: int = 0
    decoder: int = 8

    def at(self, head: int, parent: Architecture) -> Architecture:
        """Give the network with so many channels in each head."""
        stages = []
        for number, (theirs, heads) in enumerate(zip(parent.stages, HEADS, strict=True)):
            mixer = BlockSpec.of("reparam_depthwise", kernel=3) if number < self.light else theirs.mixer
            ffn = BlockSpec.of("mix_ffn", **{**dict(theirs.ffn.options), "ratio": self.ratio})
            stages.append(Stage(theirs.embed, head * heads, self.depth, mixer, ffn))
        decoder = Decoder(parent.decoder.fusion, self.decoder * head)
        return complete(Architecture(tuple(stages), decoder, parent.classes, parent.size))


STYLES = {
    "narrower": Style(),
    "mixed": Style(ratio=2, light=2, decoder=4),
    "shallower": Style(depth=1, decoder=4),
}
"""A uniformly narrower SegFormer; light mixers in the fine stages, FFNs and decoder halved; one layer a stage."""
SCREENED = "screened"
"""Stands in the place of a style for the structure that is found."""


def fitted(style: str, share: int, parent: Architecture) -> Architecture:
    """Give the widest network of a style with at most 1/``share`` of the parent's deployed MACs."""
    from evaluators.costs.table import CostTable

    costs = CostTable()
    most = costs.cost(parent).macs / share
    drawn = (STYLES[style].at(head, parent) for head in range(WIDEST, 0, -1))
    return next(arch for arch in drawn if costs.cost(arch).macs <= most)


def most_promising_heir(share: int, options: argparse.Namespace) -> Architecture:
    """Give the best network of a screening with at most 1/``share`` of the parent's MACs, found now or before."""
    import numpy as np

    from boostformer import recipes
    from boostformer.data import DataConfig
    from boostformer.files import replacing
    from boostformer.start import read_trained
    from evaluators.costs.budget import Budget
    from evaluators.costs.table import CostTable
    from evaluators.glance import Glance
    from evaluators.proxy import Proxy
    from search.config.problem import Problem
    from search.strategies.screening import most_promising
    from search_space import space_around

    file = options.out / f"{SCREENED}-{share}.json"
    if not file.is_file():
        data = DataConfig(root=seen(options.root, options.out), kind="ade20k", size=options.size, ignore=(0, 255))
        proxy = Proxy(data, recipes.load("proxy", schedule="wsd", loss={"class_weights": "auto"}), options.cache)
        trained = read_trained(options.out / "parent")
        space, costs = space_around(trained.architecture), CostTable()
        budget = Budget((("macs", costs.cost(trained.architecture).macs / share),))
        problem, glance = Problem(space, ("miou",), budget, costs), Glance(trained, proxy)
        see = lambda key: glance(space.decode(key))  # noqa: E731
        start = problem.key(trained.architecture)
        best, *_ = most_promising(problem, start, see, options.screen, 1, np.random.default_rng(0))
        with replacing(file) as part:
            part.write_text(json.dumps(space.decode(best).to_dict()))
    return Architecture.from_dict(json.loads(file.read_text()), str(file))


@dataclass(frozen=True)
class Job:
    """One training; ``share`` is 1 and ``style`` empty for the parent's own, ``seed`` that of the recipe."""

    arm: str
    share: int
    style: str
    iterations: int
    seed: int

    @property
    def key(self) -> str:
        return f"{self.arm}/{self.share}/{self.style}/{self.iterations}/{self.seed}"


def jobs(options: argparse.Namespace) -> list[Job]:
    """List all trainings, the most important first."""
    usual, more = (SCREENED, "narrower", "mixed"), ("shallower",)
    heavy, light = ([share for share in options.shares if (share <= 4) is side] for side in (True, False))

    def grid(arms: tuple[str, ...], shares: list[int], styles: tuple[str, ...], iterations: int) -> list[Job]:
        every = product(range(options.seeds), shares, styles, arms)
        return [Job(arm, share, style, iterations, seed) for seed, share, style, arm in every]

    listed = [Job("first", 1, "", options.parent_iterations, 0)]
    for length in options.iterations:
        listed += grid(("parent",), [1], ("",), length)
        listed += grid(("inherited", "scratch"), heavy, usual, length)
        listed += grid(("inherited", "scratch"), light, usual, length)
        listed += grid(("taught",), options.shares, usual, length)
        listed += grid(("encoder",), options.shares if options.encoder else [], usual, length)
        listed += grid(("scratch",), options.shares, usual, length + options.more)
        listed += grid(("inherited", "taught", "scratch"), options.shares, more, length)
    return listed


def ready(job: Job, options: argparse.Namespace) -> bool:
    """Tell whether what a training starts from is there."""
    return (job.arm in ("first", "scratch") and job.style != SCREENED) or (options.out / "parent/config.json").is_file()


def run(job: Job, options: argparse.Namespace) -> dict[str, Any]:
    """Train and score one network."""
    import torch

    from boostformer import recipes
    from boostformer.model import BoostFormer, build
    from boostformer.start import read_trained, start_from
    from boostformer.teachers.opening import open_teacher
    from boostformer.training import train
    from boostformer.training.taught import Teaching
    from evaluators.costs.table import CostTable

    torch.set_num_threads(1)
    data, folder = opened(options.root, options.size, options.cache), options.out / "parent"
    changes = {"iterations": job.iterations, "seed": job.seed, "precision": options.precision, "workers": loaders()}
    recipe = recipes.load("small-data", **changes, loss=LOSS, distillation=TEACHER)
    architecture = presets.load(PARENT, classes=data.training.num_classes, size=data.size)
    if job.style == SCREENED:
        architecture = most_promising_heir(job.share, options)
    elif job.style:
        architecture = fitted(job.style, job.share, architecture)
    torch.manual_seed(job.seed)
    model: BoostFormer = build(architecture)
    start, teaching = None, None
    if job.arm not in ("first", "scratch"):
        trained = read_trained(options.encoder if job.arm == "encoder" else folder)
        start = start_from(model, trained, data.training.labels)
    if job.arm == "taught":
        names = [data.training.name(index) for index in range(len(data.training))]
        teaching = Teaching(open_teacher(folder, data.size, names))
    before = {}
    if start and job.seed == 0 and job.iterations == options.iterations[0]:
        before = data.scores(model.cuda() if torch.cuda.is_available() else model)
    state = state_of(job, options)
    report = train(model, data.training, recipe, size=data.size, resume_dir=state, teaching=teaching)
    after = data.scores(model)
    if job.arm == "first":
        model.labels = data.training.labels
        model.save_pretrained(folder)
    cost = CostTable().cost(architecture)
    return {
        "key": job.key,
        **{"arm": job.arm, "share": job.share, "style": job.style, "iterations": job.iterations, "seed": job.seed},
        **{name: score.miou for name, score in after.items()},
        **{f"{name}_before": score.miou for name, score in before.items()},
        **{"params": cost.params, "macs": cost.macs, "id": architecture.id, "start": start},
        **{"seconds": round(report.seconds, 1), "device": device_named(report.device)},
    }


def mean_of(rows: Rows) -> str:
    """Write both scores over the seeds."""
    return "  ".join(f"{spread(row[name] for row in rows):>14}" for name in SCORES)


def table(rows: Rows) -> None:
    """Print the scores of each arm, the mean and the deviation over its seeds."""
    print(f"\n{COLUMNS}{'validation':>14}  {'sequence':>14}  seeds, cost")
    groups: dict[tuple[Any, ...], Rows] = {}
    for row in rows:
        groups.setdefault((row["share"], row["style"], row["iterations"], row["arm"]), []).append(row)
    for (share, style, iterations, arm), some in sorted(groups.items()):
        cost = f"{some[0]['params'] / 1e6:.2f} M params, {some[0]['macs'] / 1e6:.1f} M MACs"
        left = f"{'1/' + str(share):8}{style:11}{arm:11}{iterations:>10}"
        print(f"{left}  {mean_of(some)}  {len(some)}, {cost}")


def differences(rows: Rows, options: argparse.Namespace) -> None:
    """Print what the aims name: differences of scores of equal seeds, in points."""
    by_key = {row["key"]: row for row in rows}

    def against(other: Callable[[Job], Job], one: Job) -> str | None:
        pairs = []
        for seed in range(options.seeds):
            mine = Job(one.arm, one.share, one.style, one.iterations, seed)
            found = by_key.get(mine.key), by_key.get(other(mine).key)
            if found[0] and found[1]:
                pairs.append([found[0][name] - found[1][name] for name in SCORES])
        if not pairs:
            return None
        return "  ".join(f"{spread(column, '+.2f'):>14}" for column in zip(*pairs, strict=True)) + f"  {len(pairs)}"

    def scratch(more: int) -> Callable[[Job], Job]:
        return lambda job: Job("scratch", job.share, job.style, job.iterations + more, job.seed)

    comparisons: dict[str, Callable[[Job], Job]] = {
        "the parent continued": lambda job: Job("parent", 1, "", job.iterations, job.seed),
        "scratch, as long": scratch(0),
        f"scratch, {options.more} more": scratch(options.more),
        "narrower, as heavy": lambda job: Job(job.arm, job.share, "narrower", job.iterations, job.seed),
        "from the encoder": lambda job: Job("encoder", job.share, job.style, job.iterations, job.seed),
        "without a teacher": lambda job: Job("inherited", job.share, job.style, job.iterations, job.seed),
    }
    print("\nAims on `sequence`: against the parent no loss at 1/2, less than 1 point at 1/4 and 3 at 1/8; +4 over")
    print("scratch at equal wall-clock; +1 over the narrower SegFormer. Differences of equal seeds, in points:")
    print(f"{COLUMNS}{'against':24}{'validation':>14}  {'sequence':>14}  seeds")
    for share in options.shares:
        for length in options.iterations:
            for style in [SCREENED, *STYLES]:
                for arm in ("inherited", "taught"):
                    for name, other in comparisons.items():
                        one = Job(arm, share, style, length, 0)
                        if other(one) != one and (said := against(other, one)):
                            print(f"{'1/' + str(share):8}{style:11}{arm:11}{length:>10}  {name:24}{said}")


def said(row: dict[str, Any]) -> str:
    """Say how one training ended."""
    began = f" from {row['sequence_before']:.2%}" if "sequence_before" in row else ""
    return f"validation {row['validation']:.2%}, sequence {row['sequence']:.2%}{began}"


def main() -> None:
    parser = arguments(__doc__.splitlines()[0], size="96x128")
    parser.add_argument("--iterations", type=int, nargs="+", default=[1500, 4000], help="lengths, the main one first")
    parser.add_argument("--parent-iterations", type=int, default=5000, help="of the parent's own training")
    parser.add_argument("--more", type=int, default=3000, help="iterations from scratch for a search's time")
    parser.add_argument("--shares", type=int, nargs="+", default=[2, 4, 8], help="the parent's MACs over the network's")
    parser.add_argument("--encoder", type=Path, help="a checkpoint of `pretrain`, such as one of patches.py")
    parser.add_argument("--screen", type=int, default=100, help="networks that are seen")
    parser.add_argument("--seeds", type=int, default=3, help="how many")
    options = parse(parser)
    todo = jobs(options)
    if (options.out / "parent" / "config.json").is_file():
        todo = [job for job in todo if job.arm != "first"]
    failed = run_all(todo, run, options, said, ready)
    rows = finished(options.out)
    if rows:
        table(rows)
        differences(rows, options)
    if failed:
        sys.exit(f"{len(failed)} trainings failed")


if __name__ == "__main__":
    main()
