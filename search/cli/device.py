"""Options that name a device, and what all commands do where it is not there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer

from search.cli.output import note

DeviceOption = Annotated[str, typer.Option("--device", help="Its name: see `boostformer latency devices`.")]
ClassesOption = Annotated[int | None, typer.Option(min=1, help="Number of classes.")]


@contextmanager
def reachable() -> Iterator[None]:
    """End the program with one line where a device is not there, or cannot run a network."""
    from evaluators.latency.backend import MeasureFailure, Unavailable

    try:
        yield
    except (Unavailable, MeasureFailure) as error:
        note(f"error: {error}")
        raise typer.Exit(1) from None
