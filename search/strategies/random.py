"""Random search: every network within budget is drawn blindly. The yardstick of all others."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from search.strategies.base import Key, Strategy


class Random(Strategy):
    """Never guesses, so that the random network of the base class is always taken."""

    def guesses(self, rng: np.random.Generator) -> Iterator[Key]:
        return iter(())
