"""Random search, the yardstick of all other strategies."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from search.strategies.base import Strategy
from search.strategies.history import Key


class Random(Strategy):
    """Guesses nothing, so that the base class draws a random network."""

    def guesses(self, rng: np.random.Generator) -> Iterator[Key]:
        return iter(())
