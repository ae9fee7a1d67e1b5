"""Faults of single files of a data set: the first one ends an opening, unless all are collected.

Formats and readers call :func:`refuse` with what is wrong with their samples and go on with the others; whether that
raises is decided by whoever opens the data set.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path

from boostformer.errors import UserError

REMEDY = "mend or replace it, or take the sample out"
_OPENING, _CLOSING = "([{", ")]}"


@dataclass(frozen=True, order=True)
class Fault:
    """A fault of a file, and its remedy."""

    file: str
    fault: str
    remedy: str = REMEDY

    def __str__(self) -> str:
        return f"{self.file}: {self.fault}; {self.remedy}"

    @classmethod
    def of(cls, error: UserError, *about: Path) -> Fault:
        """Take apart an error's line, ``file: fault; remedy``; ``about`` are files it may name, the likeliest last."""
        text = str(error)
        for path in about:
            if text.startswith(f"{path}: "):
                return cls(str(path), *_halves(text.removeprefix(f"{path}: ")))
        if about:
            return cls(str(about[-1]), *_halves(text))
        file, _, rest = text.partition(": ")
        return cls(file, *_halves(rest))


def _halves(text: str) -> tuple[str, str]:
    """Split at the first semicolon that is not in brackets."""
    depth = 0
    for place, character in enumerate(text):
        depth += (character in _OPENING) - (character in _CLOSING)
        if depth == 0 and text.startswith("; ", place):
            return text[:place], text[place + 2 :]
    return text, REMEDY


@dataclass
class Collector:
    """Faults so far; ``read`` is called, by any thread, after each file that was read."""

    faults: list[Fault] = field(default_factory=list)
    read: Callable[[], object] = lambda: None


_collector: ContextVar[Collector | None] = ContextVar("collector", default=None)


@contextmanager
def collecting_faults(read: Callable[[], object] = lambda: None) -> Iterator[list[Fault]]:
    """Collect all faults of single files within the block, where otherwise the first would be raised."""
    collector = Collector(read=read)
    token = _collector.set(collector)
    try:
        yield collector.faults
    finally:
        _collector.reset(token)


def collector() -> Collector | None:
    """Give what collects faults here. Threads do not inherit it: ask before starting them."""
    return _collector.get()


def refuse(faults: Iterable[Fault]) -> None:
    """Collect the faults, or raise UserError for the first and say how many more there are; nothing without any."""
    found = list(faults)
    if (into := collector()) is not None:
        into.faults.extend(found)
    elif found:
        more = f" (and {len(found) - 1} more: `boostformer data check` lists all)" if len(found) > 1 else ""
        raise UserError(f"{found[0]}{more}")
