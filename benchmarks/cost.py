"""Candidates costed per second: our cost table beside fvcore, thop and NNI, in one run on one core.

All contenders get the same networks, drawn from one space (SegFormer's blocks and the pooling mixer at
512x512) that is also written as an NNI model space. Each round has new networks, and the contenders take
turns; a first, untimed round fills tables and caches. Rates are medians over the rounds. The counts of each
are compared with a reference: fvcore over the whole network on the meta device. Our own rates
on the shipped, larger spaces follow. Run it with ``make benchmark``.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from machine import processor, versions

from boostformer import build
from boostformer.architecture import Architecture
from evaluators.costs.populations import Population
from evaluators.costs.referee import count_with_fvcore
from evaluators.costs.table import CostTable
from search_space import SearchSpace, read_space, shipped_spaces, slot_indices, space_from_yaml

Counts = Sequence[tuple[int | None, int]]
"""(params, macs) of each network; no params from who does not count them."""
Rounds = Sequence[Sequence[Architecture]]
"""The networks of each round: new ones every time, as in a search."""

STAGE = """
  - embed: {{overlap_conv: {{kernel: [{kernel}]}}}}
    width: {widths}
    depth: [1, 2, 3, 4]
    mixer: {{efficient_attention: {{heads: [{heads}], reduction: [{reduction}]}}, pooling: {{}}}}
    ffn: {{mix_ffn: {{ratio: [2, 4]}}}}
    norm: [layer]
    arrangement: [pre]
    layer_scale: [false]"""
STAGES = [
    {"kernel": 7, "widths": [32, 48, 64], "heads": 1, "reduction": 8},
    {"kernel": 3, "widths": [64, 96, 128], "heads": 2, "reduction": 4},
    {"kernel": 3, "widths": [160, 240, 320], "heads": 5, "reduction": 2},
    {"kernel": 3, "widths": [256, 384, 512], "heads": 8, "reduction": 1},
]
SPACE = f"""version: 1
size: 512x512
classes: 150
stages:{"".join(STAGE.format(**stage) for stage in STAGES)}
decoder:
  fusion: {{concat: {{}}}}
  width: [128, 256, 512, 768]
"""


@dataclass
class Contender:
    """Somebody who costs ``networks`` networks in each round; ``inputs`` holds each round's, ready to use."""

    name: str
    networks: int
    inputs: Sequence[Any]
    cost: Callable[[Any], Counts]
    explain: Callable[[Sequence[Architecture], Counts, Counts], str] = lambda archs, counts, truth: ""
    counts: Counts = ()
    first: float = 0.0
    seconds: list[float] = field(default_factory=list)

    @property
    def rate(self) -> float:
        return self.networks / statistics.median(self.seconds)

    def run(self, number: int) -> None:
        """Round ``number``; the first, 0, fills tables and caches and gives the counts to compare."""
        start = time.perf_counter()
        counts = self.cost(self.inputs[number])
        seconds = time.perf_counter() - start
        if number == 0:
            self.counts, self.first = counts, seconds
        else:
            self.seconds.append(seconds)


class Missing(Exception):
    """A peer that is not installed; says how to install it."""


def our_table(rounds: Rounds) -> Contender:
    table = CostTable(None, deployed=False)  # nothing is read from disk: the first round fills it

    def cost(archs: Sequence[Architecture]) -> Counts:
        return [(found.params, found.macs) for found in map(table.cost, archs)]

    return Contender("boostformer, one by one", len(rounds[0]), rounds, cost)


def our_population(space: SearchSpace, genes: Sequence[np.ndarray]) -> Contender:
    population: list[Population] = []

    def cost(genes: np.ndarray) -> Counts:
        if not population:
            population.append(Population(CostTable(None, deployed=False), space.slots, space.size, space.classes))
        found = population[0].figures(slot_indices(space, genes))
        params, macs = found[:, 0], found[:, 1] + found[:, 2]
        # The arrays are the result; only what is compared with the referee becomes Python numbers.
        return list(zip(params[:100].tolist(), macs[:100].tolist(), strict=True))

    return Contender("boostformer, population", len(genes[0]), genes, cost)


def whole_network(rounds: Rounds) -> Contender:
    def cost(archs: Sequence[Architecture]) -> Counts:
        counts = []
        for arch in archs:
            with torch.device("meta"):
                model, image = build(arch), torch.zeros(1, 3, *arch.size)
            found = count_with_fvcore(model, image)
            counts.append((found.params, found.macs))
        return counts

    return Contender("fvcore, whole network on meta", len(rounds[0]), rounds, cost)


def thop(rounds: Rounds) -> list[Contender]:
    try:
        from thop import profile
    except ImportError as error:
        raise Missing(f"not installed (pip install thop): {error}") from error

    def cost(archs: Sequence[Architecture]) -> Counts:
        counts = []
        for arch in archs:
            # thop counts in hooks while the network really runs: it fails on the meta device.
            macs, params = profile(build(arch), (torch.zeros(1, 3, *arch.size),), verbose=False)
            counts.append((int(params), int(macs)))
        return counts

    return [Contender("thop", len(rounds[0]), rounds, cost)]


