"""Measure how well a glance at networks that inherit tells the order of their scores, by rank correlations on CamVid.

`python benchmarks/glances.py CAMVID OUT --parent CKPT [--share 4] [--networks 36] [--steps 0 10 20] [--iterations 120]`

Networks within 1/`--share` of a trained network's deployed MACs, half of them on ways from it into the budget, half at
random, inherit from it. Each is scored as a search's screening would, after so many steps on some training images,
and by a proxy training on `validation`. A network is a line of OUT/results.jsonl; the same command goes on.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from camvid_jobs import arguments, finished, parse, seen


def drawn(problem: Any, start: Any, count: int) -> Iterator[Any]:
    """Give networks of both kinds in turn: whether it is from a way, and its genes."""
    import numpy as np

    from search.strategies.walk import near

    rng = np.random.default_rng(7)
    ways = [key for key in islice(near(problem, start, rng), 1, count) if problem.fits(key)][: count // 2]
    known = set(ways)
    for key in ways:
        yield True, key
        known.add(other := problem.random(rng, known))
        yield False, other


def table(rows: list[dict[str, Any]], steps: list[int]) -> None:
    """Print how the orders agree, and what a glance takes."""
    from scipy.stats import spearmanr

    for name, kinds in (("all", (True, False)), ("on ways from the parent", (True,)), ("at random", (False,))):
        some = [row for row in rows if row["near"] in kinds]
        if len(some) < 3:
            continue
        scores = [row["score"] for row in some]
        for what in (*map(str, steps), "params", "macs"):
            values = [row["glances"].get(what, row.get(what)) for row in some]
            print(f"{name:24} {what:>7} rank correlation {spearmanr(values, scores)[0]:+.2f}, {len(some)} networks")
    for what in map(str, steps):
        share = sum(row["seconds"][what] for row in rows) / sum(row["seconds"]["score"] for row in rows)
        print(f"{what} steps take {share:.3f} of a proxy training")


def main() -> None:
    parser = arguments(__doc__.splitlines()[0], size="96x128")
    parser.add_argument("--parent", type=Path, required=True, metavar="CKPT", help="the trained network")
    parser.add_argument("--share", type=int, default=4, help="the parent's MACs over the networks'")
    parser.add_argument("--networks", type=int, default=36, help="how many")
    parser.add_argument("--steps", type=int, nargs="+", default=[0, 10, 20], help="of glances")
    parser.add_argument("--iterations", type=int, default=120, help="of the proxy training")
    options = parse(parser)

    import torch

    from boostformer import recipes
    from boostformer.data import DataConfig
    from boostformer.start import read_trained
    from evaluators.costs.budget import Budget
    from evaluators.costs.table import CostTable
    from evaluators.glance import Glance
    from evaluators.proxy import Beginning, Proxy
    from search.config.problem import Problem
    from search_space import space_around

    torch.set_num_threads(1)
    root = seen(options.root, options.out)
    data = DataConfig(root=root, kind="ade20k", size=options.size, ignore=(0, 255))
    changes = {"iterations": options.iterations, "warmup_iterations": options.iterations // 10}
    recipe = recipes.load("proxy", **changes, schedule="wsd", loss={"class_weights": "auto"})
    proxy, trained = Proxy(data, recipe, options.cache), read_trained(options.parent)
    space, costs = space_around(trained.architecture), CostTable()
    budget = Budget((("macs", costs.cost(trained.architecture).macs / options.share),))
    problem = Problem(space, ("miou",), budget, costs)
    glances = {str(steps): Glance(trained, proxy, steps=steps) for steps in options.steps}
    beginning = Beginning("parent", trained.digest, lambda: trained)
    known = {row["id"] for row in finished(options.out)}
    for is_near, key in drawn(problem, problem.key(trained.architecture), options.networks):
        arch = space.decode(key)
        if arch.id in known:
            continue
        row: dict[str, Any] = {"id": arch.id, "near": is_near, "glances": {}, "seconds": {}}
        for name, look in glances.items():
            began = time.process_time()
            row["glances"][name] = look(arch)
            row["seconds"][name] = time.process_time() - began
        began = time.process_time()
        row["score"] = proxy.evaluate(arch, 0, start=beginning).miou
        row["seconds"]["score"] = time.process_time() - began
        cost = costs.cost(arch)
        row |= {"params": cost.params, "macs": cost.macs}
        with (options.out / "results.jsonl").open("a") as stream:
            stream.write(json.dumps(row) + "\n")
        told = ", ".join(f"{value:.2%}" for value in row["glances"].values())
        print(f"{arch.id}: {row['score']:.2%}, glances {told}", flush=True)
    table(finished(options.out), options.steps)


if __name__ == "__main__":
    main()
