"""Problems and plans on generated spaces, with objectives that need no training."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from boostformer.architecture import Architecture
from boostformer.data import DataConfig
from evaluators.costs.budget import Budget
from evaluators.costs.table import CostTable
from evaluators.proxy import Score
from results.trial import Status
from search.config.experiment import Experiment
from search.config.opening import OpenExperiment
from search.config.problem import Key, Problem
from search.config.sections import ProxyConfig, SearchConfig
from search.strategies.base import Strategy
from search.strategies.history import Observation
from search.study.folder import set_up
from search.study.scheduler import Propose, Scheduler, Step
from search.study.state import Standing
from search.worker.loop import work
from search.worker.progress import LineReporter
from search_space import SearchSpace, read_space, space_from_yaml

LIMITS = {"params": 60_000, "macs": 6_000_000}

SMALL = """\
version: 1
size: 64x64
classes: 4
stages:
  - {width: [8, 16], depth: 1, embed: {overlap_conv: {kernel: 7}}, mixer: {pooling: {}}, ffn: {mix_ffn: {ratio: 2}}}
  - {width: 16, depth: 1, embed: {pooling: {kernel: 3}}, mixer: {pooling: {}}, ffn: {mix_ffn: {ratio: [2, 4]}}}
  - {width: 16, depth: 1, embed: {pooling: {kernel: 3}}, mixer: {pooling: {}}, ffn: {mix_ffn: {ratio: 2}}}
  - width: 16
    depth: [1, 2]
    embed: {pooling: {kernel: 3}}
    mixer: {pooling: {}, mhsa: {heads: [1, 2]}}
    ffn: {mix_ffn: {ratio: 2}}
decoder: {width: 16, fusion: {concat: {}}}
"""
"""A space of 24 networks."""
MEDIUM = SMALL.replace("width: 16, depth: 1", "width: [16, 32], depth: [1, 2]")
"""A space of 384 networks: so few that strategies come upon the same one again and again."""


@cache
def tiny() -> SearchSpace:
    return read_space("tiny").replace(size=(64, 64), classes=8)


@cache
def small() -> SearchSpace:
    return space_from_yaml(SMALL, "small.yaml")


@cache
def medium() -> SearchSpace:
    return space_from_yaml(MEDIUM, "medium.yaml")


@cache
def table() -> CostTable:
    return CostTable()


def problem(space: SearchSpace | None = None, limits: dict[str, int] = LIMITS) -> Problem:
    return Problem(space or tiny(), ("miou", "macs", "params"), Budget(tuple(limits.items())), table())


def experiment(space: SearchSpace | None = None, limits: dict[str, int] = LIMITS, **changes: Any) -> Experiment:
    """An experiment of short trainings; ``changes`` are its fields, its search's, or ``proxy`` as run files have it."""
    space = space or tiny()
    search = {name: changes.pop(name) for name in SearchConfig.model_fields if name in changes}
    values: dict[str, Any] = {
        "space_name": "test",
        "space": space,
        "data": DataConfig(kind="scenes", size=space.size),
        "labels": tuple("abcdefgh"[: space.classes]),
        "images": {"training": 16, "validation": 4},
        "content": {"training": "a", "validation": "b"},
        "objectives": ("miou", "macs", "params"),
        "budgets": limits,
        "counted": "deployed",
        "search": SearchConfig(**({"strategy": "random", "seed": 3} | search)),
    }
    proxy = ProxyConfig.model_validate({"iterations": 2, "batch_size": 4} | changes.pop("proxy", {}))
    return Experiment(**(values | {"proxy": proxy} | changes))


def opened(space: SearchSpace | None = None, limits: dict[str, int] = LIMITS, **changes: Any) -> OpenExperiment:
    """The same, with the costs that all tests share."""
    made = experiment(space, limits, **changes)
    return OpenExperiment(made, table=table() if made.is_deployed else None)


@cache
def usual() -> OpenExperiment:
    """The same without changes, opened once."""
    return opened()


def quality(arch: Architecture) -> float:
    """A made-up mIoU in 0…1: wider, deeper stages and attention pay, plus a little noise of its own."""
    total = sum(stage.width * stage.depth / 64 for stage in arch.stages) / 4
    total += sum("attention" in stage.mixer.name for stage in arch.stages) / 8
    noise = int(hashlib.sha256(arch.id.encode()).hexdigest()[:4], 16) / 0xFFFF
    return min(1.0, 0.8 * total / 1.5 + 0.02 * noise)


def quick(arch: Architecture, seed: int, progress: Callable[[int, int, float], None], **how: Any) -> Score:
    """A score without a training."""
    progress(1, 1, 0.0)
    return Score(quality(arch), 0.01, "made up")


class MadeUp:
    """An evaluator that trains nothing: ``evaluate`` is a function like :func:`quick`."""

    def __init__(self, evaluate: Any = quick) -> None:
        self.evaluate = evaluate
        self.tidied: list[tuple[Path, int]] = []

    def tidy(self, folder: Path, rung: int) -> None:
        self.tidied.append((folder, rung))


def simulate(strategy: Strategy, count: int, history: Sequence[Observation] = ()) -> list[Observation]:
    """The history after ``count`` proposals; every seventh fails, every fifth is left running."""
    grown = list(history)
    for number in range(len(history), count):
        key = propose(strategy, grown)
        if number % 7 == 6:
            grown.append(Observation(key, Status.FAILED))
        elif number % 5 == 4:
            grown.append(Observation(key, Status.RUNNING))
        else:
            grown.append(Observation(key, Status.FINISHED, quality(network(strategy, key))))
    return grown


def propose(strategy: Strategy, history: Sequence[Observation]) -> Key:
    strategy.learn(history)
    return strategy.propose().genes


def network(strategy: Strategy, key: Key) -> Architecture:
    assert isinstance(strategy.candidates, Problem)
    return strategy.candidates.space.decode(key)


def scheduler(target: int, **changes: Any) -> Scheduler:
    """Of trainings of ten iterations on one rung."""
    values: dict[str, Any] = {
        "seed": 0,
        "rungs": (10,),
        "reduction_factor": 3,
        "final_seeds": 1,
        "objectives": ("miou", "macs", "params"),
    }
    return Scheduler(target=target, **(values | changes))


def standing(target: int, finished: int = 0, *, step: Step | None = None, **changes: Any) -> Standing:
    """Of a run whose trainings all take ten iterations."""
    values: dict[str, Any] = {
        "iterations_left": 10 * (target - finished),
        "failed": 0,
        "history": [],
        "owners": [],
        "interrupted": [],
        "waiting": [],
        "scheduler": scheduler(target),
    }
    return Standing(target=target, finished=finished, step=step or Propose(0), **(values | changes))


class Watcher(LineReporter):
    """Remembers what a worker reported."""

    def __init__(self) -> None:
        super().__init__()
        self.messages: list[dict[str, Any]] = []

    def _write(self, message: dict[str, Any]) -> None:
        if not {"stands", "at"} & message.keys():
            self.messages.append(message)

    @property
    def ended_early(self) -> str | None:
        return next((m["exhausted"] for m in self.messages if "exhausted" in m), None)


def run(
    folder: Path, trials: int, evaluate: Any = quick, *, search: OpenExperiment, watcher: Watcher | None = None
) -> Watcher:
    """Sets the run up, or resumes it, and works on it in this process."""
    watcher = watcher or Watcher()
    set_up(folder, search, trials)
    work(search, folder, watcher, MadeUp(evaluate))
    return watcher
