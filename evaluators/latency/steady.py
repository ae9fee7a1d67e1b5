"""Repetition of a measurement until a run counts, and refusal where none does: one way for boards and this machine."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from evaluators.latency.backend import Say

Found = TypeVar("Found")


def counting(
    run: Callable[[], tuple[Found | None, list[str]]],
    attempts: int,
    about: str,
    *,
    failure: type[Exception],
    say: Say,
    remedy: str = "",
) -> tuple[Found, list[str]]:
    """Run until there is nothing to say against a run; give it, and what was said against those before.

    Args:
        run: gives a figure, or None, and the reasons why it does not count.
        attempts: how often to run at most.
        about: begins each line: the device, and what is measured.
        failure: raised, with one line, when no run counts.
        say: is told of each run that does not count.
        remedy: what a person can do then.
    """
    rejected: list[str] = []
    for _ in range(attempts):
        found, reasons = run()
        if found is not None and not reasons:
            return found, rejected
        rejected.append("; ".join(reasons))
        say(f"{about}: rejected: {rejected[-1]}")
    raise failure(f"{about}: no run of {attempts} counts: {rejected[-1]}{remedy and '; '}{remedy}")
