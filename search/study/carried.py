"""`Carried`: what a new run takes over from others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from boostformer.errors import UserError
from boostformer.files import located
from results.known import Known
from results.trial import Trial
from search.study.weights import Weights


@dataclass(frozen=True)
class Carried:
    """What a new run takes over from others.

    Attributes:
        known: what its study keeps of that.
        trials: the trainings of others, as they stand in the new run, without numbers.
        stores: where their weights lie, by digest.
    """

    known: Known = field(default_factory=Known)
    trials: tuple[Trial, ...] = ()
    stores: dict[str, Weights] = field(default_factory=dict)

    def copy_weights(self, run_dir: Path) -> None:
        """Copy into a run's folder the weights that its networks may begin from."""
        own = Weights.of(run_dir)
        for digest, other in self.stores.items():
            own.take(digest, other)


def check_carried(known: Known, runs: Sequence[Path], where: str) -> None:
    """Raise :class:`UserError` unless a run that has begun knows these others."""
    noted = {source.run for source in known.sources}
    if new := [run for run in runs if str(located(run)) not in noted]:
        raise UserError(f"--from {new[0]}: {where} began without it; results are known from the start: another --out")
