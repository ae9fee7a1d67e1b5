"""A whole run, read from its folder, and what is added to it afterwards."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from boostformer.errors import UserError, os_refusal
from boostformer.figures import Latency
from boostformer.shown import number_of
from results.known import KNOWN
from results.schema import FORMAT_VERSION, read_trial
from results.storage.location import storage_of
from results.summary import human
from results.trial import LIMITABLE, OBJECTIVES, Trial

if TYPE_CHECKING:
    import optuna
    import pandas
    from optuna.trial import FrozenTrial

CODE = ("version", "fingerprint")
"""Keys of the study's ``code``: the program's version, and what its networks are and cost."""
DATA_SUMMARY = "data.json"
"""File in a run's folder: what its data hold, in numbers, as the search found them."""
_FINALIST, _RETRAINING = "finalist ", "retraining "
"""Prefixes of the study's attributes that hold the final latency of one network, and one retraining. A concluded trial
cannot be added to; and no other process writes the same attribute."""
NOTES = (_FINALIST, _RETRAINING)
"""How the names of attributes begin that are added to a study afterwards."""


@dataclass(frozen=True)
class Retraining:
    """A network of the run that was trained in full; ``provenance`` holds all but ``iterations`` and ``seed``."""

    id: str
    miou: float
    iterations: int
    seed: int
    provenance: str


@dataclass(frozen=True)
class Run:
    """Contents of one run directory.

    Attributes:
        trials: by number.
        objectives: names, in the run's order.
        budgets: limits by name.
        config: the frozen experiment as plain values.
        references: networks to draw beside the front: ``name``, ``params``, ``macs`` and, where known, ``latency_ms``.
        retrainings: networks of the run that were trained in full.
    """

    trials: list[Trial]
    objectives: list[str]
    budgets: dict[str, float]
    config: dict[str, Any]
    references: list[dict[str, Any]]
    retrainings: list[Retraining] = field(default_factory=list)

    def __repr__(self) -> str:
        finished = sum(trial.is_finished for trial in self.trials)
        return f"Run({number_of(len(self.trials), 'trial')}, {finished} finished, for {', '.join(self.objectives)})"

    @property
    def labels(self) -> list[str]:
        """Names of the classes."""
        return list(map(str, self.config.get("labels", ())))

    def frame(self) -> pandas.DataFrame:
        """Return all trials as a frame with the columns of :func:`results.frames.trial_rows`."""
        from results.frames import frame

        return frame(self.trials, self.objectives, self.labels)

    def front(self) -> pandas.DataFrame:
        """Return the front as a frame with the same columns, a row for each network."""
        from results.frames import front_frame

        return front_frame(self.trials, self.objectives, self.labels)


def read_run(run_dir: Path | str) -> Run:
    """Read the run in ``run_dir``; never writes, so it may be called while a search is writing.

    A trial that has no network yet, or whose process died before it had one, is left out.

    Raises :class:`UserError` when there is no such directory, it leads to no study, or the study is unreadable,
    damaged, of another version or not one of ours.
    """
    return run_of(*stored_study(run_dir))


def stored_study(run_dir: Path | str) -> tuple[dict[str, Any], list[FrozenTrial], str]:
    """Read what the study of a run holds, unchecked: its attributes, its trials, and its name in messages.

    Raises :class:`UserError` when there is no such directory, or it leads to no study that can be read.
    """
    where = storage_of(run_dir)
    storage = where.open()
    with where.answering():
        study_id = where.study_id(storage)
        return storage.get_study_user_attrs(study_id), storage.get_all_trials(study_id, deepcopy=False), str(where)


def run_of(known: Mapping[str, Any], stored: Sequence[FrozenTrial], source: str) -> Run:
    """Make a run of what its study holds.

    Args:
        known: the study's attributes.
        stored: its trials.
        source: names it in messages.

    Raises:
        UserError: it is damaged, of another version or not one of ours.
    """
    check_study(known, source)
    trials = [trial for frozen in stored if (trial := read_trial(frozen, source)) is not None]
    try:
        return Run(
            _with_finals(_with_promotions(trials), known, known["budgets"].get("latency_ms")),
            list(known["objectives"]),
            dict(known["budgets"]),
            dict(known["config"]),
            list(known["references"]),
            [_retraining(values) for name, values in sorted(known.items()) if name.startswith(_RETRAINING)],
        )
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{source}: damaged ({type(error).__name__}: {error})") from None


def _retraining(values: Any) -> Retraining:
    """Read what :func:`note_retraining` wrote; ValueError or TypeError when it is damaged."""
    found = Retraining(**values)
    if type(found.miou) not in (int, float) or not 0 <= found.miou <= 1:
        raise ValueError(f"the mIoU of a retraining is {found.miou!r}, from 0 to 1 is allowed")
    if not all(type(number) is int for number in (found.iterations, found.seed)):
        raise ValueError("iterations and seed of a retraining must be whole numbers")
    if not all(isinstance(text, str) for text in (found.id, found.provenance)):
        raise ValueError("id and provenance of a retraining must be texts")
    return found


