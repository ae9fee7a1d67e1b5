"""The trial that stands for a network: its training on the highest rung, with the mean of its seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from statistics import fmean, stdev

from results.trial import Trial


def standing(trials: Sequence[Trial]) -> list[Trial]:
    """Return one trial per network that was trained up to the highest rung of any of the ``trials``; drop the others.

    Only trainings of equal length can be compared, since a longer one scores higher. A network with several seeds gets
    its first trial with ``miou`` the mean, ``miou_std`` the standard deviation (n - 1) and ``seeds`` their number. Of
    a repeated seed the first score counts: repeating a noisy measurement must not lift a network.
    """
    top = max((trial.key.rung for trial in trials), default=0)
    networks: dict[str, dict[int | None, Trial]] = {}
    for trial in sorted(trials, key=lambda trial: trial.number):
        if trial.key.rung == top:
            networks.setdefault(trial.id, {}).setdefault(trial.key.seed, trial)
    return [_mean(list(trainings.values())) for trainings in networks.values()]


def _mean(trainings: list[Trial]) -> Trial:
    known = [trial.miou for trial in trainings if trial.miou is not None]
    if len(known) < 2:
        return trainings[0]
    return replace(trainings[0], miou=fmean(known), miou_std=stdev(known), seeds=len(known))
