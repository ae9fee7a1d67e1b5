"""`Plan`: everything that decides what a search finds, resolved and frozen in its study.

Two searches with equal plans are the same search; the number of trials is not part of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import boostformer
from boostformer import presets
from boostformer.data import DataConfig
from boostformer.errors import UserError, nearest
from boostformer.files import cache_folder
from boostformer.training import Recipe
from boostformer.yaml_lines import Place
from evaluators.costs.budget import COUNTED, Budget, counted_deployed
from evaluators.costs.table import CostTable
from evaluators.latency.additive import Additive
from evaluators.latency.backend import Backend
from evaluators.proxy import Proxy
from search.config.problem import Problem
from search.config.run_file import RunConfig, read_run_config
from search.config.timing import Timing
from search.strategies import strategy_class
from search.strategies.base import Strategy
from search.study.scheduler import Ladder
from search_space import SearchSpace, read_space, shipped_spaces, space_from_dict

FORMAT_VERSION = 3
"""2 counts costs of the deployed network, and knows more blocks; 3 has rungs and seeds."""


@dataclass(frozen=True)
class Plan:
    """A search. ``images`` counts those of each split; ``space`` is for the data's size and classes.

    ``rungs`` are the iterations of the proxy trainings, ascending, ``recipe`` is that of the shortest.
    ``deployed`` says of which network ``budget`` and objectives count the cost: the folded or the trained one.
    """

    name: str
    space: SearchSpace
    data: DataConfig
    labels: tuple[str, ...]
    images: dict[str, int]
    objectives: tuple[str, ...]
    budget: Budget
    deployed: bool
    recipe: Recipe
    strategy: str
    seed: int
    rungs: tuple[int, ...] = ()
    reduction_factor: int = 3
    final_seeds: int = 1
    timing: Timing | None = None

    def __post_init__(self) -> None:
        if not self.rungs:
            object.__setattr__(self, "rungs", (self.recipe.iterations,))

    def problem(self, table: CostTable | None = None, backend: Backend | None = None) -> Problem:
        """What to solve. ``backend`` is that of ``timing``, where it is open already."""
        if self.timing is not None and backend is None:
            backend = self.timing.open()
        latency = backend if isinstance(backend, Additive) else None
        return Problem(self.space, self.objectives, self.budget, table or CostTable(deployed=self.deployed), latency)

    def ladder(self, target: int) -> Ladder:
        """In which order a run of ``target`` networks trains what."""
        return Ladder(target, self.recipe.seed, self.rungs, self.reduction_factor, self.final_seeds)

    def make_strategy(self, problem: Problem) -> Strategy:
        return strategy_class(self.strategy)(problem, self.seed)

    def open_proxy(self) -> Proxy:
        """The objective; raises :class:`UserError` when the data are not those the plan was made for."""
        proxy = Proxy(self.data, self.recipe, data_cache(), self.rungs)
        if tuple(proxy.labels) != self.labels or _images(proxy) != self.images:
            raise UserError(
                f"{self.data.root}: holds other data than when the search began: {_images(proxy)} images of "
                f"{len(proxy.labels)} classes, allowed: {self.images} of {len(self.labels)}"
            )
        return proxy

    def references(self, problem: Problem) -> list[dict[str, Any]]:
        """The presets' costs at this size and for these classes, to draw beside the front."""
        found: list[dict[str, Any]] = []
        for name in presets.names():
            arch = presets.load(name, classes=self.space.classes, size=self.space.size)
            cost, latency = problem.table.cost(arch), problem.latency
            found.append({"name": name, "params": cost.params, "macs": cost.macs})
            if latency is not None and latency.can_tell(arch):
                found[-1]["latency_ms"] = latency.milliseconds(arch)
        return found

    def to_dict(self) -> dict[str, Any]:
        """What the study keeps; :meth:`from_dict` gives back an equal plan."""
        return {
            "version": FORMAT_VERSION,
            "space_name": self.name,
            "data": self.data.model_dump(mode="json"),
            "labels": list(self.labels),
            "images": self.images,
            "objectives": list(self.objectives),
            "budgets": self.budget.to_dict(),
            "counted": COUNTED[not self.deployed],
            "latency": self.timing and self.timing.to_dict(),
            "search": {
                "strategy": self.strategy,
                "seed": self.seed,
                "reduction_factor": self.reduction_factor,
                "final_seeds": self.final_seeds,
            },
            "proxy": self.recipe.model_dump(mode="json"),
            "rungs": list(self.rungs),
            "space": self.space.to_dict(),
            "versions": {
                "boostformer": boostformer.__version__,
                **{package: version(package) for package in ("torch", "optuna", "numpy")},
            },
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any], source: str) -> Plan:
        if data["version"] != FORMAT_VERSION:
            raise UserError(f"{source}: version {data['version']} cannot be read, allowed: {FORMAT_VERSION}")
        return cls(
            name=data["space_name"],
            space=space_from_dict(data["space"], source),
            data=DataConfig(**data["data"]),
            labels=tuple(data["labels"]),
            images=data["images"],
            objectives=tuple(data["objectives"]),
            budget=Budget(tuple(data["budgets"].items())),
            deployed=data["counted"] == COUNTED[0],
            recipe=Recipe(**data["proxy"]),
            rungs=tuple(data["rungs"]),
            timing=Timing(**data["latency"]) if data.get("latency") else None,
            **data["search"],
        )

    @classmethod
    def read(cls, path: Path, earlier: Plan | None = None) -> tuple[Plan, int, Proxy]:
        """The plan of a run file, how many trials it asks for, and the proxy, its data opened and checked.

        Of the plan that was ``earlier`` made from it only the provenance of its latencies is taken over.

        Raises :class:`UserError` for whatever is wrong with the file, the space, the data or the budgets.
        """
        config, top = read_run_config(path)
        if config.space not in shipped_spaces() and not Path(config.space).is_file():
            known = nearest(config.space, shipped_spaces())
            raise top.at("space").error(f"'{config.space}' is neither a file nor a shipped space; {known}")
        space = read_space(config.space)
        try:
            proxy = Proxy(config.data, config.proxy.recipe, data_cache(), config.proxy.rungs)
        except UserError as error:
            raise top.at("data").error(str(error)) from None
        try:
            space = space.replace(size=config.data.size, classes=len(proxy.labels))
        except UserError as error:
            raise top.at("space").error(f"{config.space} {error}") from None
        deployed = counted_deployed(config.budgets, top.at("budgets", "counted").where)
        table = CostTable(deployed=deployed)
        budget = _budget(config.budgets, top, table, space)
        plan = cls(
            name=config.space,
            space=space,
            data=config.data,
            labels=tuple(proxy.labels),
            images=_images(proxy),
            objectives=tuple(config.objectives),
            budget=budget,
            deployed=deployed,
            recipe=config.proxy.recipe,
            strategy=config.search.strategy,
            seed=config.search.seed,
            rungs=config.proxy.rungs,
            reduction_factor=config.search.reduction_factor,
            final_seeds=config.search.final_seeds,
            timing=_timing(config, top, earlier),
        )
        try:
            problem = plan.problem(table)
            if problem.latency is not None:
                problem.latency.prepare(space.slots, next(iter(space)))
        except UserError as error:
            raise top.at("latency", "device").error(str(error)) from None
        try:
            problem.check_reachable()
        except UserError as error:
            raise top.at("budgets").error(str(error).removeprefix("budgets: ")) from None
        return plan, config.search.trials, proxy


