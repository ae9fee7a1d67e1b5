"""The records of a run: one frozen value per trial, read from the run's Optuna journal."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from boostformer.errors import UserError

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
    """One trial: its architecture, what it costs and what it scored.

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
    miou: float | None = None
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


ATTRIBUTES = tuple(f.name for f in fields(Record) if f.name not in ("trial", "state") and f.name[:6] != "final_")
FINALISTS = "finalists"
"""The study's attribute with the ``final_…`` values by architecture: a trial that ended cannot be added to."""
_REQUIRED = ("id", "architecture", "params", "macs", "conv_linear_macs", "attention_macs", "feasible")


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


def read_run(run_dir: Path | str) -> Run:
    """The records of the run in ``run_dir``; never writes, so it may be called while a search is writing.

    A trial that is still being proposed, or whose process died before it had an architecture, is not a
    record.

    Raises :class:`UserError` when there is no such directory, no journal in it, or the journal is unreadable,
    damaged or not one of ours.
    """
    # Here, because Optuna takes longer to import than all the rest of this room.
    from results.journal import JOURNAL_NAME, STUDY_NAME, open_storage

    path = Path(run_dir) / JOURNAL_NAME
    storage = open_storage(run_dir)
    try:
        study_id = storage.get_study_id_from_name(STUDY_NAME)
    except KeyError as error:
        raise UserError(f"{path}: holds no study named '{STUDY_NAME}'") from error
    attributes = storage.get_study_user_attrs(study_id)
    missing = [name for name in ("objectives", "budgets", "references", "config") if name not in attributes]
    if missing:
        raise UserError(
            f"{path}: the run was never set up completely (no {', '.join(missing)}); start the search again"
        )
    trials = storage.get_all_trials(study_id, deepcopy=False)
    finalists = attributes.get(FINALISTS, {})
    records = [record for trial in trials if (record := _record(trial, path, finalists)) is not None]
    return Run(
        records,
        list(attributes["objectives"]),
        dict(attributes["budgets"]),
        dict(attributes["config"]),
        list(attributes["references"]),
    )


def open_study(run_dir: Path | str) -> optuna.Study:
    """The existing study of ``run_dir``, to be written to.

    Raises :class:`UserError` as :func:`read_run` does.
    """
    import optuna

    from results.journal import JOURNAL_NAME, STUDY_NAME, open_storage

    storage = open_storage(run_dir)
    try:
        return optuna.load_study(study_name=STUDY_NAME, storage=storage)
    except KeyError as error:
        raise UserError(f"{Path(run_dir) / JOURNAL_NAME}: holds no study named '{STUDY_NAME}'") from error


def _record(trial: optuna.trial.FrozenTrial, path: Path, finalists: Mapping[str, Any]) -> Record | None:
    attributes: Mapping[str, Any] = trial.user_attrs
    state = _STATES[trial.state.name]
    missing = [name for name in _REQUIRED if name not in attributes]
    if missing and state != "finished":
        return None
    if missing:
        raise UserError(f"{path}: finished trial {trial.number} has no {', '.join(missing)}; not a run of this program")
    known = {name: attributes[name] for name in ATTRIBUTES if name in attributes}
    final = finalists.get(known["id"], {}) if state == "finished" else {}
    return Record(trial=trial.number, state=state, **known, **final)
