"""Lineages: which trained networks a network inherited its weights from, and what was changed on the way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from results.trial import START, Trial


def lineage(trials: Sequence[Trial], member: Trial) -> list[Trial]:
    """List the trials that ``member`` descends from, the first ancestor first and itself last.

    Before the first there is the search's start, or random weights: see :func:`begins_at_start`.
    """
    by_weights = {(trial.id, trial.weights): trial for trial in trials if trial.weights is not None}
    found, known = [member], {member.number}
    while (parent := found[0].parent) is not None and (above := by_weights.get((parent.id, parent.weights))):
        if above.number in known:  # two networks never descend from each other, but a study may say so
            break
        found.insert(0, above)
        known.add(above.number)
    return found


def begins_at_start(members: Sequence[Trial]) -> bool:
    """Tell whether a lineage began with the trained network that the search was given."""
    return members[0].parent is not None and members[0].parent.id == START


def told(members: Sequence[Trial]) -> str:
    """Word a lineage: ``start, trial 3 (41.0 %), trial 7 (44.2 %)``."""
    words = [f"trial {member.number}" + (f" ({member.miou:.1%})" if member.miou else "") for member in members]
    return ", ".join([*(["start"] if begins_at_start(members) else []), *words])


def changes(before: Mapping[str, Any], after: Mapping[str, Any], above: str = "") -> list[str]:
    """List what differs between two architectures as ``Architecture.to_dict`` writes them.

    ``stages.2.width 160 → 120``; a block that is another is one change, by its name.
    """
    if "block" in before and before["block"] != after.get("block"):
        return [f"{above.removesuffix('.')} {before['block']} → {after.get('block')}"]
    found: list[str] = []
    for key, old in before.items():
        new, name = after.get(key), f"{above}{key}"
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            found += changes(old, new, f"{name}.")
        elif key == "stages" and isinstance(old, list) and isinstance(new, list):
            for i, pair in enumerate(zip(old, new, strict=False)):
                found += changes(*pair, f"stages.{i}.")
        elif old != new:
            found.append(f"{name} {old} → {new}")
    return found
