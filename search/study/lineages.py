"""`Lineages`: from which trained weights a run's trainings begin, and where these are."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor

from boostformer.architecture import Architecture
from boostformer.start import Trained
from evaluators.proxy import Beginning
from results.trial import START, Parent, Trial, TrialKey
from search.config.opening import OpenExperiment
from search.strategies.base import ParentKey, nearest
from search.study.state import State
from search.study.weights import Weights


@dataclass(frozen=True)
class Lineages:
    """The parents of a run's trainings. Without inheritance every training begins from random weights.

    Attributes:
        weights: the stored ones.
        opened: the experiment.
        state: of the run.
        say: is told a line for people when weights are lost.
    """

    weights: Weights
    opened: OpenExperiment
    state: State
    say: Callable[[str], None]

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

        Else it is the network most like it, which is itself where it was trained before. ``needed`` is False for a
        training that goes on from its own state, or is scored.
        """
        state, opened = self.state, self.opened
        parent = state.parent_of(key)
        while needed and parent is not None and not self.has(parent):
            arch = state.architectures[key.arch_id]
            self.lose(parent, arch)
            own = opened.problem.key(arch)
            parent = self.stored(nearest(opened.problem.genes, own, state.history, opened.start_key))
        return parent

    def has(self, parent: Parent) -> bool:
        """Tell whether a parent's weights are there."""
        return parent.id == START or parent.weights in self.weights

    def lose(self, parent: Parent, child: Architecture) -> None:
        """Note that a parent's weights are gone, and say so."""
        self.state.lose(parent.weights)
        self.say(f"the weights of {parent.id} are gone: {child.id} begins from the next best network")

    def beginning(self, trial: Trial) -> Beginning | None:
        """Open what a claimed training begins from; None for random weights."""
        parent = trial.parent
        if parent is None:
            return None
        if parent.id == START:
            start = self.opened.start
            assert start is not None
            return Beginning(START, start.digest, lambda: start)
        arch, labels = self.state.architectures[parent.id], list(self.opened.experiment.labels)

        def read() -> Trained:
            return Trained(parent.id, parent.weights, self.weights.read(parent.weights), labels, arch)

        return Beginning(parent.id, parent.weights, read)

    def keep(self, weights: Mapping[str, Tensor] | None) -> str | None:
        """Store trained weights, if networks inherit, before their score is told; give their digest."""
        return self.weights.keep(weights) if self.opened.experiment.inherit and weights is not None else None
