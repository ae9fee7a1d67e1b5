"""`Claim`: a trial that a worker has claimed, and the making of a trial that begins."""

from __future__ import annotations

from dataclasses import dataclass

from boostformer.architecture import Architecture
from boostformer.figures import Latency
from results.trial import COUNTED, Parent, Status, Trial, TrialKey
from search.config.problem import Problem
from search.study.state import Standing

DEATHS = 3
"""Number of workers in a row that die at a training without getting further before it counts as failed: it may well be
what kills them, by taking all the memory."""
KILLER = f"its worker was killed {DEATHS} times in a row"


@dataclass(frozen=True)
class Claim:
    """A trial that this worker has claimed.

    Attributes:
        trial_id: Optuna's number of it in the storage.
        architecture: the network.
        trial: as it stands.
        standing: how far the run was when it was claimed.
        patient: whether nothing else is left to do than to wait for its device.
        deaths: how many workers in a row died at this training without getting further.
    """

    trial_id: int
    architecture: Architecture
    trial: Trial
    standing: Standing
    patient: bool = False
    deaths: int = 0

    @property
    def key(self) -> TrialKey:
        return self.trial.key

    @property
    def is_deadly(self) -> bool:
        return self.deaths >= DEATHS


def new_trial(
    key: TrialKey,
    iterations: int,
    arch: Architecture,
    problem: Problem,
    measured: Latency | None = None,
    parent: Parent | None = None,
) -> Trial:
    """Make a trial that begins.

    Args:
        key: which training it is.
        iterations: its length.
        arch: the network.
        problem: counts its costs, and predicts its latency where it can.
        measured: its latency where that was measured before.
        parent: what it begins from, if not random weights.
    """
    cost = problem.table.cost(arch)
    latency = problem.latency.latency(arch) if problem.latency is not None else measured
    return Trial(
        number=-1,
        key=key,
        status=Status.RUNNING,
        architecture=arch.to_dict(),
        **{name: getattr(cost, name) for name in COUNTED},
        feasible=problem.affords(arch, None if latency is None else latency.ms),
        iterations=iterations,
        latency=latency,
        parent=parent,
        activations=problem.activations(arch),
    )
