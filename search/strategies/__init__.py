"""Strategies: what to try next. Read ``base``, then one of the others; classes are imported when used."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from search.strategies.base import Strategy

STRATEGIES = {
    "surrogate": "search.strategies.surrogate:Surrogate",
    "tpe": "search.strategies.tpe:TPE",
    "nsga2": "search.strategies.nsga2:NSGA2",
    "evolution": "search.strategies.evolution:Evolution",
    "random": "search.strategies.random:Random",
}
"""Module and class by the name in a run file. A new strategy is a line here; the conformance tests then cover it."""


def strategy_class(name: str) -> type[Strategy]:
    """Import the class of a registered strategy."""
    module, _, attribute = STRATEGIES[name].partition(":")
    found: type[Strategy] = getattr(importlib.import_module(module), attribute)
    return found
