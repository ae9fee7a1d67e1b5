"""Tests of whether one contestant is better than another: Mann-Whitney, Holm's correction, Vargha and Delaney's A12."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import mannwhitneyu

LEVEL = 0.05


@dataclass(frozen=True)
class Comparison:
    """Of one sample with another: the ratio of their means, the chance that a value of the first is the larger, p."""

    ratio: float
    a12: float
    p: float
    """Two-sided, after Holm's correction."""

    @property
    def verdict(self) -> str:
        if self.p >= LEVEL:
            return "no significant difference"
        return "significantly better" if self.a12 > 0.5 else "significantly worse"


def compare(one: Sequence[float], others: Mapping[str, Sequence[float]]) -> dict[str, Comparison]:
    """``one`` against each of the ``others``, corrected for their number (Holm 1979)."""
    tests = {name: mannwhitneyu(one, values, alternative="two-sided") for name, values in others.items()}
    corrected = holm({name: float(test.pvalue) for name, test in tests.items()})
    return {
        name: Comparison(
            ratio=float(np.mean(one) / np.mean(values)),
            a12=float(tests[name].statistic) / (len(one) * len(values)),
            p=corrected[name],
        )
        for name, values in others.items()
    }


def holm(p: Mapping[str, float]) -> dict[str, float]:
    """Step-down: the smallest p times their number, the next times one less, and so on; never decreasing."""
    corrected, largest = {}, 0.0
    for rank, name in enumerate(sorted(p, key=lambda name: p[name])):
        largest = max(largest, min(1.0, (len(p) - rank) * p[name]))
        corrected[name] = largest
    return corrected
