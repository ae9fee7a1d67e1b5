"""The pages of the run file and of recipes, from the models that read them."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from reference.text import code, described, plain, table, type_name

_BOUNDS = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}


def run_file_page() -> str:
    """Write every section of a run file with its keys."""
    from results.trial import COSTS, OBJECTIVES
    from search.config.sections import ProxyConfig, RunConfig

    proxy = ProxyConfig.model_validate({})
    found = []
    for name, field in RunConfig.model_fields.items():
        model = _model(field.annotation)
        found.append(f"## {name}\n")
        if model is None:
            found.append(f"{type_name(field.annotation)}. {_default(field)}\n".replace("Default: .", "Required."))
        else:
            found.append(described(model))
            found.append(
                _table(model, proxy if name == "proxy" else None, _budgets(COSTS) if name == "budgets" else ())
            )
            found += [
                f"### {name}.{key}\n\n{described(inner)}\n{_table(inner, getattr(proxy, key, None))}"
                for key, inner in _inner(model)
            ]
        if name == "objectives":
            found.append(
                table(
                    ("objective", "", "direction"),
                    (
                        (code(o.name), o.label, "as large as possible" if o.maximised else "as small as possible")
                        for o in OBJECTIVES.values()
                    ),
                )
            )
    return "\n".join(found)


def recipes_page() -> str:
    """Write each shipped recipe, whole, and what a recipe may say."""
    from boostformer import recipes
    from boostformer.training.recipes import PretrainRecipe, Recipe

    listed = table(
        ("recipe", "for", "trains"),
        (
            (f"[`{name}`](#{name})", recipes.about(name), recipes.task_of(recipes.load(name)))
            for name in recipes.names()
        ),
    )
    texts = [f"### {name}\n\n```yaml\n{_recipe_text(name)}\n```\n" for name in recipes.names()]
    keys = [f"## What a recipe may say\n\n{described(Recipe)}\n{_table(Recipe)}"]
    keys += [f"### {key}\n\n{described(inner)}\n{_table(inner)}" for key, inner in _inner(Recipe)]
    own = {name for name in PretrainRecipe.model_fields if name not in Recipe.model_fields}
    keys.append(f"### Of pre-training alone\n\n{described(PretrainRecipe)}\n{_table(PretrainRecipe, only=own)}")
    return "\n".join([listed, "## The shipped ones", *texts, *keys])


def _recipe_text(name: str) -> str:
    from importlib import resources

    return (resources.files("boostformer.recipes") / f"{name}.yaml").read_text(encoding="utf-8").strip()


def _budgets(costs: tuple[str, ...]) -> list[tuple[str, str, str, str]]:
    return [
        (code(name), "a number with a unit, or a share of the baseline", "none", "hard upper limit") for name in costs
    ]


def _inner(model: type[BaseModel]) -> Iterator[tuple[str, type[BaseModel]]]:
    for name, field in model.model_fields.items():
        inner = _model(field.annotation)
        if inner is not None:
            yield name, inner


def _model(kind: Any) -> type[BaseModel] | None:
    kinds = [kind, *getattr(kind, "__args__", ())]
    return next((part for part in kinds if inspect.isclass(part) and issubclass(part, BaseModel)), None)


def _table(
    model: type[BaseModel], values: BaseModel | None = None, more: Any = (), only: set[str] | None = None
) -> str:
    rows = []
    for name, field in model.model_fields.items():
        if field.exclude or (only is not None and name not in only):
            continue
        inner = _model(field.annotation)
        kind = f"see `{name}` below" if inner else type_name(field.annotation)
        bounds = [
            f"{_BOUNDS[key]} {getattr(item, key)}" for item in field.metadata for key in _BOUNDS if hasattr(item, key)
        ]
        default = "" if inner else _default(field, values, name)
        rows.append((code(name), ", ".join([kind, *bounds]), default, plain(field.description or "")))
    return table(("key", "allowed", "default", ""), [*rows, *more]) if rows or more else ""


def _default(field: Any, values: BaseModel | None = None, name: str = "") -> str:
    value = getattr(values, name) if values is not None and hasattr(values, name) else field.default
    if value is PydanticUndefined:
        return "required" if field.is_required() else ""
    shown = list(value) if isinstance(value, tuple) else value
    return (
        "" if value is None else code({True: "true", False: "false"}.get(shown) if isinstance(shown, bool) else shown)
    )
