"""The records of a run: one frozen value per trial, read from the run's Optuna study."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from boostformer.errors import UserError, os_refusal
from results.storage.location import attributes, storage_of

if TYPE_CHECKING:
    import optuna

State = Literal["finished", "failed", "running"]
_STATES: dict[str, State] = {
    "COMPLETE": "finished",
    "FAIL": "failed",
    "PRUNED": "failed",
    "RUNNING": "running",
    "WAITING": "running",
}


@dataclass(frozen=True)
class Record:
    """One trial, a training of one network: its architecture, what it costs and what it scored.

    ``rung`` counts the run's lengths of training from 0, ``iterations`` is that length; ``promoted`` says whether a
    longer training of the same network was begun, and is None in a run that has but one length. Where a record stands
    for several ``seeds``, ``miou`` is their mean and ``miou_std`` their standard deviation.
    ``miou`` is in 0…1, ``macs`` are multiply-adds, ``latency_ms`` is in milliseconds on what
    ``latency_provenance`` names, between ``latency_low_ms`` and ``latency_high_ms`` (the spread of the runs, or the
    band of a prediction or estimate), ``latency_state`` is what else was recorded with it. ``final_…`` are those of a
    finalist that was measured again when the search ended, ``final_labels_ms`` up to the label map. ``seconds`` is
    the wall-clock time of the evaluation. ``failure`` is the reason of a failed trial ("interrupted" when its process
    died). ``provenance`` says how the score came about.
    """

    trial: int
    id: str
    state: State
    architecture: dict[str, Any] = field(hash=False)
    params: int
    macs: int
    conv_linear_macs: int
    attention_macs: int
    feasible: bool
    rung: int = 0
    iterations: int | None = None
    promoted: bool | None = None
    miou: float | None = None
    miou_std: float | None = None
    seeds: int = 1
    latency_ms: float | None = None
    latency_low_ms: float | None = None
    latency_high_ms: float | None = None
    latency_provenance: str | None = None
    latency_state: dict[str, Any] | None = field(default=None, hash=False)
    final_latency_ms: float | None = None
    final_low_ms: float | None = None
    final_high_ms: float | None = None
    final_labels_ms: float | None = None
    final_provenance: str | None = None
    seed: int | None = None
    seconds: float | None = None
    failure: str | None = None
    provenance: str = ""

    def attributes(self) -> dict[str, Any]:
        """The user attributes that hold this record in the study: all but what Optuna keeps itself."""
        return {name: getattr(self, name) for name in ATTRIBUTES}


_DERIVED = ("trial", "state", "promoted", "miou_std", "seeds")
ATTRIBUTES = tuple(f.name for f in fields(Record) if f.name not in _DERIVED and f.name[:6] != "final_")
FINALIST, _RETRAINING = "finalist ", "retraining "
"""So begin the study's attributes with the ``final_…`` values of one architecture, since a trial that ended cannot be
added to, and with one retraining; no other process writes the same."""
_REQUIRED = ("id", "architecture", "params", "macs", "conv_linear_macs", "attention_macs", "feasible")


@dataclass(frozen=True)
class Retraining:
    """A network of the run that was trained in full; ``provenance`` says how, all but ``iterations`` and ``seed``."""

    id: str
    miou: float
    iterations: int
    seed: int
    provenance: str


@dataclass(frozen=True)
class Run:
    """All that one run directory holds: its records by trial number and the frozen configuration.

    ``references`` are networks to draw beside the front: dicts with ``name``, ``params``, ``macs``, ``latency_ms``
    where it is known.
    """

    records: list[Record]
    objectives: list[str]
    budgets: dict[str, float]
    config: dict[str, Any]
    references: list[dict[str, Any]]
    retrainings: list[Retraining] = field(default_factory=list)


def read_run(run_dir: Path | str) -> Run:
    """The records of the run in ``run_dir``; never writes, so it may be called while a search is writing.

    A trial that is still being proposed, or whose process died before it had an architecture, is not a
    record.

    Raises :class:`UserError` when there is no such directory, no study that it leads to, or the study is unreadable,
    damaged or not one of ours.
    """
    where = storage_of(run_dir)
    storage = where.open()
    with where.answering():
        study_id = where.study_id(storage)
        known = storage.get_study_user_attrs(study_id)
        trials = storage.get_all_trials(study_id, deepcopy=False)
    missing = [name for name in ("objectives", "budgets", "references", "config") if name not in known]
    if missing:
        raise UserError(
            f"{where}: the run was never set up completely (no {', '.join(missing)}); start the search again"
        )
    records = [record for trial in trials if (record := _record(trial, str(where), known)) is not None]
    return Run(
        _with_promotions(records),
        list(known["objectives"]),
        dict(known["budgets"]),
        dict(known["config"]),
        list(known["references"]),
        [Retraining(**values) for name, values in sorted(known.items()) if name.startswith(_RETRAINING)],
    )


def open_study(run_dir: Path | str) -> optuna.Study:
    """The existing study of ``run_dir``, to be written to.

    Raises :class:`UserError` as :func:`read_run` does.
    """
    import optuna

    where = storage_of(run_dir)
    storage = where.open()
    where.study_id(storage)
    return optuna.load_study(study_name=where.study, storage=storage)


def note_retraining(run_dir: Path | str, found: Retraining) -> None:
    """Keeps in the run how well one of its networks did when it was trained in full.

    Raises :class:`UserError` as :func:`read_run` does, and when the run cannot be written to.
    """
    # The same training once more takes the place of the one before.
    how = hashlib.sha256(f"{found.iterations} {found.seed} {found.provenance}".encode()).hexdigest()[:8]
    _note(run_dir, f"{_RETRAINING}{found.id} {how}", asdict(found))


def note_finalist(run_dir: Path | str, id: str, values: Mapping[str, Any]) -> None:
    """Keeps the ``final_…`` values of an architecture in the run; raises as :func:`note_retraining` does."""
    _note(run_dir, FINALIST + id, values)


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


def _record(trial: optuna.trial.FrozenTrial, source: str, study: Mapping[str, Any]) -> Record | None:
    found = attributes(trial)
    state = _STATES[trial.state.name]
    missing = [name for name in _REQUIRED if name not in found]
    if missing and state != "finished":
        return None
    if missing:
        raise UserError(
            f"{source}: finished trial {trial.number} has no {', '.join(missing)}; not a run of this program"
        )
    known = {name: found[name] for name in ATTRIBUTES if name in found}
    final = study.get(f"{FINALIST}{known['id']}", {}) if state == "finished" else {}
    return Record(trial=trial.number, state=state, **known, **final)


def _with_promotions(records: list[Record]) -> list[Record]:
    highest: dict[str, int] = {}
    for record in records:
        highest[record.id] = max(record.rung, highest.get(record.id, 0))
    if not any(highest.values()):
        return records
    return [replace(record, promoted=record.rung < highest[record.id]) for record in records]
