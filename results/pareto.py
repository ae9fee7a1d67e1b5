"""The Pareto front of a run: dominance, ranks, crowding distance, and picking one network.

Functions on arrays take ``values`` of shape (points, objectives), all minimised and without NaN.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from boostformer.errors import UserError
from results.fidelity import standing
from results.trial import MIOU, Status, Trial, minimised_values
from results.where import read_where

Values = npt.NDArray[np.float64]

PICKS = ("knee", "best-miou", "smallest", "fastest")


def minimised(trials: Sequence[Trial], objectives: Sequence[str]) -> Values:
    """Return the objectives' values, shape (trials, objectives), with signs turned so that less is better.

    An unknown value is NaN. Raises :class:`UserError` for an unknown objective.
    """
    rows = [minimised_values(trial, objectives) for trial in trials]
    return np.array(rows, dtype=np.float64).reshape(len(trials), len(objectives))


def front(
    trials: Sequence[Trial], objectives: Sequence[str], where: Callable[[Trial], bool] | None = None
) -> list[Trial]:
    """Return the feasible, finished, non-dominated networks, one trial each, sorted by params.

    A trial with an objective missing or NaN cannot be compared and is never on the front. Where trainings differ in
    length the longest are compared, and with several seeds their means: see :func:`results.fidelity.standing`. mIoU is
    maximised, all else minimised.

    With ``where`` it is the front of the networks that satisfy it.
    """
    networks = standing(comparable(trials, objectives))
    networks = [network for network in networks if where is None or where(network)]
    best = non_dominated(networks, objectives)
    chosen = [trial for trial, is_best in zip(networks, best, strict=True) if is_best]
    return sorted(chosen, key=lambda trial: (trial.params, trial.number))


def comparable(trials: Sequence[Trial], objectives: Sequence[str]) -> list[Trial]:
    """Return the feasible, finished trials that have all objectives."""
    candidates = [trial for trial in trials if trial.is_finished and trial.feasible]
    values = minimised(candidates, objectives)
    return [trial for trial, own in zip(candidates, values, strict=True) if np.isfinite(own).all()]


def non_dominated(networks: Sequence[Trial], objectives: Sequence[str]) -> list[bool]:
    """Tell of each network, a trial with all objectives, whether no other dominates it."""
    return [bool(rank == 0) for rank in non_dominated_rank(minimised(networks, objectives))]


def non_dominated_rank(values: Values) -> npt.NDArray[np.int64]:
    """Rank points (points,): 0 for the non-dominated, 1 for those that are once rank 0 is taken away, and so on.

    A point dominates another when it is nowhere worse and somewhere better; equal points share a rank.
    Source: Deb et al., "A fast and elitist multiobjective genetic algorithm: NSGA-II", 2002.
    """
    values = _checked(values)
    count = len(values)
    no_worse = np.ones((count, count), dtype=bool)
    better = np.zeros((count, count), dtype=bool)
    for column in values.T:
        no_worse &= column[:, None] <= column[None, :]
        better |= column[:, None] < column[None, :]
    dominates = no_worse & better
    dominators = dominates.sum(axis=0)
    ranks = np.full(count, -1, dtype=np.int64)
    rank = 0
    while (ranks < 0).any():
        layer = (dominators == 0) & (ranks < 0)
        ranks[layer] = rank
        dominators = dominators - dominates[layer].sum(axis=0)
        rank += 1
    return ranks


def crowding_distance(values: Values) -> Values:
    """Compute the crowding distance (points,) of each point of one front; infinite at the ends of every objective.

    It sums over objectives the gap between a point's two neighbours, as a share of the objective's range.
    Source: Deb et al., NSGA-II, 2002.
    """
    values = _checked(values)
    distance = np.zeros(len(values))
    for column in values.T:
        order = np.argsort(column, kind="stable")
        ordered = column[order]
        distance[order[:1]] = distance[order[-1:]] = np.inf
        if len(ordered) > 2 and ordered[-1] > ordered[0]:
            distance[order[1:-1]] += (ordered[2:] - ordered[:-2]) / (ordered[-1] - ordered[0])
    return distance


def pick(trials: Sequence[Trial], objectives: Sequence[str], how: str | int, where: str | None = None) -> Trial:
    """Pick one finished trial: off the front by a rule (``PICKS``), or any finished trial by its number or id.

    "knee": see :func:`knee`; "best-miou": highest mIoU; "smallest": fewest params; "fastest": least
    ``latency_ms``. Ties go to the higher mIoU, then fewer params, then the earlier trial.

    A rule may be held to the networks that satisfy ``where`` (:mod:`results.where`).

    Raises :class:`UserError` for an unknown rule, trial or id, an empty front, or "fastest"
    without latencies.
    """
    if str(how) not in PICKS:
        if where is not None:
            raise UserError(f"--where: chooses by a rule: {', '.join(PICKS)}; '{how}' names one network")
        return _finished(trials, str(how))
    members = front(trials, objectives)
    if not members:
        raise UserError(f"cannot pick '{how}': no finished trial fits the budgets ({_statuses(trials)})")
    if where is not None and not (members := front(trials, objectives, read_where(where, trials))):
        raise UserError(f"cannot pick '{how}': no network of the run satisfies --where '{where}'")
    if how == "knee":
        return knee(members, objectives)
    if how == "best-miou":
        return min(members, key=_preference)
    if how == "smallest":
        return min(members, key=lambda trial: (trial.params, *_preference(trial)))
    timed = [trial for trial in members if trial.latency_ms is not None]
    if not timed:
        raise UserError("cannot pick 'fastest': no latency_ms in this run; allowed: knee, best-miou, smallest")
    return min(timed, key=lambda trial: (trial.latency_ms, *_preference(trial)))


def knee(members: Sequence[Trial], objectives: Sequence[str]) -> Trial:
    """Find the member of a front that lies deepest beneath the line between the front's two ends.

    Each objective is scaled to 0 (best on the front) … 1 (worst on it). The line joins the end of best mIoU
    and highest cost to the end of worst mIoU and lowest cost. With several costs it is the hyperplane
    ``loss + mean(costs) = 1`` through both ends, so that correlated costs (params, macs) together weigh as
    much as the mIoU. The knee is the point at the largest distance from it towards the ideal. Ties, as on a
    front of one or two points, go to the higher mIoU, then fewer params, then the earlier trial.

    Source: Das, "On characterizing the 'knee' of the Pareto curve based on normal-boundary intersection",
    1999 (largest distance to the line of the individual optima); the equal sharing among the costs is ours.
    """
    values = minimised(members, objectives)
    spread = np.ptp(values, axis=0)
    scaled = (values - values.min(axis=0)) / np.where(spread > 0, spread, 1.0)
    costs = len(objectives) - (MIOU in objectives)
    weights = np.array([1.0 if name == MIOU else 1.0 / costs for name in objectives])
    depth = (1.0 - scaled @ weights) / np.linalg.norm(weights)
    # Rounded, so that points that differ only by the arithmetic's last bits are a tie.
    best = min(range(len(members)), key=lambda i: (-round(float(depth[i]), 9), *_preference(members[i])))
    return members[best]


def _finished(trials: Sequence[Trial], wanted: str) -> Trial:
    matches = [trial for trial in trials if wanted in (trial.id, str(trial.number))]
    matches.sort(key=lambda trial: (-trial.key.rung, trial.number))  # of an id the longest training
    finished = [trial for trial in matches if trial.is_finished]
    if finished:
        return finished[0]
    if matches:
        found = matches[0]
        because = f": {found.reason}" if found.reason else ""
        raise UserError(f"trial {found.number} ({found.id}) is {found.status}{because}; a finished trial is needed")
    numbers = sorted(trial.number for trial in trials if trial.is_finished)
    listed = ", ".join(str(number) for number in numbers[:30]) + (", …" if len(numbers) > 30 else "")
    raise UserError(f"no trial or id '{wanted}'; finished trials: {listed or 'none'}; rules: {', '.join(PICKS)}")


def _statuses(trials: Sequence[Trial]) -> str:
    counts = Counter(trial.status for trial in trials)
    usual = (Status.FINISHED, Status.FAILED, Status.RUNNING)
    shown = [*usual, *(status for status in Status if counts[status] and status not in usual)]
    return ", ".join(f"{counts[status]} {status.replace('_', ' ')}" for status in shown)


def _preference(trial: Trial) -> tuple[float, int, int]:
    return (-trial.miou if trial.miou is not None else np.inf, trial.params, trial.number)


def _checked(values: Values) -> Values:
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 2:
        raise ValueError(f"values must have shape (points, objectives), got {values.shape}")
    if np.isnan(values).any():
        raise ValueError("values hold NaN, which cannot be ranked")
    return values