def _timing(config: RunConfig, top: Place, earlier: Plan | None) -> Timing | None:
    if config.latency is None:
        return None
    try:
        return Timing.of(config.latency.device, earlier.timing if earlier else None)
    except UserError as error:
        raise top.at("latency", "device").error(str(error)) from None


def _budget(entries: dict[str, Any], top: Place, table: CostTable, space: SearchSpace) -> Budget:
    """The limits, one after the other, so that a mistake is reported with its own line."""
    baseline = {key: value for key, value in entries.items() if key == "baseline"}
    if baseline and str(entries["baseline"]) not in presets.names():
        known = nearest(entries["baseline"], presets.names())
        raise top.at("budgets", "baseline").error(f"unknown preset '{entries['baseline']}'; {known}")
    resolve = partial(Budget.resolve, table=table, classes=space.classes, size=space.size)
    limits: list[tuple[str, float]] = []
    for key in entries:
        if key in ("baseline", "counted"):
            continue
        limits += resolve(baseline | {key: entries[key]}, source=top.at("budgets", key).where).limits
    return Budget(tuple(limits)) if limits else resolve(baseline, source=top.at("budgets").where)


def difference(old: dict[str, Any], new: dict[str, Any], above: str = "") -> str | None:
    """The first key, in the order of the old, whose values differ: ``a.b is 1 there, 2 here``."""
    for key in [*old, *(key for key in new if key not in old)]:
        before, after, name = old.get(key), new.get(key), f"{above}{key}"
        if name == "versions" or before == after:
            continue
        if name == "space_name" and old["space"] == new["space"]:  # the same space by another path
            continue
        if isinstance(before, dict) and isinstance(after, dict):
            if found := difference(before, after, f"{name}."):
                return found
            continue
        return f"{name} is {_short(before)} there, {_short(after)} here"
    return None


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 80 else f"{text[:77]}…"


def data_cache() -> Path:
    """Decoded images, shared by all runs."""
    return cache_folder() / "data"


def _images(proxy: Proxy) -> dict[str, int]:
    return {"training": len(proxy.training), "validation": len(proxy.validation)}
