"""The objectives' directions as Optuna's studies have them."""

from __future__ import annotations

from collections.abc import Sequence

from optuna.study import StudyDirection


def directions(objectives: Sequence[str]) -> list[StudyDirection]:
    """The mIoU is maximised, every cost minimised."""
    return [StudyDirection.MAXIMIZE if name == "miou" else StudyDirection.MINIMIZE for name in objectives]
