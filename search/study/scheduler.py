"""MO-ASHA: try another network, train a good one for longer, repeat a finalist with another seed, wait, or stop.

Of the networks trained up to a rung, the best share goes on to the next rung, ranked by the whole non-dominated order;
no network waits for a rung to fill. Unlike in the paper, new networks come before promotions: the number of both is
fixed, and a promotion given early goes to the best of only a few. Strategies learn from the first rung alone, so they
lose nothing by it.
Source: Schmucker et al., "Multi-objective asynchronous successive halving", 2021.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from results.trial import Status, Trial, TrialKey, minimised_values
from search.config.experiment import Experiment
from search.strategies.ranking import best_first, front_of


@dataclass(frozen=True, slots=True)
class Propose:
    """Begin another network, as the strategy says, with ``seed``."""

    seed: int


@dataclass(frozen=True, slots=True)
class Train:
    """Train a network that is known."""

    key: TrialKey


@dataclass(frozen=True, slots=True)
class Wait:
    """Wait for trials that others are running: what comes next depends on them."""


@dataclass(frozen=True, slots=True)
class Done:
    """Nothing is left to do."""


Step = Propose | Train | Wait | Done


@dataclass(frozen=True)
class Scheduler:
    """Chooser of the next training, from all trials of a run; it has no state of its own.

    Attributes:
        target: how many networks are begun, beside the known ones.
        seed: of all trainings but a finalist's further ones.
        rungs: iterations of a training on each rung, ascending.
        reduction_factor: one in so many networks of a rung is promoted.
        final_seeds: number of seeds for each network on the front, which is that of the highest rung any network
            reached.
        objectives: names.
        known: ids of the networks whose first trainings came from another run.
    """

    target: int
    seed: int
    rungs: tuple[int, ...]
    reduction_factor: int
    final_seeds: int
    objectives: tuple[str, ...]
    known: frozenset[str] = frozenset()

    @classmethod
    def of(cls, experiment: Experiment, target: int, known: Collection[str] = ()) -> Scheduler:
        """Make the scheduler of a run that tries ``target`` networks beside those with the ids ``known``."""
        search, proxy = experiment.search, experiment.proxy
        return cls(
            target,
            proxy.seed,
            proxy.rungs,
            search.reduction_factor,
            search.final_seeds,
            experiment.objectives,
            frozenset(known),
        )

    @property
    def seeds(self) -> range:
        """All seeds that a training of the run may have."""
        return range(self.seed, self.seed + self.final_seeds)

    def iterations(self, key: TrialKey) -> int:
        """Return how many iterations a training takes: above the first rung it continues, except with further seeds."""
        carried_on = key.rung > 0 and key.seed == self.seed
        return self.rungs[key.rung] - (self.rungs[key.rung - 1] if carried_on else 0)

    def is_first(self, key: TrialKey) -> bool:
        """Tell whether this is the training that every network begins with."""
        return (key.rung, key.seed) == (0, self.seed)

    def is_new(self, key: TrialKey) -> bool:
        """Tell whether this training counts towards the target: the first of a network that was not known."""
        return self.is_first(key) and key.arch_id not in self.known

    def next_step(self, trials: Iterable[Trial]) -> Step:
        """Choose the most useful thing to do.

        ``trials`` holds one trial for each training that was begun, except interrupted ones, which are repeated before
        anything else. A trial that waits for its device counts as running.
        """
        rungs: list[dict[str, Trial]] = [{} for _ in self.rungs]
        by_seed: list[dict[str, dict[int, Trial]]] = [defaultdict(dict) for _ in self.rungs]
        running = [False, False]  # whether any is; whether one is on which promotions depend
        for trial in trials:
            key, active = trial.key, trial.status in (Status.RUNNING, Status.WAITING)
            running[0] |= active
            if key.seed == self.seed:
                running[1] |= active
                rungs[key.rung][key.arch_id] = trial
            by_seed[key.rung][key.arch_id][key.seed] = trial
        if len(rungs[0].keys() - self.known) < self.target:
            return Propose(self.seed)
        for rung in range(len(self.rungs) - 1):
            if (chosen := self._promoted(rungs[rung], rungs[rung + 1])) is not None:
                return Train(TrialKey(chosen, rung + 1, self.seed))
        if not running[1]:
            top = max((rung for rung, found in enumerate(rungs) if self._values(found)), default=0)
            for arch_id in self._front(by_seed[top]):
                for seed in self.seeds[1:]:
                    if seed not in by_seed[top][arch_id]:
                        return Train(TrialKey(arch_id, top, seed))
        return Wait() if running[0] else Done()

    def most_trainings(self) -> list[int]:
        """Estimate how many trainings each rung will have, without further seeds, to announce what a run costs."""
        counts = [self.target + len(self.known)]
        while len(counts) < len(self.rungs):
            counts.append(counts[-1] // self.reduction_factor)
        return counts

    def _promoted(self, rung: Mapping[str, Trial], above: Mapping[str, Trial]) -> str | None:
        values = self._values(rung)
        if len(above) >= len(values) // self.reduction_factor:
            return None
        # The best may change while others end; a promoted network stays so, and no more are promoted than announced.
        ids = list(values)
        order = best_first(np.array(list(values.values()), dtype=np.float64), len(above) + 1)
        return next(ids[i] for i in order if ids[i] not in above)

    def _front(self, top: Mapping[str, Mapping[int, Trial]]) -> list[str]:
        """List the front by the means over the seeds so far: others may join when a lucky network falls."""
        means: dict[str, NDArray[np.float64]] = {}
        for arch_id, seeds in top.items():
            if known := self._values(seeds):
                means[arch_id] = np.array(list(known.values()), dtype=np.float64).mean(axis=0)
        ids = list(means)
        return [ids[i] for i in front_of(np.array([means[arch_id] for arch_id in ids]))] if ids else []

    def _values(self, trials: Mapping[Any, Trial]) -> dict[Any, tuple[float, ...]]:
        """Return the objectives, all minimised, of the finished trials within budget that have all of them."""
        finished = {key: trial for key, trial in trials.items() if trial.is_finished and trial.feasible}
        found = {key: minimised_values(trial, self.objectives) for key, trial in finished.items()}
        return {key: values for key, values in found.items() if np.isfinite(values).all()}
