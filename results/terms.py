"""What Optuna's own tools are told of a run: parameters, constraints and intermediate values of its trials.

It is for `optuna-dashboard`, `optuna.importance` and `optuna.visualization`. Nothing here is read back: what a trial
is, its attributes say (:mod:`results.schema`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from boostformer.architecture import Architecture, Scalar
from results.trial import Trial, TrialKey

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution


@dataclass(frozen=True)
class Terms:
    """A run in Optuna's terms.

    Attributes:
        choices: the values that each choice of the run's space allows, by its name as in ``Architecture.fields``.
        budgets: limits by name.
    """

    choices: Mapping[str, Sequence[Scalar]] = field(default_factory=dict)
    budgets: Mapping[str, float] = field(default_factory=dict)

    def params(self, trial: Trial) -> tuple[dict[str, Any], dict[str, BaseDistribution]]:
        """Give what the trial's network has in those choices that it makes, and of which distributions.

        A choice that another block would make, such as the number of heads of a mixer that has none, is left out.
        """
        from optuna.distributions import CategoricalDistribution

        if not self.choices:
            return {}, {}
        fields = Architecture.from_dict(trial.architecture).fields()
        params = {name: fields[name] for name in self.choices if name in fields}
        return params, {name: CategoricalDistribution(list(self.choices[name])) for name in params}

    def constraints(self, trial: Trial) -> dict[str, float]:
        """Give by what share of a budget each known cost is above it; below it, the share is negative."""
        known = {name: getattr(trial, name) for name in self.budgets}
        return {name: value / self.budgets[name] - 1 for name, value in known.items() if value is not None}

    def intermediate_values(self, trial: Trial) -> dict[int, float]:
        """Give the mIoU by the iterations behind it, once it is known."""
        return {} if trial.miou is None or trial.iterations is None else {trial.iterations: trial.miou}


def earlier_scores(key: TrialKey, ended: Mapping[TrialKey, Trial]) -> dict[int, float]:
    """Give the mIoU of a network's trainings with this seed on lower rungs, of those ``ended``, by their iterations."""
    below = [ended[own] for rung in range(key.rung) if (own := replace(key, rung=rung)) in ended]
    return {trial.iterations: trial.miou for trial in below if trial.iterations and trial.miou is not None}
