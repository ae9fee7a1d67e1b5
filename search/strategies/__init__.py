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
"""Name in a run file -> module:class. A new strategy is a line here; the conformance test then covers it."""


def strategy_class(name: str) -> type[Strategy]:
    """The class of a registered strategy."""
    module, _, attribute = STRATEGIES[name].partition(":")
    found: type[Strategy] = getattr(importlib.import_module(module), attribute)
    return found
