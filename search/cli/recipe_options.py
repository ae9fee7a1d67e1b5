"""Options of the commands that train, which change a recipe or its data."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from boostformer.errors import UserError
from search.cli.data_argument import HELP

if TYPE_CHECKING:
    from boostformer.training import Recipe

OutOption = Annotated[Path, typer.Option("--out", metavar="CKPT", help="Folder of the new checkpoint.")]
DataOption = Annotated[str | None, typer.Option("--data", help=HELP)]
SizeOption = Annotated[str | None, typer.Option("--size", help="HxW at which the network sees the images.")]
IterationsOption = Annotated[int | None, typer.Option(min=1, help="Updates of the weights.")]
BatchOption = Annotated[int | None, typer.Option("--batch-size", min=2)]
LrOption = Annotated[float | None, typer.Option(help="Largest learning rate.")]
SeedOption = Annotated[int | None, typer.Option(min=0)]
ThreadsOption = Annotated[
    int | None, typer.Option(min=1, help="Threads on a CPU; by default as many as pay, which is measured.")
]
PrecisionOption = Annotated[str | None, typer.Option(help="fp32, bf16 or fp16.")]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Any other value of the recipe, such as flip=0 or loss.dice=0.5; may be repeated.",
    ),
]
RecipeOption = Annotated[
    str | None, typer.Option(metavar="NAME|FILE", help="One of `boostformer recipes`, or a YAML file of that form.")
]
LogOption = Annotated[
    str,
    typer.Option(
        metavar="NAMES",
        help="Who is told of the course beside metrics.csv: tensorboard (CKPT/logs), wandb, mlflow, aim, or none.",
    ),
]
InitOption = Annotated[
    str | None,
    typer.Option(
        metavar="CKPT",
        help="Trained network to start from, as far as it fits: a checkpoint, transformers' SegFormer or MiT, or a "
        "repository of the hub; else from scratch.",
    ),
]
LicenceOption = Annotated[
    str | None,
    typer.Option(
        metavar="ID",
        help="Licence of the new weights on their model card, as the hub names it: apache-2.0, or 'other, NAME'. "
        "By default that of the weights they start from, or unknown.",
    ),
]


def licence_given(text: str | None) -> dict[str, str]:
    """Give the part of a provenance that ``--licence`` makes."""
    if text is None:
        return {}
    if not re.fullmatch(r"[a-z0-9][a-z0-9.+-]{0,60}|other, [ -~]{1,100}", text):
        raise UserError(f"--licence: {text!r} is no licence's name on the hub, such as apache-2.0, or 'other, NAME'")
    return {"licence": text}


def given(**options: Any) -> dict[str, Any]:
    """Return the options that were given."""
    return {name: value for name, value in options.items() if value is not None}


def set_values(pairs: list[str] | None) -> dict[str, Any]:
    """Read ``--set`` options: ``loss.dice=0.5`` becomes ``{"loss": {"dice": 0.5}}``, values as YAML has them."""
    from boostformer.recipes import merged
    from boostformer.yaml_lines import compose

    found: dict[str, Any] = {}
    for pair in pairs or ():
        key, equals, text = pair.partition("=")
        if not equals or not key.strip():
            raise UserError(f"--set: {pair!r} must be KEY=VALUE, such as loss.dice=0.5")
        value: Any = compose(f"value: {text}", f"--set {pair}", needs="a value").at("value").plain()
        for part in reversed(key.strip().split(".")):
            value = {part: value}
        found = merged(found, value)
    return found


def segmentation_recipe(name: str, changes: dict[str, Any]) -> Recipe:
    """Read a recipe by name or file for training a segmenter, with ``changes`` from options."""
    return _of_task("segmentation", name, changes)


def classification_recipe(name: str, changes: dict[str, Any]) -> Recipe:
    """Read a recipe by name or file for pre-training, with ``changes`` from options."""
    return _of_task("classification", name, changes)


def _of_task(task: str, name: str, changes: dict[str, Any]) -> Recipe:
    from boostformer import recipes

    found = checked(lambda: recipes.load(name, **changes))
    if recipes.task_of(found) != task:
        fit = [each for each in recipes.names() if recipes.task_of(recipes.load(each)) == task]
        raise UserError(
            f"--recipe: '{name}' is for {recipes.task_of(found)}; allowed here: {', '.join(fit)}, or a file"
        )
    return found


def checked(make: Callable[[], Recipe]) -> Recipe:
    """Make a recipe from options; what pydantic refuses becomes a one-line error for the user."""
    from pydantic import ValidationError

    from boostformer.yaml_models import worded

    try:
        return make()
    except ValidationError as error:
        first = error.errors()[0]
        option = ".".join(map(str, first["loc"])) or "recipe"
        if first["type"] == "extra_forbidden":
            raise UserError(
                f"--set: a recipe has no '{option}'; `boostformer recipes NAME` shows what it has"
            ) from None
        direct = option in ("iterations", "batch_size", "lr", "precision", "seed", "threads", "recipe")
        raise UserError(f"--{option.replace('_', '-') if direct else f'set {option}'}: {worded(first)}") from None
