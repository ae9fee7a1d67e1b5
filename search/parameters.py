"""Networks as Optuna parameters: one categorical parameter for each active choice of the space."""

from __future__ import annotations

from collections.abc import Sequence

from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.study import StudyDirection

from boostformer.architecture import Architecture, Scalar
from search_space import SearchSpace


def parameters(space: SearchSpace, arch: Architecture) -> tuple[dict[str, Scalar], dict[str, BaseDistribution]]:
    """The values of the active choices, and what these choose from, both by the choice's name."""
    genotype = space.genotype(arch)
    values = {choice.name: choice.values for choice in space.choices}
    return genotype, {name: CategoricalDistribution(values[name]) for name in genotype}


def directions(objectives: Sequence[str]) -> list[StudyDirection]:
    """The mIoU is maximised, every cost minimised."""
    return [StudyDirection.MAXIMIZE if name == "miou" else StudyDirection.MINIMIZE for name in objectives]
