"""Trials as a pandas frame: one row each, a column for every figure, choice and class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from boostformer.architecture import Architecture
from results.pareto import front
from results.tables import COLUMNS, to_rows
from results.trial import Trial

if TYPE_CHECKING:
    import pandas

ON_FRONT, IOU, ARCHITECTURE = "on_front", "iou.", "architecture"


def trial_rows(trials: Sequence[Trial], members: Sequence[Trial], labels: Sequence[str]) -> list[dict[str, Any]]:
    """Return one dict per trial: :data:`results.tables.COLUMNS`, and more.

    After ``id`` stands ``on_front``; before ``architecture``, ``iou.CLASS`` for each class, where one trial knows it at
    least, and each of the network's fields, named as choices of a space are: ``stages.0.mixer``,
    ``stages.0.mixer.mhsa.heads``. The option of a block is None for networks that have another block.

    Args:
        trials: one run's.
        members: those of them that are on its front.
        labels: names of the run's classes.
    """
    best = {trial.number for trial in members}
    fields = [Architecture.from_dict(trial.architecture).fields() for trial in trials]
    names = list(dict.fromkeys(name for own in fields for name in own))
    classes = labels if any(trial.iou is not None for trial in trials) else ()
    rows = []
    for trial, row, own in zip(trials, to_rows(trials), fields, strict=True):
        iou = trial.iou or (None,) * len(classes)
        architecture = row.pop(ARCHITECTURE)
        rows.append(
            {column: row.pop(column) for column in COLUMNS[:2]}
            | {ON_FRONT: trial.number in best, **row}
            | {IOU + label: value for label, value in zip(classes, iou, strict=False)}
            | {name: own.get(name) for name in names}
            | {ARCHITECTURE: architecture}
        )
    return rows


def frame(trials: Sequence[Trial], objectives: Sequence[str], labels: Sequence[str]) -> pandas.DataFrame:
    """Return all of a run's trials as a frame with the columns of :func:`trial_rows`; ``objectives`` make its front."""
    return as_frame(trial_rows(trials, front(trials, objectives), labels))


def front_frame(trials: Sequence[Trial], objectives: Sequence[str], labels: Sequence[str]) -> pandas.DataFrame:
    """Return the front as a frame: a row for each network, whose mIoU is the mean where it has several seeds."""
    members = front(trials, objectives)
    return as_frame(trial_rows(members, members, labels))


def as_frame(rows: Sequence[Mapping[str, Any]], first: Sequence[str] = ()) -> pandas.DataFrame:
    """Make a frame of the rows of :func:`trial_rows`, ``first`` columns before theirs; without rows it has these."""
    import pandas

    usual = [*first, *COLUMNS[:2], ON_FRONT, *COLUMNS[2:]]
    return pandas.DataFrame(rows, columns=None if rows else usual)
