"""The correction of a latency table: from sums of parts measured alone to whole networks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas
from numpy.typing import NDArray

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Correction:
    """A network takes ``overhead_ms``, and each element ``slope`` times its own time and ``launch_ms``."""

    slope: float
    launch_ms: float
    overhead_ms: float

    def of_element(self, ms: float) -> float:
        return self.slope * ms + self.launch_ms

    def of_networks(self, features: Values) -> Values:
        """Correct (networks, 2), milliseconds of all elements and their number, to (networks,) milliseconds."""
        return self.slope * features[:, 0] + self.launch_ms * features[:, 1] + self.overhead_ms


def fit(features: Values, measured: Values, strength: float = 0.05) -> Correction:
    """Fit a correction by ridge regression of relative errors, towards the plain sum.

    Args:
        features: (networks, 2) milliseconds of all elements, and their number.
        measured: (networks,) milliseconds.
        strength: how much a whole unit of correction counts beside a relative error of one in every network.
    """
    typical = np.median(measured)
    count = np.median(features[:, 1])
    # Columns on one scale: what each adds to a typical network when its coefficient is 1.
    columns = np.column_stack([features[:, 0], features[:, 1] * typical / count, np.full(len(measured), typical)])
    design, target = columns / measured[:, None], 1 - columns[:, 0] / measured
    prior = np.sqrt(strength * len(measured)) * np.eye(3)
    found = np.linalg.lstsq(np.vstack([design, prior]), np.concatenate([target, np.zeros(3)]), rcond=None)[0]
    return Correction(1 + float(found[0]), float(found[1] * typical / count), float(found[2] * typical))


def leave_one_out(features: Values, measured: Values) -> Values:
    """Predict each network by a correction fitted to the others: (networks, 2), (networks,) -> (networks,) ms."""
    others = ~np.eye(len(measured), dtype=bool)
    fits = [fit(features[rest], measured[rest]) for rest in others]
    return np.array([correction.of_networks(features[i : i + 1])[0] for i, correction in enumerate(fits)])


def rank_correlation(one: Sequence[float], other: Sequence[float]) -> float:
    """Compute Spearman's rank correlation."""
    return float(pandas.Series(one).corr(pandas.Series(other), method="spearman"))