def check_study(study: Mapping[str, Any], source: str) -> None:
    """Raise :class:`UserError` when a study, given its attributes, is of another version, not set up, or damaged."""
    if "config" not in study:
        raise UserError(f"{source}: the run was never set up completely; start the search again")
    version = study["config"].get("version") if isinstance(study["config"], dict) else None
    if version != FORMAT_VERSION:
        raise UserError(
            f"{source}: a run of version {version!r} cannot be read, allowed: {FORMAT_VERSION}; "
            "read it with the release that wrote it, or begin the search again"
        )
    for name, is_right in _ATTRIBUTES.items():
        if not is_right(study.get(name)):
            raise UserError(f"{source}: damaged: {name} is {str(study.get(name))[:60]!r}")


def _is_reference(value: Any) -> bool:
    if not isinstance(value, dict) or not isinstance(value.get("name"), str):
        return False
    return {"params", "macs"} <= value.keys() and all(_is_number(v) for k, v in value.items() if k != "name")


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and 0 <= value < math.inf


_ATTRIBUTES: dict[str, Callable[[Any], bool]] = {
    "objectives": lambda value: isinstance(value, list) and all(isinstance(v, str) and v in OBJECTIVES for v in value),
    "budgets": lambda value: (
        isinstance(value, dict) and all(k in LIMITABLE and _is_number(v) for k, v in value.items())
    ),
    "references": lambda value: isinstance(value, list) and all(map(_is_reference, value)),
    "trials": lambda value: type(value) is int and value >= 1,
    "hours": lambda value: value is None or _is_number(value),
    "files": lambda value: value is None or (isinstance(value, str) and value.isprintable() and len(value) <= 1000),
    "worked_seconds": lambda value: value is None or _is_number(value),
    "code": lambda value: isinstance(value, dict) and all(isinstance(value.get(k), str) for k in CODE),
}
"""Checks of what a study says of a run besides its configuration."""
STUDY = ("config", KNOWN, *_ATTRIBUTES)
"""Names of the attributes that a study is set up with."""


def open_study(run_dir: Path | str) -> optuna.Study:
    """Open the existing study of ``run_dir`` to write to it; raises :class:`UserError` as :func:`read_run` does."""
    import optuna

    where = storage_of(run_dir)
    storage = where.open(lasting=True)  # others only read
    where.study_id(storage)
    return optuna.load_study(study_name=where.study, storage=storage)


def note_retraining(run_dir: Path | str, found: Retraining) -> None:
    """Keep in the run the score of one of its networks that was trained in full.

    Raises :class:`UserError` as :func:`read_run` does, and when the run cannot be written to.
    """
    # The same training once more takes the place of the one before.
    how = hashlib.sha256(f"{found.iterations} {found.seed} {found.provenance}".encode()).hexdigest()[:8]
    _note(run_dir, f"{_RETRAINING}{found.id} {how}", asdict(found))


def note_finalist(run_dir: Path | str, arch_id: str, latency: Latency) -> None:
    """Keep the final latency of a network in the run; raises as :func:`note_retraining` does."""
    _note(run_dir, _FINALIST + arch_id, latency.to_dict())


def _note(run_dir: Path | str, name: str, values: Mapping[str, Any]) -> None:
    from optuna.exceptions import StorageInternalError

    where = storage_of(run_dir)
    try:
        open_study(run_dir).set_user_attr(name, values)
    except OSError as error:
        raise os_refusal(where, "cannot be written", error) from error
    except StorageInternalError as error:
        from results.storage.database import reason

        raise UserError(f"{where}: cannot be written: {reason(error.__cause__ or error)}") from error


def _with_promotions(trials: list[Trial]) -> list[Trial]:
    highest: dict[str, int] = {}
    for trial in trials:
        highest[trial.id] = max(trial.key.rung, highest.get(trial.id, 0))
    if not any(highest.values()):
        return trials
    return [replace(trial, promoted=trial.key.rung < highest[trial.id]) for trial in trials]


def _with_finals(trials: list[Trial], study: Mapping[str, Any], limit: float | None) -> list[Trial]:
    """Give the finalists their final latency, which decides whether they are within the ``limit`` in milliseconds."""
    finals = {
        name.removeprefix(_FINALIST): Latency.from_dict(values)
        for name, values in study.items()
        if name.startswith(_FINALIST)
    }
    return [
        _with_final(trial, final, limit) if trial.is_finished and (final := finals.get(trial.id)) else trial
        for trial in trials
    ]


def _with_final(trial: Trial, final: Latency, limit: float | None) -> Trial:
    if limit is None or final.ms <= limit:
        return replace(trial, final=final)
    reason = f"{human('latency_ms', final.ms)} of {human('latency_ms', limit)} when it was measured again in the end"
    if final.figure.low <= limit:
        reason += f", which is within its noise: from {final.figure.low:.2f} ms"
    return replace(trial, final=final, feasible=False, reason=reason)
