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
from results import front
from search.strategies import STRATEGIES

OBJECTIVES = tuple(front.OBJECTIVES)
PROXY = "proxy"
"""Name of the recipe that gives what the run file's ``proxy`` leaves open."""


class SearchConfig(BaseModel):
    """How long to search, with which strategy, and from which seed."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    trials: int = Field(default=60, ge=1)
    seed: int = Field(default=0, ge=0)
    strategy: str = "tpe"


class LatencyConfig(BaseModel):
    """Where ``latency_ms`` is had: a device of ``devices.yaml`` or a shipped one."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    device: str


class RunConfig(BaseModel):
    """A run file. ``space`` is a shipped space's name or a file; ``budgets`` are not yet resolved."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    space: str
    data: DataConfig = DataConfig()
    objectives: list[str] = ["miou", "macs", "params"]
    budgets: dict[str, str | int | float] = {}
    latency: LatencyConfig | None = None
    proxy: Recipe
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


def _proxy(top: Place, values: dict[str, Any]) -> Recipe:
    """The proxy's recipe; its seed is the search's unless it has one of its own."""
    given = values.get("proxy") or {}
    if not isinstance(given, dict):
        raise top.at("proxy").error(f"{given!r} is not a mapping of a recipe's keys to values")
    iterations = given.get("iterations", 1)
    if type(iterations) is not int:
        raise top.at("proxy", "iterations").error(f"{iterations!r} is not a whole number")
    try:
        seed = SearchConfig.model_validate(values.get("search", {})).seed
    except ValidationError as error:
        raise invalid(top, error, SearchConfig, ("search",)) from None
    try:
        return recipe(PROXY, **({"seed": seed} | given))
    except ValidationError as error:
        raise invalid(top, error, Recipe, ("proxy",)) from None
