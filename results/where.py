"""Constraints on trials, as a user writes them: ``params<3M and (latency_ms<=15 or miou>=60%)``.

A condition compares a column that a table of the run has with a number. ``and`` binds closer than ``or``; a trial whose
value is not known satisfies no comparison. Nothing is evaluated but this.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from boostformer.errors import UserError, nearest
from results.tables import flat
from results.trial import MIOU, Trial

Where = Callable[[Trial], bool]
"""Tells whether a trial satisfies the constraints."""

_OPERATORS: dict[str, Callable[[float, float], bool]] = {
    "<=": operator.le,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    ">": operator.gt,
    "=": operator.eq,
}
_TOKEN = re.compile(
    r"\s*(?:(?P<number>\d+\.?\d*(?:[eE][+-]?\d+)?|\.\d+)\s*(?P<unit>[a-zA-Z%]*)|(?P<word>[a-zA-Z_]\w*)"
    r"|(?P<operator><=|>=|==|!=|<|>|=)|(?P<bracket>[()])|(?P<other>\S))"
)
_COUNTS = {"": 1.0, "k": 1e3, "K": 1e3, "M": 1e6, "G": 1e9}
_SHARES = {"": 1.0, "%": 0.01}
_DEEPEST = 50
"""Parentheses within one another."""


@dataclass(frozen=True)
class _Token:
    kind: str
    text: str
    at: int
    unit: str = ""


def read_where(text: str, trials: Sequence[Trial]) -> Where:
    """Read the constraints in ``text`` on the columns that any of the ``trials`` has a number in.

    :class:`UserError` names what is wrong, its position from 1, and what is allowed.
    """
    known: dict[str, bool] = {}
    for trial in trials:
        for name, value in flat(trial).items():
            if type(value) in (int, float):
                known[name] = known.get(name, True) and type(value) is int
    return _Reader(text, known).whole()


def _units(column: str, is_count: bool) -> dict[str, float]:
    """Give the units in which a column's values may be written, and what one of each comes to."""
    if column.startswith(MIOU):
        return _SHARES
    for end, unit in (("_ms", "ms"), ("_mb", "MB"), ("seconds", "s")):
        if column.endswith(end):
            return {"": 1.0, unit: 1.0}
    return _COUNTS if is_count else {"": 1.0}


class _Reader:
    """Reads one text from left to right; ``known`` are the columns, and whether their values are counts."""

    def __init__(self, text: str, known: dict[str, bool]) -> None:
        self._text, self._known, self._deep = text, known, 0
        self._tokens = [_token(match) for match in _TOKEN.finditer(text)]
        self._tokens.append(_Token("end", "", len(text) + 1))

    def whole(self) -> Where:
        found = self._any()
        if self._next.kind != "end":
            self._refuse("'and', 'or' or the end was expected")
        return found

    @property
    def _next(self) -> _Token:
        return self._tokens[0]

    def _take(self, kind: str, *texts: str) -> _Token | None:
        token = self._next
        if token.kind != kind or (texts and token.text.lower() not in texts):
            return None
        return self._tokens.pop(0)

    def _any(self) -> Where:
        alternatives = [self._all()]
        while self._take("word", "or"):
            alternatives.append(self._all())
        return lambda trial: any(one(trial) for one in alternatives)

    def _all(self) -> Where:
        conditions = [self._one()]
        while self._take("word", "and"):
            conditions.append(self._one())
        return lambda trial: all(one(trial) for one in conditions)

    def _one(self) -> Where:
        if self._take("bracket", "("):
            self._deep += 1
            if self._deep > _DEEPEST:
                self._refuse(f"at most {_DEEPEST} parentheses within one another are allowed")
            found = self._any()
            if not self._take("bracket", ")"):
                self._refuse("')' was expected")
            self._deep -= 1
            return found
        return self._comparison()

    def _comparison(self) -> Where:
        if self._next.kind != "word" or self._next.text not in self._known:
            hint = f"{nearest(self._next.text, self._known)}; " if self._next.kind == "word" else ""
            self._refuse(f"a column was expected; {hint}the run has {', '.join(self._known) or 'no figures yet'}")
        column = self._tokens.pop(0).text
        compare = self._take("operator")
        if compare is None:
            self._refuse(f"one of {', '.join(_OPERATORS)} was expected")
        return _compared(column, _OPERATORS[compare.text], self._number(column))

    def _number(self, column: str) -> float:
        token, units = self._next, _units(column, self._known[column])
        written = " or ".join(f"2{unit}" for unit in units)
        if token.kind != "number":
            self._refuse(f"a number was expected, for {column} as {written}")
        if token.unit not in units:
            self._refuse(f"'{token.unit}' is no unit of {column}, which is written as {written}")
        value = float(token.text) * units[token.unit]
        if units is _SHARES and value > 1:
            self._refuse(f"{column} is a share from 0 to 1, or {token.text}%")
        self._tokens.pop(0)
        return value

    def _refuse(self, problem: str) -> NoReturn:
        token = self._next
        what = f"'{token.text}{token.unit}'" if token.kind != "end" else "the end"
        raise UserError(f"--where '{self._text}': {what} at position {token.at}: {problem}")


def _token(match: re.Match[str]) -> _Token:
    kind = str(match.lastgroup if match.lastgroup != "unit" else "number")
    return _Token(kind, match[kind], match.start(kind) + 1, match["unit"] or "")


def _compared(column: str, compare: Callable[[float, float], bool], limit: float) -> Where:
    def satisfies(trial: Trial) -> bool:
        value: Any = flat(trial)[column]
        return value is not None and compare(value, limit)

    return satisfies
