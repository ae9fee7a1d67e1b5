"""The words that start one worker of a run, or one process of a training, here or on another machine."""

from __future__ import annotations

from collections.abc import Sequence

from boostformer.extensions import options
from search.study.stores import place_of
from search.worker.launchers.order import Order
from search.worker.local import PROGRAM

INSTALLED = ("boostformer",)
"""The program on a machine, or in an image, where it is installed by itself."""


LEASHED = "--leashed"
"""Option of the program that has it stop, as on Ctrl-C, when its standard input closes or who started it dies."""


def joining_here(order: Order, *, leashed: bool = False) -> list[str]:
    """Return the words that join the run by its folder, on this machine."""
    return [*PROGRAM, *([LEASHED] if leashed else []), *options(), "worker", str(order.run_dir)]


def training(order: Order, program: Sequence[str]) -> list[str]:
    """Return the words of one process of a training, which is told by its environment which one it is."""
    assert order.training is not None
    return [*program, *options(), *order.training]


def variables(order: Order) -> dict[str, str]:
    """Return what the environment of each process of a training needs beside its place among them."""
    threads = {"OMP_NUM_THREADS": str(order.needs.cores or 1)}
    return threads if order.needs.gpus else threads | {"ACCELERATE_USE_CPU": "true"}


def joining(order: Order, program: Sequence[str] = INSTALLED, out: str | None = None) -> list[str]:
    """Return the words that join the run from any machine by its database.

    Args:
        order: the run, and where its data are there.
        program: starts the command line there.
        out: the run's folder there; by default one named as the study, where the worker is started.

    Raises:
        UserError: the run is kept in a file.
    """
    where = order.database
    words = [*program, *options(), "worker", "--storage", where.url, "--study", where.study]
    words += ["--out", out] if out is not None else []
    words += ["--files", place] if (place := place_of(order.run_dir)) is not None else []
    return [*words, "--data", str(order.data)] if order.data is not None else words
