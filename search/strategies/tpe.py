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
        slowest = max((o.latency_ms for o in history if o.latency_ms is not None), default=1.0)
        study.add_trials([self._mirror(observation, slowest) for observation in history])
        known = {observation.architecture.id: observation for observation in history}
        while True:
            trial = study.ask()
            genotype: dict[str, Scalar] = {}
            for choice in space.choices:
                if choice.active(genotype):
                    trial.suggest_categorical(choice.name, choice.values)
                    genotype[choice.name] = trial.params[choice.name]
            arch = space.architecture(genotype)
            yield arch
            seen = known.get(arch.id, Observation(arch, "failed"))
            for name, violation in self.problem.violations(arch, seen.latency_ms).items():
                trial.set_constraint(name, violation)
            study.tell(trial, self._values(seen, slowest))

    def _values(self, observation: Observation, slowest: float) -> list[float]:
        """What is not known of a network is told as bad as it may be: no mIoU, and the ``slowest`` latency."""
        found = self.problem.values(observation.architecture, observation.miou or 0.0, observation.latency_ms)
        return np.nan_to_num(found, nan=slowest).tolist()

    def _mirror(self, observation: Observation, slowest: float) -> FrozenTrial:
        """The trial of an architecture. Its costs are known in any state; a failed one scores nothing."""
        arch = observation.architecture
        params, distributions = parameters(self.problem.space, arch)
        running = observation.state == "running"
        return create_trial(
            state=TrialState.RUNNING if running else TrialState.COMPLETE,
            values=None if running else self._values(observation, slowest),
            params=params,
            distributions=distributions,
            constraints=self.problem.violations(arch, observation.latency_ms),
        )
