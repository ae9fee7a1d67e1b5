"""`Lineages`: from which trained weights a run's trainings begin, and where these are."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

from torch import Tensor

from boostformer.architecture import Architecture
from boostformer.start import Trained
from evaluators.proxy import Beginning
from results.pareto import front
from results.trial import START, Parent, Trial, TrialKey
from search.config.opening import OpenExperiment
from search.config.problem import Key
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

        Else it is the network most like it, which is itself where it was trained before. ``needed`` is False for a
        training that goes on from its own state, or is scored.
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
        """Give the trained network that is most like ``arch``, if networks inherit and there is one."""
        opened = self.opened
        if not opened.experiment.inherit:
            return None
        own = opened.problem.key(arch)
        return self.stored(nearest(opened.problem.genes, own, self.state.history, opened.start_key))

    def look(self) -> None:
        """Tell the state which weights are there."""
        if self.opened.experiment.inherit:
            self.state.see(self.weights.digests() - self.lost)

    def prune(self, parents: Collection[Key]) -> None:
        """Remove the weights of networks that are neither on the front nor can be a parent.

        Those that a worker has just stored are not told of yet, and stay. To be called in turn.

        Args:
            parents: the networks that can.
        """
        experiment, state = self.opened.experiment, self.state
        best = front(state.finished, experiment.objectives)
        kept = state.in_use | {trial.weights for trial in best}
        if experiment.search.final_seeds > 1:  # these begin where the first did
            kept |= {trial.parent.weights for trial in best if trial.parent is not None}
        kept |= {found.weights for key in parents if (found := self.stored(key)) is not None}
        known = {score.weights for score in state.scores.values()}
        for digest in state.stored & (known - kept):
            self.weights.remove(digest)

    def prune_orphans(self) -> None:
        """Remove the weights of workers that died before they told of them, once all trainings are concluded."""
        known = {score.weights for score in self.state.scores.values()}
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
        arch, labels = self.state.architectures[parent.id], list(self.opened.experiment.labels)

        def read() -> Trained:
            return Trained(parent.id, parent.weights, self.weights.read(parent.weights), labels, arch)

        return Beginning(parent.id, parent.weights, read)

    def keep(self, weights: Mapping[str, Tensor] | None) -> str | None:
        """Store trained weights, if networks inherit, before their score is told; give their digest."""
        return self.weights.keep(weights) if self.opened.experiment.inherit and weights is not None else None
