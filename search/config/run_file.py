"""The run file: what the user asks a search to do, checked key by key."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from boostformer.data.config import DataConfig
from boostformer.errors import nearest
from boostformer.files import read_text
from boostformer.training.recipes import Recipe, recipe
from boostformer.yaml_lines import Place, compose
from boostformer.yaml_models import invalid
from results import pareto as front
from search.strategies import STRATEGIES

OBJECTIVES = tuple(front.OBJECTIVES)
PROXY = "proxy"
"""Name of the recipe that gives what the run file's ``proxy`` leaves open."""


class SearchConfig(BaseModel):
    """How long to search, with which strategy, and from which seed.

    Of the networks that were trained up to one rung, one in ``reduction_factor`` is trained up to the next; those on
    the front are trained with ``final_seeds`` seeds in all.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    trials: int = Field(default=60, ge=1)
    seed: int = Field(default=0, ge=0, le=2**32 - 1)
    strategy: str = "surrogate"
    reduction_factor: int = Field(default=3, ge=2)
    final_seeds: int = Field(default=1, ge=1)


class LatencyConfig(BaseModel):
    """Where ``latency_ms`` is had: a device of ``devices.yaml`` or a shipped one."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    device: str


class ProxyConfig(BaseModel):
    """``recipe`` of the proxy training, and how many iterations it has at each rung: the first, or more of them."""

    model_config = ConfigDict(frozen=True)

    recipe: Recipe
    rungs: tuple[int, ...]


class RunConfig(BaseModel):
    """A run file. ``space`` is a shipped space's name or a file; ``budgets`` are not yet resolved."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    space: str
    data: DataConfig = DataConfig()
    objectives: list[str] = ["miou", "macs", "params"]
    budgets: dict[str, str | int | float] = {}
    latency: LatencyConfig | None = None
    proxy: ProxyConfig
    search: SearchConfig = SearchConfig()


def read_run_config(path: Path) -> tuple[RunConfig, Place]:
    """The configuration in ``path``, with its paths made absolute, and the file's top for wording later errors.

    Raises :class:`boostformer.errors.UserError`: ``file:line: key: what is wrong, what is allowed``.
    """
    top = compose(read_text(path), str(path), needs="a run file must have the key: space")
    values = {key: place.plain() for key, place in top.entries("keys to values").items()}
    try:
        proxy = _proxy(top, values)
        config = RunConfig.model_validate(values | {"proxy": proxy})
    except ValidationError as error:
        raise invalid(top, error, RunConfig) from None
    for i, name in enumerate(config.objectives):
        if name not in OBJECTIVES:
            raise top.at("objectives", i).error(f"unknown objective '{name}'; {nearest(name, OBJECTIVES)}")
        if name in config.objectives[:i]:
            raise top.at("objectives", i).error(f"'{name}' is listed twice")
    if "miou" not in config.objectives:
        raise top.at("objectives").error("'miou' must be among them: it is what the proxy training measures")
    asking = [key for key in ("objectives", "budgets") if "latency_ms" in getattr(config, key)]
    if asking and config.latency is None:
        raise top.at(asking[0]).error(
            "latency_ms needs a device; add `latency: {device: NAME}` (`boostformer latency devices`)"
        )
    if config.latency is not None and not asking:
        raise top.at("latency").error("neither objectives nor budgets name latency_ms")
    if config.search.strategy not in STRATEGIES:
        name = config.search.strategy
        raise top.at("search", "strategy").error(f"unknown strategy '{name}'; {nearest(name, STRATEGIES)}")
    folder = path.absolute().parent
    data = config.data
    if data.root is not None:
        data = data.model_copy(update={"root": Path(folder / data.root).resolve()})
    space = config.space
    if (folder / space).is_file():
        space = str(folder / space)
    return config.model_copy(update={"data": data, "space": space}), top


def _proxy(top: Place, values: dict[str, Any]) -> ProxyConfig:
    """The proxy's recipe; its seed is the search's unless it has one of its own."""
    given = values.get("proxy") or {}
    if not isinstance(given, dict):
        raise top.at("proxy").error(f"{given!r} is not a mapping of a recipe's keys to values")
    try:
        seed = SearchConfig.model_validate(values.get("search", {})).seed
    except ValidationError as error:
        raise invalid(top, error, SearchConfig, ("search",)) from None
    rungs = _rungs(top, given)
    changes = {"seed": seed} | given | ({"iterations": rungs[0]} if rungs else {})
    if len(rungs) > 1:  # only this schedule can go on for longer
        changes["schedule"] = given.get("schedule", "wsd")
        if changes["schedule"] != "wsd":
            raise top.at("proxy", "schedule").error(f"'{changes['schedule']}' ends for good, several rungs need 'wsd'")
    try:
        found = recipe(PROXY, **changes)
    except ValidationError as error:
        raise invalid(top, error, Recipe, ("proxy",)) from None
    return ProxyConfig(recipe=found, rungs=rungs or (found.iterations,))


def _rungs(top: Place, given: dict[str, Any]) -> tuple[int, ...]:
    """``proxy.iterations``, one number or several; empty when it is not there."""
    if "iterations" not in given:
        return ()
    listed = given["iterations"] if isinstance(given["iterations"], list) else [given["iterations"]]
    place = top.at("proxy", "iterations")
    for value in listed:
        if type(value) is not int:
            raise place.error(f"{value!r} is not a whole number")
    if not listed or any(after <= before for before, after in zip(listed, listed[1:], strict=False)):
        raise place.error(f"{listed} must grow from one rung to the next, such as [100, 300, 900]")
    return tuple(listed)
