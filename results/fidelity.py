"""Which of its trainings stand for a network: those of the highest rung, with the mean of its seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from statistics import fmean, stdev

from results.schema import Record


def standing(records: Sequence[Record]) -> list[Record]:
    """One record per network that was trained up to the highest rung any of the ``records`` has; the others drop out.

    Only equals can be compared: a longer training scores higher. With several seeds it is the first trial's record with
    ``miou`` the mean, ``miou_std`` the standard deviation (n - 1) and ``seeds`` their number. A seed that was repeated
    counts once, as it came out first: repeating a noisy measurement must not lift a network.
    """
    top = max((record.rung for record in records), default=0)
    networks: dict[str, dict[int | None, Record]] = {}
    for record in sorted(records, key=lambda record: record.trial):
        if record.rung == top:
            networks.setdefault(record.id, {}).setdefault(record.seed, record)
    return [_mean(list(trainings.values())) for trainings in networks.values()]


def _mean(trainings: list[Record]) -> Record:
    known = [record.miou for record in trainings if record.miou is not None]
    if len(known) < 2:
        return trainings[0]
    return replace(trainings[0], miou=fmean(known), miou_std=stdev(known), seeds=len(known))
