"""Which choices go with the score: a linear model of what each block, width or depth adds, and how sure that is.

mIoU is modelled as a sum of one effect for each value of each choice, by ridge regression; how strongly effects are
drawn to zero is what predicts best a network that was left out. A choice's importance is the share of the variance of
the mIoU that its effects account for (Pratt's measure: their covariance with the mIoU), so that all choices together
have what the model has. Intervals are of resampled networks; what chance alone would give is found by giving the scores
to the networks anew at random. Effects add up here: choices that only matter together are not seen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]

ENOUGH = 16
"""Fewest networks of which anything is said."""
DRAWS = 100
WIDTH = 1.96
"""Of a 95 % interval, in standard deviations to either side."""
CHANCE = 0.95
_STRENGTHS = np.geomspace(0.1, 1e4, 26)


@dataclass(frozen=True)
class Effect:
    """What a value of a choice adds to the mIoU against the mean network, in 0…1, with its 95 % interval."""

    value: str
    networks: int
    gain: float
    low: float
    high: float


@dataclass(frozen=True)
class Importance:
    """The share of the variance of the mIoU that goes with a ``choice``, its 95 % interval, and its ``effects``.

    Of scores without any meaning 95 in 100 would give less than ``chance``.
    """

    choice: str
    share: float
    low: float
    high: float
    chance: float
    effects: Sequence[Effect]

    @property
    def matters(self) -> bool:
        """Tell whether this is more than chance, with the networks that were tried."""
        return self.low > self.chance


@dataclass(frozen=True)
class Findings:
    """Importances, the largest first, and how much of the variance of networks left out the model ``explained``."""

    networks: int
    explained: float
    importances: Sequence[Importance]


def importances(choices: Sequence[Mapping[str, str]], scores: Sequence[float], behind: Sequence[float]) -> Findings:
    """Model the scores of n networks by their choices.

    Args:
        choices: of each network, the value by the choice's name; all have the same names.
        scores: mIoU in 0…1.
        behind: iterations of each network's ancestors, whose influence is taken out.

    Returns:
        No importances where there are fewer than :data:`ENOUGH` networks, or nothing differs.
    """
    y = np.array(scores, float)
    if len(y) < ENOUGH or not np.ptp(y):
        return Findings(len(y), 0.0, [])
    columns = {name: np.array([one[name] for one in choices]) for name in choices[0]}
    levels = {name: np.unique(found, return_inverse=True) for name, found in columns.items()}
    levels = {name: found for name, found in levels.items() if len(found[0]) > 1}
    if not levels:
        return Findings(len(y), 0.0, [])
    blocks = [(index[:, None] == np.arange(len(values))).astype(float) for values, index in levels.values()]
    y = _without(y, np.log1p(np.array(behind, float)))
    design = np.hstack(blocks)
    places = np.cumsum([0, *(block.shape[1] for block in blocks)])
    strength, explained = _strength(design - design.mean(axis=0), y - y.mean())
    model = _Model(design, places, strength)

    gains, shares = model.fit(y, np.ones(len(y)))
    rng = np.random.default_rng(0)
    times = rng.multinomial(len(y), np.full(len(y), 1 / len(y)), DRAWS)
    drawn = [model.fit(y, weights) for weights in times.astype(float)]
    chance = np.quantile([model.fit(rng.permutation(y), np.ones(len(y)))[1] for _ in range(DRAWS)], CHANCE, axis=0)
    scatter, unsure = (WIDTH * np.std([one[part] for one in drawn], axis=0) for part in (0, 1))
    found = [
        Importance(
            name,
            max(0.0, float(shares[i])),
            max(0.0, float(shares[i] - unsure[i])),
            min(1.0, float(shares[i] + unsure[i])),
            float(chance[i]),
            [
                Effect(str(value), int(count), *(float(gains[place] + side * scatter[place]) for side in (0, -1, 1)))
                for value, count, place in zip(values, np.bincount(index), range(places[i], places[i + 1]), strict=True)
            ],
        )
        for i, (name, (values, index)) in enumerate(levels.items())
    ]
    return Findings(len(y), explained, sorted(found, key=lambda one: -one.share))


@dataclass(frozen=True)
class _Model:
    """A design (n, p) of one column for each value, with those of a choice side by side from ``places`` on."""

    design: Matrix
    places: NDArray[np.int64]
    strength: float

    def fit(self, y: Matrix, weights: Matrix) -> tuple[Matrix, Matrix]:
        """Give the effect of each value against the choice's mean, and each choice's share of the variance of ``y``."""
        share = weights / weights.sum()
        centred, target = self.design - share @ self.design, y - share @ y
        weighted = centred * weights[:, None]
        gram = weighted.T @ centred + self.strength * np.eye(centred.shape[1])
        gains = np.linalg.solve(gram, weighted.T @ target)
        variance = float(share @ target**2) or 1.0
        shares = np.empty(len(self.places) - 1)
        for number, (start, end) in enumerate(zip(self.places, self.places[1:], strict=False)):
            own = slice(start, end)
            gains[own] -= share @ self.design[:, own] @ gains[own]
            shares[number] = share @ ((self.design[:, own] @ gains[own]) * target) / variance
        return gains, shares


def _without(y: Matrix, cause: Matrix) -> Matrix:
    """Take out of ``y`` what a straight line through a ``cause`` explains of it."""
    centred = cause - cause.mean()
    if not (variance := centred @ centred):
        return y
    return y - centred * (centred @ y) / variance


def _strength(centred: Matrix, target: Matrix) -> tuple[float, float]:
    """Choose the ridge that predicts networks best when each is left out, and give the variance it then explains."""
    left, singular, _ = np.linalg.svd(centred, full_matrices=False)
    projected = left.T @ target
    errors = []
    for strength in _STRENGTHS:
        kept = singular**2 / (singular**2 + strength)
        leverage = 1 / len(target) + (left**2) @ kept  # of the mean, too
        errors.append(float((((target - left @ (kept * projected)) / (1 - leverage)) ** 2).mean()))
    best = int(np.argmin(errors))
    return float(_STRENGTHS[best]), 1 - errors[best] / float(target.var())
