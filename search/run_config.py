"""The run file: what the user asks a search to do, checked key by key."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from boostformer.data.config import DataConfig
from boostformer.errors import nearest
from boostformer.training.recipes import Recipe, recipe
from search.strategies import STRATEGIES
from search.yaml_lines import YamlFile

OBJECTIVES = ("miou", "macs", "params")
PROXY = "proxy"
"""Name of the recipe that gives what the run file's ``proxy`` leaves open."""


class SearchConfig(BaseModel):
    """How long to search, with which strategy, and from which seed."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    trials: int = Field(default=60, ge=1)
    seed: int = Field(default=0, ge=0)
    strategy: str = "tpe"


class RunConfig(BaseModel):
    """A run file. ``space`` is a shipped space's name or a file; ``budgets`` are not yet resolved."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    space: str
    data: DataConfig = DataConfig()
    objectives: list[str] = list(OBJECTIVES)
    budgets: dict[str, str | int | float] = {}
    proxy: Recipe
    search: SearchConfig = SearchConfig()


def read_run_config(path: Path) -> tuple[RunConfig, YamlFile]:
    """The configuration in ``path``, with its paths made absolute, and the file for wording later errors.

    Raises :class:`boostformer.errors.UserError`: ``file:line: key: what is wrong, what is allowed``.
    """
    file = YamlFile(path)
    values = dict(file.values)
    try:
        proxy = _proxy(file, values)
        config = RunConfig.model_validate(values | {"proxy": proxy})
    except ValidationError as error:
        raise file.invalid(error, RunConfig) from None
    for i, name in enumerate(config.objectives):
        if name not in OBJECTIVES:
            raise file.error(("objectives", i), f"unknown objective '{name}'; {nearest(name, OBJECTIVES)}")
        if name in config.objectives[:i]:
            raise file.error(("objectives", i), f"'{name}' is listed twice")
    if "miou" not in config.objectives:
        raise file.error(("objectives",), "'miou' must be among them: it is what the proxy training measures")
    if config.search.strategy not in STRATEGIES:
        name = config.search.strategy
        raise file.error(("search", "strategy"), f"unknown strategy '{name}'; {nearest(name, STRATEGIES)}")
    folder = path.absolute().parent
    data = config.data
    if data.root is not None:
        data = data.model_copy(update={"root": Path(folder / data.root).resolve()})
    space = config.space
    if (folder / space).is_file():
        space = str(folder / space)
    return config.model_copy(update={"data": data, "space": space}), file


def _proxy(file: YamlFile, values: dict[str, Any]) -> Recipe:
    """The proxy's recipe; its seed is the search's unless it has one of its own."""
    given = values.get("proxy") or {}
    if not isinstance(given, dict):
        raise file.error(("proxy",), f"{given!r} is not a mapping of a recipe's keys to values")
    iterations = given.get("iterations", 1)
    if type(iterations) is not int:
        raise file.error(("proxy", "iterations"), f"{iterations!r} is not a whole number")
    try:
        seed = SearchConfig.model_validate(values.get("search", {})).seed
    except ValidationError as error:
        raise file.invalid(error, SearchConfig, ("search",)) from None
    try:
        return recipe(PROXY, **({"seed": seed} | given))
    except ValidationError as error:
        raise file.invalid(error, Recipe, ("proxy",)) from None
