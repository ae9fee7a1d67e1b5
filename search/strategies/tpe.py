"""Optuna's tree-structured Parzen estimator (multivariate, by groups of choices that are active together).

Source: Bergstra et al. 2011; Ozaki et al. 2022 for several objectives.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence

import numpy as np
import optuna
from optuna.trial import FrozenTrial, TrialState, create_trial

from boostformer.architecture import Architecture, Scalar
from search.parameters import directions, parameters
from search.problem import Observation
from search.strategies.base import Strategy


class TPE(Strategy):
    """Asks Optuna's sampler about a study in memory that mirrors the history.

    Refused guesses are told only to that study, where they steer the next: as infeasible when over
    budget, otherwise with the value that is known. (Told as failed, they would be guessed for ever.)
    """

    def guesses(self, history: Sequence[Observation], rng: np.random.Generator) -> Iterator[Architecture]:
        space = self.problem.space
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            sampler = optuna.samplers.TPESampler(
                seed=int(rng.integers(2**31)),
                n_startup_trials=1,
                multivariate=True,
                group=True,
                constant_liar=True,
            )
        study = optuna.create_study(directions=directions(self.problem.objectives), sampler=sampler)
        study.add_trials([self._mirror(observation) for observation in history])
        known = {observation.architecture.id: _miou(observation) for observation in history}
        while True:
            trial = study.ask()
            genotype: dict[str, Scalar] = {}
            for choice in space.choices:
                if choice.active(genotype):
                    trial.suggest_categorical(choice.name, choice.values)
                    genotype[choice.name] = trial.params[choice.name]
            arch = space.architecture(genotype)
            yield arch
            for name, violation in self.problem.violations(arch).items():
                trial.set_constraint(name, violation)
            study.tell(trial, self.problem.values(arch, known.get(arch.id, 0.0)))

    def _mirror(self, observation: Observation) -> FrozenTrial:
        """The trial of an architecture. Its costs are known in any state; a failed one scores nothing."""
        arch = observation.architecture
        params, distributions = parameters(self.problem.space, arch)
        running = observation.state == "running"
        return create_trial(
            state=TrialState.RUNNING if running else TrialState.COMPLETE,
            values=None if running else self.problem.values(arch, _miou(observation)),
            params=params,
            distributions=distributions,
        )


def _miou(observation: Observation) -> float:
    return 0.0 if observation.miou is None else observation.miou
