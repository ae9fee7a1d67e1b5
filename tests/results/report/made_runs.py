"""Runs of made trials: as many as wanted, with every kind of end, and with hostile names."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from result_factories import OBJECTIVES, architecture, make_trial

from boostformer.architecture import Architecture, BlockSpec
from results.run import Retraining, Run
from results.trial import Parent, Status, Trial

HOSTILE = "</script><img src=x onerror=alert(1)>&lt;b&gt;\u2028'\"`${1}"
"""Shown as it is, this is text."""
MIXERS = ("efficient_attention", "pooling", "identity", "separable_attention")


def network(rng: np.random.Generator) -> Architecture:
    """A network whose blocks and widths are drawn."""
    base = architecture(8 * int(rng.integers(2, 9)))
    options: dict[str, dict[str, Any]] = {"efficient_attention": {"heads": 1, "reduction": 4}}
    stages = []
    for stage in base.stages:
        mixer = str(rng.choice(MIXERS))
        block = BlockSpec.of(mixer, **options.get(mixer, {}))
        stages.append(replace(stage, mixer=block, depth=int(rng.integers(1, 4)), layer_scale=bool(rng.integers(2))))
    return replace(base, stages=tuple(stages))


def made_trial(number: int, rng: np.random.Generator) -> Trial:
    """A finished trial: attention in the last stage is worth 8 points of mIoU, and larger networks score better."""
    made = network(rng)
    width = made.stages[0].width
    gain = 0.08 * (made.stages[3].mixer.name == "efficient_attention")
    miou = float(np.clip(0.25 + 0.002 * width + gain + 0.02 * rng.normal(), 0.01, 0.99))
    costs = {"params": 20_000 * width + number % 977, "macs": 7_000_000 * width + 13 * (number % 1009)}
    ms = 0.1 * width + float(rng.random())
    return make_trial(number, id=made.id, architecture=made.to_dict(), miou=miou, latency_ms=ms, **costs)


def made_run(count: int = 60, **changes: Any) -> Run:
    """A run of ``count`` finished trials, and behind them one of each other end; ``changes`` are its fields."""
    rng = np.random.default_rng(0)
    trials = [made_trial(number, rng) for number in range(count)]
    best = max(trials, key=lambda trial: trial.miou or 0.0)
    heir = made_trial(count, rng)
    trials[best.number] = best = replace(best, miou_std=None, weights="a" * 64)
    trials.append(replace(heir, parent=Parent(best.id, "a" * 64, 300), iterations=300))
    ends = [
        {"status": Status.FAILED, "miou": None, "reason": f"diverged {HOSTILE}"},
        {"status": Status.FAILED, "miou": None, "reason": f"diverged {HOSTILE}"},
        {"status": Status.OVER_BUDGET, "feasible": False, "miou": None, "reason": "9 ms of 8 ms"},
        {"status": Status.RUNNING, "miou": None, "latency": None},
        {"feasible": False, "reason": "over it when it was measured again"},
    ]
    trials += [replace(made_trial(len(trials) + i, rng), **end) for i, end in enumerate(ends)]
    config = {
        "space_name": HOSTILE,
        "labels": ["road", HOSTILE],
        "data": {"kind": "ade20k", "root": "/home/somebody/secret", "size": [128, 192]},
        "versions": {"torch": "2.13.0"},
        "latency": {"device": "board"},
    }
    references = [
        {"name": "segformer_b0", "params": 900_000, "macs": 300_000_000},
        {"name": HOSTILE, "params": 37_000_000, "macs": 10**10, "miou": 0.4},
    ]
    budgets = {"params": 1_400_000, "macs": 10**9}
    run = Run(trials, [*OBJECTIVES, "latency_ms"], budgets, config, references)
    return replace(run, **changes)


def retrained(run: Run, count: int) -> Run:
    """The same run, of which the first networks were trained in full, with scores in the same order."""
    longer = [Retraining(t.id, min(1.0, (t.miou or 0.0) + 0.2), 3000, 0, "retrained") for t in run.trials[:count]]
    return replace(run, retrainings=longer)
