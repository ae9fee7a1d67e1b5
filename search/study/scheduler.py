"""What a run does next: try another network, train a good one for longer, repeat a finalist with another seed, or wait.

Successive fidelities go by MO-ASHA: of the networks that were trained up to a rung the best share, taken from the whole
non-dominated order, goes on to the next rung, and nobody waits for a rung to fill. Unlike there, new networks come
before promotions: the number of both is fixed, and places that are given away early go to the best of a few. Strategies
learn from the first rung alone, so nothing is lost by it.
Source: Schmucker et al., "Multi-objective asynchronous successive halving", 2021.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from search.strategies.ranking import best_first, front_of


@dataclass(frozen=True)
class Ladder:
    """``target`` networks are begun, one in ``reduction_factor`` of a rung goes up, the front gets ``final_seeds``.

    ``lengths`` are the iterations of the rungs. The front is that of the highest rung that any network came to.
    """

    target: int
    seed: int
    lengths: tuple[int, ...] = (1,)
    reduction_factor: int = 3
    final_seeds: int = 1

    @property
    def rungs(self) -> int:
        return len(self.lengths)

    def iterations(self, rung: int, seed: int) -> int:
        """What a training takes: above the first rung it is carried on, but for further seeds."""
        return self.lengths[rung] - (self.lengths[rung - 1] if rung and seed == self.seed else 0)


@dataclass(frozen=True, slots=True)
class Training:
    """A training that was begun: ``values`` are the objectives, all minimised, of one that is finished."""

    id: str
    rung: int
    seed: int
    state: Literal["finished", "failed", "running"]
    values: tuple[float, ...] | None = None


@dataclass(frozen=True, slots=True)
class Step:
    """``propose``: a new network; ``train``: the network ``id`` at ``rung`` with ``seed``; ``wait``: for others."""

    do: Literal["propose", "train", "wait", "end"]
    id: str = ""
    rung: int = 0
    seed: int = 0


def next_step(trainings: Iterable[Training], ladder: Ladder) -> Step:
    """The most useful thing to do, given all trainings but interrupted ones, which are to be repeated before."""
    rungs: list[dict[str, Training]] = [{} for _ in range(ladder.rungs)]
    by_seed: list[dict[str, dict[int, Training]]] = [defaultdict(dict) for _ in range(ladder.rungs)]
    running = False
    for training in trainings:
        running |= training.state == "running"
        if training.seed == ladder.seed:
            rungs[training.rung][training.id] = training
        by_seed[training.rung][training.id][training.seed] = training
    if len(rungs[0]) < ladder.target:
        return Step("propose", seed=ladder.seed)
    for rung in range(ladder.rungs - 1):
        if (chosen := _promoted(rungs[rung], rungs[rung + 1], ladder.reduction_factor)) is not None:
            return Step("train", chosen, rung + 1, ladder.seed)
    if not any(training.state == "running" for rung in rungs for training in rung.values()):
        top = max((rung for rung in range(ladder.rungs) if _finished(rungs[rung])), default=0)
        for name in _front(by_seed[top]):
            for seed in range(ladder.seed + 1, ladder.seed + ladder.final_seeds):
                if seed not in by_seed[top][name]:
                    return Step("train", name, top, seed)
    return Step("wait" if running else "end")


def most_trainings(ladder: Ladder) -> list[int]:
    """About how many trainings each rung will have, to announce what a run costs; seeds are not among them."""
    counts = [ladder.target]
    while len(counts) < ladder.rungs:
        counts.append(counts[-1] // ladder.reduction_factor)
    return counts


def _front(top: dict[str, dict[int, Training]]) -> list[str]:
    """Who is on the front by the mean over the seeds so far: others may rise when a lucky one falls."""
    means = {name: _values(known).mean(axis=0) for name, seeds in top.items() if (known := _finished(seeds))}
    names = list(means)
    return [names[i] for i in front_of(np.array([means[name] for name in names]))] if names else []


def _promoted(rung: dict[str, Training], above: dict[str, Training], keep: int) -> str | None:
    finished = _finished(rung)
    if len(above) >= len(finished) // keep:
        return None
    # The best may change while others end; who went up stays there, and no more go up than was announced.
    order = best_first(_values(finished), len(above) + 1)
    return next(finished[i].id for i in order if finished[i].id not in above)


def _finished(rung: Mapping[Any, Training]) -> list[Training]:
    known = (training for training in rung.values() if training.state == "finished")
    return [training for training in known if training.values is not None and np.isfinite(training.values).all()]


def _values(finished: Sequence[Training]) -> np.ndarray:
    return np.array([training.values for training in finished], dtype=np.float64)
