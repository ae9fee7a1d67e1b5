"""Problems and plans on generated spaces, with objectives that need no training."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from boostformer.architecture import Architecture
from boostformer.data import DataConfig
from boostformer.training import Recipe, recipe
from evaluators.costs.budget import Budget
from evaluators.costs.table import CostTable
from evaluators.proxy import Score
from search.config.experiment import Plan
from search.config.problem import Problem
from search.strategies.base import Key, Observation, Strategy
from search.study.folder import set_up
from search.study.scheduler import Ladder, Step
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


def plan(space: SearchSpace | None = None, limits: dict[str, int] = LIMITS, **changes: Any) -> Plan:
    space = space or tiny()
    values: dict[str, Any] = {
        "name": "test",
        "space": space,
        "data": DataConfig(kind="scenes", size=space.size),
        "labels": tuple("abcdefgh"[: space.classes]),
        "images": {"training": 16, "validation": 4},
        "objectives": ("miou", "macs", "params"),
        "budget": Budget(tuple(limits.items())),
        "deployed": True,
        "recipe": proxy_recipe(),
        "strategy": "random",
        "seed": 3,
    }
    return Plan(**(values | changes))


def proxy_recipe(**changes: Any) -> Recipe:
    return recipe("proxy", **({"iterations": 2, "batch_size": 4} | changes))


def quality(arch: Architecture) -> float:
    """A made-up mIoU in 0…1: wider, deeper stages and attention pay, plus a little noise of its own."""
    total = sum(stage.width * stage.depth / 64 for stage in arch.stages) / 4
    total += sum("attention" in stage.mixer.name for stage in arch.stages) / 8
    noise = int(hashlib.sha256(arch.id.encode()).hexdigest()[:4], 16) / 0xFFFF
    return min(1.0, 0.8 * total / 1.5 + 0.02 * noise)


def quick(arch: Architecture, seed: int, progress: Callable[[int, int, float], None], **how: Any) -> Score:
    """An objective that trains nothing."""
    progress(1, 1, 0.0)
    return Score(quality(arch), 0.01, "made up")


def simulate(strategy: Strategy, count: int, history: Sequence[Observation] = ()) -> list[Observation]:
    """The history after ``count`` proposals; every seventh fails, every fifth is left running."""
    grown = list(history)
    for number in range(len(history), count):
        key = propose(strategy, grown)
        if number % 7 == 6:
            grown.append(Observation(key, "failed"))
        elif number % 5 == 4:
            grown.append(Observation(key, "running"))
        else:
            grown.append(Observation(key, "finished", quality(network(strategy, key))))
    return grown


def propose(strategy: Strategy, history: Sequence[Observation]) -> Key:
    strategy.learn(history)
    return strategy.propose()


def network(strategy: Strategy, key: Key) -> Architecture:
    assert isinstance(strategy.candidates, Problem)
    return strategy.candidates.space.decode(key)


def standing(target: int, finished: int = 0, *, step: Step | None = None, **changes: Any) -> Standing:
    """Of a run whose trainings all take ten iterations."""
    values: dict[str, Any] = {
        "iterations_left": 10 * (target - finished),
        "failed": 0,
        "history": [],
        "owners": [],
        "interrupted": [],
        "waiting": [],
        "ladder": Ladder(target, 0, (10,)),
    }
    return Standing(target=target, finished=finished, step=step or Step("propose"), **(values | changes))


class Watcher(LineReporter):
    """Remembers what a worker reported."""

    def __init__(self) -> None:
        self.messages: list[dict[str, Any]] = []

    def _write(self, message: dict[str, Any]) -> None:
        if "stands" not in message:
            self.messages.append(message)

    @property
    def ended_early(self) -> str | None:
        return next((m["exhausted"] for m in self.messages if "exhausted" in m), None)


def run(folder: Path, trials: int, objective: Any = quick, *, plan: Plan, watcher: Watcher | None = None) -> Watcher:
    """Sets the run up, or resumes it, and works on it in this process."""
    watcher = watcher or Watcher()
    set_up(folder, plan, trials, [])
    work(plan, folder, objective, watcher)
    return watcher
