"""The folder of a run: making it one, and reading its plan back."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import optuna

from boostformer.errors import UserError
from results.journal import JOURNAL_NAME, STUDY_NAME, open_storage
from results.locks import FileLock
from results.record import open_study
from search.parameters import directions
from search.plan import Plan, difference
from search.store import PROPOSE_LOCK, WORKERS

_OURS = {JOURNAL_NAME, PROPOSE_LOCK, WORKERS}


def set_up(run_dir: Path, plan: Plan, trials: int, references: Sequence[dict[str, Any]]) -> None:
    """Makes ``run_dir`` a run of ``plan`` with a target of ``trials``, or checks that it is one already.

    Raises :class:`UserError` when it is a run of another plan, holds other files, or cannot be written.
    """
    try:
        run_dir.mkdir(parents=True, exist_ok=True)
        foreign = {entry.name for entry in run_dir.iterdir()} - _OURS
        if foreign and not (run_dir / JOURNAL_NAME).exists():
            raise UserError(f"{run_dir}: not a run directory, and not empty ({min(foreign)}); choose another --out")
        (run_dir / WORKERS).mkdir(exist_ok=True)
        with FileLock(run_dir / PROPOSE_LOCK):
            _set_up(run_dir, plan, trials, references)
    except FileExistsError:
        raise UserError(f"{run_dir}: not a directory; --out names the run's folder") from None
    except OSError as error:
        raise UserError(f"{run_dir}: cannot be written: {error.strerror}") from None


def _set_up(run_dir: Path, plan: Plan, trials: int, references: Sequence[dict[str, Any]]) -> None:
    config = plan.to_dict()
    storage = open_storage(run_dir, create=True)
    try:
        attributes = storage.get_study_user_attrs(storage.get_study_id_from_name(STUDY_NAME))
    except KeyError:
        attributes = {}
    if "config" in attributes and (differs := difference(attributes["config"], config)):
        raise UserError(f"{run_dir}: holds a search with another configuration: {differs}; choose another --out")
    study = optuna.create_study(
        study_name=STUDY_NAME, storage=storage, directions=directions(plan.objectives), load_if_exists=True
    )
    study.set_user_attr("trials", trials)
    if "config" not in attributes:
        study.set_user_attr("objectives", list(plan.objectives))
        study.set_user_attr("budgets", plan.budget.to_dict())
        study.set_user_attr("references", list(references))
        study.set_user_attr("config", config)  # last: without it, a run was not set up completely


def plan_of(run_dir: Path) -> Plan | None:
    """The plan of a run, if there is one: not yet where the process died that set it up."""
    if not (run_dir / JOURNAL_NAME).exists():
        return None
    storage = open_storage(run_dir)
    try:
        attributes = storage.get_study_user_attrs(storage.get_study_id_from_name(STUDY_NAME))
    except KeyError:
        return None
    return Plan.from_dict(attributes["config"], str(run_dir / JOURNAL_NAME)) if "config" in attributes else None


def read_plan(run_dir: Path) -> Plan:
    """The plan of an existing run."""
    attributes = open_study(run_dir).user_attrs
    if "config" not in attributes:
        raise UserError(f"{run_dir}: the run was never set up completely; start the search again")
    return Plan.from_dict(attributes["config"], str(run_dir / JOURNAL_NAME))