def nni_profilers(space: SearchSpace, rounds: Rounds) -> list[Contender]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # it meets classes of torch that it does not know
            import nni_space
    except ImportError as error:
        raise Missing(f"not installed (pip install nni pytorch-lightning): {error}") from error
    both, macs_alone = nni_space.profilers(space)

    def cost_both(samples: Sequence[dict[str, Any]]) -> Counts:
        return [(int(found.params), int(found.flops)) for found in map(both.profile, samples)]

    def cost_macs(samples: Sequence[dict[str, Any]]) -> Counts:
        return [(None, int(macs_alone.profile(sample))) for sample in samples]

    def explain(archs: Sequence[Architecture], counts: Counts, truth: Counts) -> str:
        rest = [
            macs - nni_space.added_to_attention(arch) - true
            for arch, (_, macs), (_, true) in zip(archs, counts, truth, strict=True)
        ]
        same = "equal" if not any(rest) else f"off by {min(rest):,} to {max(rest):,}"
        return f"less its softmax and query scaling: {same}"

    samples = [[nni_space.sample_of(arch) for arch in archs] for archs in rounds]
    costs = {"nni FlopsProfiler": cost_macs, "nni FlopsParamsProfiler": cost_both}
    return [Contender(name, len(rounds[0]), samples, cost, explain) for name, cost in costs.items()]


def deviation(counts: Sequence[int | None], truth: Sequence[int]) -> str:
    """``equal``, or the range of the relative deviation in percent."""
    if None in counts:
        return "not counted"
    if list(counts) == list(truth):
        return "equal"
    relative = [100 * (one / other - 1) for one, other in zip(counts, truth, strict=True)]
    return f"{min(relative):+.2f} to {max(relative):+.2f} %"


def print_table(contenders: Sequence[Contender], referee: Contender, archs: Sequence[Architecture]) -> None:
    columns = "{:<30} {:>10} {:>13} {:>24} {:>10}  {:<18} {}"
    print(columns.format("", "networks", "networks/s", "slowest to fastest", "x fvcore", "params", "MACs"))
    true_params, true_macs = zip(*referee.counts, strict=True)
    for contender in contenders:
        rates = [contender.networks / seconds for seconds in contender.seconds]
        params, macs = zip(*contender.counts[: len(archs)], strict=True)
        cells = (
            contender.name,
            f"{contender.networks:,}",
            f"{contender.rate:,.1f}",
            f"{min(rates):,.1f} to {max(rates):,.1f}",
            f"{contender.rate / referee.rate:,.1f}",
            deviation(params, true_params),
            deviation(macs, true_macs),
        )
        print(columns.format(*cells))
        if note := contender.explain(archs, contender.counts[: len(archs)], referee.counts):
            print(f"{'':<32}MACs {note}")


def race(name: str, space: SearchSpace, options: argparse.Namespace, peers: bool) -> None:
    """Time everybody on one space, taking turns, and print the table; without ``peers`` ours and fvcore."""
    rng = np.random.default_rng(options.seed)
    genes = [space.genes.sample(rng, 500_000) for _ in range(options.rounds + 1)]
    many = [[space.decode(row) for row in rows[:5000]] for rows in genes]
    few = [archs[: options.networks] for archs in many]
    some = [archs[:500] for archs in many]

    referee = whole_network(few)
    contenders, missing = [our_table(many), our_population(space, genes), referee], []
    prepare = {"thop": lambda: thop(few), "nni": lambda: nni_profilers(space, some)} if peers else {}
    for peer, prepared in prepare.items():
        try:
            contenders += prepared()
        except Missing as reason:
            missing.append(f"{peer}: {reason}")
    for number in range(options.rounds + 1):
        for contender in contenders:
            contender.run(number)

    height, width = space.size
    print(f"\n{name}: {space.count:,} networks at {height}x{width}, {space.classes} classes")
    print_table(contenders, referee, few[0])
    for line in missing:
        print(line)
    scalar, population = contenders[:2]
    print(f"first round, table filled: {scalar.first:.2f} s one by one, {population.first:.2f} s population")
    rival = max(contenders[2:], key=lambda contender: contender.rate)
    for ours in (scalar, population):
        print(f"{ours.name}: {ours.rate / rival.rate:,.0f} times {rival.name}")


def main() -> None:
    parser = argparse.ArgumentParser(description="Candidates costed per second, beside peers.")
    parser.add_argument("--rounds", type=int, default=5, help="timed rounds; the median counts (default 5)")
    parser.add_argument("--networks", type=int, default=4, help="networks a round for the slow (default 4)")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    packages = versions("torch", "numpy", "fvcore", "thop", "nni", "pytorch-lightning")
    print(f"{processor()}, one thread; {packages}")
    race("comparable space", space_from_yaml(SPACE, "comparable space"), options, peers=True)
    for name in shipped_spaces():
        race(name, read_space(name), options, peers=False)


if __name__ == "__main__":
    main()
