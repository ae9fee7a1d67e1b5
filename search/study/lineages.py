"""`Lineages`: from which trained weights a run's trainings begin, and where these are."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from itertools import takewhile

import numpy as np
from torch import Tensor

from boostformer.architecture import Architecture
from boostformer.start import Trained
from evaluators.proxy import Beginning
from results.pareto import front, minimised
from results.trial import START, Parent, Trial, TrialKey
from search.config.opening import OpenExperiment
from search.config.problem import Key
from search.strategies.base import BEST
from search.strategies.history import ParentKey, nearest
from search.strategies.ranking import best_first
from search.study.state import State
from search.study.weights import Weights
from search_space.nearness import distances, nearest_genes


@dataclass(frozen=True)
class Lineages:
    """The parents of a run's trainings. Without inheritance every training begins from random weights.

    Attributes:
        weights: the stored ones.
        opened: the experiment.
        state: of the run.
        say: is told a line for people when the weights are gone that a training began from before.
        lost: digests of those that this worker could not read, whether they are there or not.
    """

    weights: Weights
    opened: OpenExperiment
    state: State
    say: Callable[[str], None]
    lost: set[str] = field(default_factory=set)

    def stored(self, parent: ParentKey) -> Parent | None:
        """Give the reference to the trained weights of a network of the history, or of the start."""
        start = self.opened.experiment.start
        if isinstance(parent, str):
            return None if start is None else Parent(START, start.weights, 0)
        found = None if parent is None else self.state.first(self.opened.problem.space.decode(parent).id)
        if found is None or found.weights is None:
            return None
        return Parent(found.id, found.weights, found.behind)

    def again(self, key: TrialKey, *, needed: bool) -> Parent | None:
        """Give what a training of a known network begins from: what an earlier one did, if these weights are there.

        Else it is what its first training would have begun from without them: longer trainings and further seeds are
        compared with others, so none begins from the network itself or what descends from it. ``needed`` is False for
        a training that goes on from its own state, or is scored.
        """
        state = self.state
        parent = state.parent_of(key)
        if parent is None or not needed or parent.id == START or parent.weights in state.stored:
            return parent
        found = self.like(state.architectures[key.arch_id])
        instead = "from scratch" if found is None else f"from {found.id}"
        self.say(f"the weights of {parent.id} are gone: {key.arch_id} begins {instead}")
        return found

    def like(self, arch: Architecture) -> Parent | None:
        """Give the trained network most like ``arch`` of those begun before it; None where there is none."""
        opened = self.opened
        if not opened.experiment.inherit:
            return None
        own = opened.problem.key(arch)
        earlier = list(takewhile(lambda known: known.genes != own, self.state.history))
        return self.closest(arch, self.stored(nearest(opened.problem.genes, own, earlier, opened.start_key)))

    def closest(self, arch: Architecture, chosen: Parent | None) -> Parent | None:
        """Give ``chosen``, or the network of another run that is more like ``arch`` and whose weights are there."""
        state, space = self.state, self.opened.experiment.space
        others = [found for digest, found in state.ancestors.items() if digest in state.stored]
        if not self.opened.experiment.inherit or not others:
            return chosen
        listed = [nearest_genes(space, found.network) for found in others]
        if chosen is not None:
            own, start = self._ancestor(chosen), self.opened.experiment.start
            if own is None and start is not None:
                own = Architecture.from_dict(start.architecture, start.place)
            assert own is not None
            listed.insert(0, nearest_genes(space, own))  # of several as near it is taken
        rows = np.array(listed, dtype=np.int16).reshape(len(listed), -1)
        best = int(distances(space.genes, space.encode([arch]), rows)[0].argmin()) - (chosen is not None)
        if best < 0:
            return chosen
        return Parent(others[best].id, others[best].weights, others[best].behind)

    def _ancestor(self, parent: Parent) -> Architecture | None:
        """Give the network that a training begins from; None for the search's start."""
        if parent.id == START:
            return None
        other = self.state.ancestors.get(parent.weights)
        return self.state.architectures[parent.id] if other is None else other.network

    def look(self) -> None:
        """Tell the state which weights are there."""
        if self.opened.experiment.inherit:
            self.state.see(self.weights.digests() - self.lost)

    def prune(self, parents: Collection[Key] | None = None) -> None:
        """Remove the weights of networks that are neither on the front nor can be a parent.

        Those stay that a training which has not ended may need, and those that a worker has stored and not told of. To
        be called in turn.

        Args:
            parents: the networks that can; by default all, so that only longer trainings and further seeds, which none
                begins from, lose theirs.
        """
        state = self.state
        if not self.opened.experiment.inherit:
            return
        best = front(state.finished, self.opened.experiment.objectives)
        kept = state.in_use | {trial.weights for trial in best}
        kept |= {trial.parent.weights for trial in self._repeated(best) if trial.parent is not None}
        if parents is None:
            kept |= {score.weights for key, score in state.scores.items() if state.scheduler.is_first(key)}
        else:
            kept |= {found.weights for key in parents if (found := self.stored(key)) is not None}
        known = {score.weights for score in state.scores.values()}
        for digest in state.stored & (known - kept):
            self.weights.remove(digest)

    def _repeated(self, best: list[Trial]) -> list[Trial]:
        """List the trainings that may be repeated with further seeds, which begin where these did.

        They are those of the front, ``best``, and of the networks that may yet be on it: those that will be promoted,
        and a few, since means over seeds move others up.
        """
        state, objectives = self.state, self.opened.experiment.objectives
        if self.opened.experiment.search.final_seeds == 1:
            return []
        first = [trial for trial in state.finished if state.scheduler.is_first(trial.key)]
        values = minimised(first, objectives)
        comparable = np.flatnonzero(np.isfinite(values).all(axis=1))
        count = max([BEST, *state.scheduler.most_trainings()[1:2]])
        return best + [first[i] for i in comparable[best_first(values[comparable], count)]]

    def prune_orphans(self) -> None:
        """Remove the weights of workers that died before they told of them, once all trainings are concluded."""
        known = {score.weights for score in self.state.scores.values()} | self.state.ancestors.keys()
        for digest in self.weights.digests() - known if self.opened.experiment.inherit else ():
            self.weights.remove(digest)

    def beginning(self, trial: Trial) -> Beginning | None:
        """Open what a claimed training begins from; None for random weights."""
        parent = trial.parent
        if parent is None:
            return None
        if parent.id == START:
            start = self.opened.start
            assert start is not None
            return Beginning(START, start.digest, lambda: start)
        arch, other = self._ancestor(parent), self.state.ancestors.get(parent.weights)
        assert arch is not None
        labels = list(self.opened.experiment.labels if other is None else other.labels)

        def read() -> Trained:
            return Trained(parent.id, parent.weights, self.weights.read(parent.weights), labels, arch)

        return Beginning(parent.id, parent.weights, read)

    def keep(self, weights: Mapping[str, Tensor] | None) -> str | None:
        """Store trained weights, if networks inherit, before their score is told; give their digest."""
        return self.weights.keep(weights) if self.opened.experiment.inherit and weights is not None else None
