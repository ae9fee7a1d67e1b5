"""What every launcher is, and what it gives: a fleet of workers that can be followed, found again and stopped."""

from __future__ import annotations

from enum import StrEnum
from typing import Any, ClassVar, Protocol

from search.worker.launchers.order import Options, Order


class State(StrEnum):
    """What became of a worker, worded for people."""

    WAITING = "waits for a place"
    WORKING = "started"
    ENDED = "ended"
    """By itself, which a worker only does when nothing is left to do."""
    FAILED = "failed"
    STOPPED = "was stopped or killed"

    @property
    def is_over(self) -> bool:
        return self not in (State.WAITING, State.WORKING)


class Fleet(Protocol):
    """The workers of one order. Its queries raise :class:`UserError` once the engine is gone."""

    title: str
    """Names it for people: "Slurm job 17"."""
    pause: float
    """Seconds between two looks that the engine bears well."""

    def workers(self) -> dict[int, State]:
        """Return the state of each worker, by its number."""

    def last_words(self, number: int) -> str:
        """Return the last line that a worker wrote, or say why it cannot be had."""

    def stop(self) -> None:
        """Stop all workers as Ctrl-C does, each giving back its trial; return when none is left.

        Also takes down what the engine still keeps of a fleet that is over. Safe to repeat.
        """


class Launcher(Protocol):
    """An engine, ready to carry out one order. Opening it checks the order; :class:`UserError` says what is wrong.

    It is given its own ``options``, read from those of the order.

    Nothing runs before :meth:`start`. An engine that lasts keeps its workers, and replaces dead ones, when the process
    that started them dies; :meth:`find` then finds them.
    """

    engine: ClassVar[str]
    options: ClassVar[type[Options]]
    lasts: ClassVar[bool]
    """Whether workers go on without the process that started them, which ``--detach`` needs."""
    scales: ClassVar[bool]
    """True if it takes a range of workers: as many of the most as there is room for."""
    gathers: ClassVar[bool]
    """True if it holds all workers of a range back until the least of them have room."""
    trains: ClassVar[bool]
    """Whether it starts the processes of one training, too, all of them or none."""

    def __init__(self, order: Order, options: Any) -> None: ...

    def plan(self) -> str:
        """Return exactly what would be submitted, as text; nothing is done or written."""

    def start(self) -> Fleet:
        """Start the workers."""

    def find(self) -> Fleet | None:
        """Find the workers of this order that are there already, whoever started them; None where there are none."""
