"""The score of a race: the true hypervolume of the networks that a contestant would select by what it has seen."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from moocore import is_nondominated
from numpy.typing import NDArray
from pymoo.indicators.hv import HV

from racing.landscape import Floats, Landscape
from search_space.genes import Genes

STEP = 5
"""Evaluations between two points of an anytime curve."""


def hypervolume(points: Floats) -> float:
    """Of points (P, objectives), minimised and scaled: the volume they dominate within the unit cube."""
    return float(HV(ref_point=np.ones(points.shape[1]))(points))


def selected(seen: Floats) -> NDArray[np.bool_]:
    """(P, objectives), minimised -> (P,): what is not dominated, by the values seen."""
    return np.asarray(is_nondominated(seen, keep_weakly=True))


def curve(landscape: Landscape, genes: Genes, seed: int, checkpoints: Sequence[int]) -> list[float]:
    """The hypervolume after so many evaluations each, of networks (P, G) in the order they were trained."""
    costs = landscape.costs(genes)
    seen = landscape.minimised(landscape.see(genes, seed), costs)
    true = landscape.minimised(landscape.true(genes), costs)
    return [hypervolume(true[:n][selected(seen[:n])]) for n in checkpoints]


def checkpoints(evaluations: int) -> list[int]:
    """After how many evaluations a curve has its points."""
    return list(range(2 * STEP, evaluations + 1, STEP))
