"""The shipped recipes of training, one YAML file each, and the reading of a file of one's own.

A file has ``about`` (a line for people), ``task`` (segmentation, or classification for pre-training), perhaps ``base``
(another recipe, whose values hold where the file has none), and values of a recipe. Torch-free.
"""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from boostformer.errors import UserError, nearest
from boostformer.files import expanded, read_text
from boostformer.training.recipes import PretrainRecipe, Recipe, with_changes
from boostformer.yaml_lines import Place, compose
from boostformer.yaml_models import invalid

TASKS: dict[str, type[Recipe]] = {"segmentation": Recipe, "classification": PretrainRecipe}
_OWN = ("about", "task", "base")
_DEEPEST = 8
"""Recipes that may stand on one another."""


def names() -> list[str]:
    """Names of the shipped recipes."""
    files = resources.files(__name__).iterdir()
    return sorted(file.name.removesuffix(".yaml") for file in files if file.name.endswith(".yaml"))


def about(name: str) -> str:
    """Say in a line what a recipe is for."""
    return str(_plain(_document(name)).get("about", ""))


def load(name: str | Path, **changes: Any) -> Recipe:
    """Make the recipe of a shipped name or a YAML file, with ``changes``.

    A changed number of iterations keeps the share of warm-up, and a changed batch in pre-training the ratio of learning
    rate to batch, unless those are changed too. Raises :class:`UserError` for an unknown name or a mistake in the file,
    with its line; pydantic's ValidationError for illegal changes.
    """
    top = _document(name)
    kind, values = _resolved(top, _DEEPEST)
    try:
        recipe = kind(**values)
    except ValidationError as error:
        raise invalid(top, error, kind) from None
    return with_changes(recipe, changes)


def task_of(recipe: Recipe) -> str:
    """Name what a recipe trains for."""
    return next(task for task, kind in TASKS.items() if type(recipe) is kind)


def _document(name: str | Path) -> Place:
    text = str(name)
    if text in names():
        return compose((resources.files(__name__) / f"{text}.yaml").read_text(), f"recipe {text}", needs="values")
    if text.endswith((".yaml", ".yml")):
        return compose(read_text(expanded(text)), text, needs="a recipe has values, such as iterations")
    raise UserError(f"unknown recipe '{text}'; {nearest(text, names())}, or a YAML file")


def _plain(top: Place) -> dict[str, Any]:
    return {key: place.plain() for key, place in top.entries("keys to values").items()}


def _resolved(top: Place, deepest: int) -> tuple[type[Recipe], dict[str, Any]]:
    """Give the kind and the values of a document, those of its base included."""
    values = _plain(top)
    task, base = values.get("task"), values.get("base")
    kind: type[Recipe] | None = None
    below: dict[str, Any] = {}
    if base is not None:
        if not deepest:
            raise top.at("base").error("recipes stand on one another without end")
        kind, below = _resolved(_document(str(base)), deepest - 1)
    if task is not None:
        if task not in TASKS:
            raise top.at("task").error(f"unknown task '{task}'; {nearest(task, TASKS)}")
        if kind not in (None, TASKS[task]):
            raise top.at("task").error(f"'{task}', but the base '{base}' is of another task")
        kind = TASKS[task]
    own = {key: value for key, value in values.items() if key not in _OWN}
    return kind or Recipe, merged(below, own)


def merged(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """Lay the values of ``other`` over those of ``one``, key by key where both have mappings."""
    both = dict(one)
    for key, value in other.items():
        inner = both.get(key)
        both[key] = merged(inner, value) if isinstance(inner, dict) and isinstance(value, dict) else value
    return both
