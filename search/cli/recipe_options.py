"""Options of the commands that train, which change a recipe or its data."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from boostformer.errors import UserError
from search.cli.data_argument import HELP

if TYPE_CHECKING:
    from boostformer.training import Recipe

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
FlipOption = Annotated[
    float | None,
    typer.Option(min=0, max=1, help="Probability that left and right are swapped in training; 0 where it matters."),
]
VerticalFlipOption = Annotated[
    float | None, typer.Option(min=0, max=1, help="Probability that top and bottom are swapped in training.")
]
QuarterTurnsOption = Annotated[
    bool | None, typer.Option(help="Turn training images by 90, 180 or 270 degrees: for views from above.")
]
RotateOption = Annotated[
    float | None, typer.Option(min=0, max=180, help="Largest rotation of training images, degrees to either side.")
]
ColourOption = Annotated[
    float | None, typer.Option(min=0, max=2, help="Strength of changes of colour in training; 1 is usual, 0 none.")
]
InitOption = Annotated[
    Path | None, typer.Option(metavar="CKPT", help="Checkpoint whose encoder to start from; else from scratch.")
]


def given(**options: Any) -> dict[str, Any]:
    """Return the options that were given."""
    return {name: value for name, value in options.items() if value is not None}


def changed(recipe: Recipe, changes: dict[str, Any]) -> Recipe:
    """Return ``recipe`` with ``changes``, checked."""
    return checked(lambda: type(recipe)(**(recipe.model_dump() | changes)))


def checked(make: Callable[[], Recipe]) -> Recipe:
    """Make a recipe from options; what pydantic refuses becomes a one-line error for the user."""
    from pydantic import ValidationError

    from boostformer.yaml_models import worded

    try:
        return make()
    except ValidationError as error:
        first = error.errors()[0]
        option = ".".join(map(str, first["loc"])) or "recipe"
        raise UserError(f"--{option.replace('_', '-')}: {worded(first)}") from None
