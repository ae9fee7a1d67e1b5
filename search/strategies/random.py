"""Random search: every network within budget is drawn blindly. The yardstick of all others."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from boostformer.architecture import Architecture
from search.problem import Observation
from search.strategies.base import Strategy


class Random(Strategy):
    """Never guesses, so that the random network of the base class is always taken."""

    def guesses(self, history: Sequence[Observation], rng: np.random.Generator) -> Iterator[Architecture]:
        return iter(())
