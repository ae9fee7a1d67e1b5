"""What marks a network out in a table: the knee and the best of a front, and how much of its budgets it takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from results.pareto import knee, pick
from results.trial import COSTS, OBJECTIVES, Trial

KNEE, BEST, FRONT = "knee", "best", "front"


def marks(trials: Sequence[Trial], members: Sequence[Trial], objectives: Sequence[str]) -> dict[int, str]:
    """Mark trials by their numbers: ``knee`` and ``best`` (mIoU) of the front, ``front`` for its others.

    Args:
        trials: those that are shown; where all are on the front, its others have no mark.
        members: of the front.
        objectives: of the run.
    """
    if not members:
        return {}
    found = {} if len(trials) == len(members) else {member.number: FRONT for member in members}
    best = pick(members, objectives, "best-miou").number
    found[best] = BEST
    middle = knee(members, objectives).number
    found[middle] = f"{KNEE}+{BEST}" if middle == best else KNEE
    return found


def of_budgets(trial: Trial, budgets: Mapping[str, float]) -> str | None:
    """Write the shares of its budgets that a network takes, in their order: ``79 / 64``, in per cent; None without."""
    if not budgets:
        return None
    values = [(getattr(trial, name), limit) for name, limit in budgets.items()]
    return " / ".join("–" if value is None else f"{100 * value / limit:.0f}" for value, limit in values) or None


def by_limiting(trials: Sequence[Trial], objectives: Sequence[str], budgets: Mapping[str, float]) -> list[Trial]:
    """Sort trials by the first objective that a budget limits, or else by the first cost; the lowest first."""
    costs = [name for name in objectives if name in COSTS]
    name = next((name for name in costs if name in budgets), costs[0] if costs else "params")

    def key(trial: Trial) -> tuple[float, int]:
        value = OBJECTIVES[name].value(trial)
        return float("inf") if value is None else value, trial.number

    return sorted(trials, key=key)
