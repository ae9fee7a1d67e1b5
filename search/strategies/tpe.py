"""Optuna's tree-structured Parzen estimator (multivariate, by groups of choices that are active together).

Source: Bergstra et al. 2011; Ozaki et al. 2022 for several objectives.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from results.trial import OBJECTIVES, Status
from search.strategies.base import Inheritance, Strategy
from search.strategies.history import Candidates, Key, Observation
from search_space.encoding import INACTIVE

optuna.logging.set_verbosity(optuna.logging.WARNING)


class _Past(FrozenTrial):
    """A trial of the history. Nothing changes what it says, so copies share it: Optuna copies all for each proposal."""

    def __deepcopy__(self, memo: dict[int, Any]) -> FrozenTrial:
        return copy.copy(self)


class TPE(Strategy):
    """Asks Optuna's sampler about a study in memory that mirrors the history.

    Refused guesses are told to that study alone, where they steer the next: as infeasible when over budget, otherwise
    with the value that is known. (Told as failed, they would be guessed for ever.)
    """

    def __init__(self, candidates: Candidates, seed: int, inheritance: Inheritance | None = None) -> None:
        super().__init__(candidates, seed, inheritance)
        self._distributions = [CategoricalDistribution(tuple(range(size))) for size in candidates.genes.sizes]
        self._slowest = 1.0
        self._mirrors: dict[tuple[Observation, tuple[float, ...]], FrozenTrial] = {}

    def guesses(self, rng: np.random.Generator) -> Iterator[Key]:
        space, names = self.candidates.genes, [choice.name for choice in self.candidates.genes.choices]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            sampler = optuna.samplers.TPESampler(
                seed=int(rng.integers(2**31)),
                n_startup_trials=1,
                multivariate=True,
                group=True,
                constant_liar=True,
            )
        measured = [o.latency_ms for o in self.history.observations if o.latency_ms is not None]
        self._slowest = max(measured, default=1.0)
        directions = [OBJECTIVES[name].direction for name in self.candidates.objectives]
        study = optuna.create_study(directions=directions, sampler=sampler)
        self._mirror(study)
        while True:
            trial = study.ask()
            found: list[int] = []
            for column, parent in enumerate(space.parents):
                active = parent is None or found[parent[0]] == parent[1]
                values = self._distributions[column].choices
                found.append(int(trial.suggest_categorical(names[column], values)) if active else INACTIVE)  # type: ignore[arg-type]
            key = tuple(found)
            yield key
            place = self.history.known.get(key)
            rows = np.array([key], dtype=np.int16)
            seen = Observation(key, Status.FAILED) if place is None else self.history.observations[place]
            costs = self.candidates.costs(rows)[0] if place is None else self.history.costs[place]
            trial.set_constraint("excess", float(self.candidates.excess(rows)[0]))
            study.tell(trial, self._values(seen, costs))

    def _values(self, observation: Observation, costs: np.ndarray) -> list[float]:
        """Give the objectives' values, the worst for what is not known: an mIoU of 0, and the slowest latency."""
        known = iter(np.where(np.isnan(costs), self._slowest, costs).tolist())
        return [(observation.miou or 0.0) if name == "miou" else next(known) for name in self.candidates.objectives]

    def _mirror(self, study: optuna.Study) -> None:
        """Add the trials of the history. Costs are known in any state; a failed trial scores 0."""
        names = [choice.name for choice in self.candidates.genes.choices]
        kinds: dict[str, BaseDistribution] = dict(zip(names, self._distributions, strict=True))
        history = self.history
        wanted = [
            (o, tuple(self._values(o, costs))) for o, costs in zip(history.observations, history.costs, strict=True)
        ]
        new = [i for i, mirrored in enumerate(wanted) if mirrored not in self._mirrors]
        excess = self.candidates.excess(history.genes[new]) if new else ()
        for i, over in zip(new, excess, strict=True):
            observation, values = wanted[i]
            active = {name: gene for name, gene in zip(names, observation.genes, strict=True) if gene != INACTIVE}
            running = observation.status is Status.RUNNING
            past = create_trial(
                state=TrialState.RUNNING if running else TrialState.COMPLETE,
                values=None if running else values,
                params=active,
                distributions={name: kinds[name] for name in active},
                constraints={"excess": float(over)},
            )
            past.__class__ = _Past
            self._mirrors[wanted[i]] = past
        study.add_trials([self._mirrors[mirrored] for mirrored in wanted])
