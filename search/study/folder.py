"""The folder of a run: making it one, and reading its plan back."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import optuna

from boostformer.errors import UserError, os_refusal
from results.storage.location import JOURNAL_NAME, STORAGE_NAME, Database, Journal, is_run, storage_of
from search.config.experiment import Plan, difference
from search.strategies.directions import directions
from search.study.fingerprint import check_code, code_of
from search.study.leases import PROPOSE_LOCK, WORKERS, open_claims

CHECKPOINTS = "checkpoints"
"""Folder of the trainings' states, one folder for each network and seed."""
_OURS = {JOURNAL_NAME, STORAGE_NAME, PROPOSE_LOCK, WORKERS, CHECKPOINTS}


def set_up(
    run_dir: Path, plan: Plan, trials: int, references: Sequence[dict[str, Any]], database: Database | None = None
) -> None:
    """Makes ``run_dir`` a run of ``plan`` with a target of ``trials``, or checks that it is one already.

    Its study is kept in ``database``, by default where it is already, else in a journal in the folder. Raises
    :class:`UserError` when it is a run of another plan or of other code, holds other files, or cannot be written.
    """
    make_folder(run_dir)
    where = database or storage_of(run_dir)
    if database is not None:
        database.check(run_dir)  # before anything is written there
    try:
        storage = where.open(create=True)
        with open_claims(where, run_dir, storage).exclusive():
            _set_up(where, storage, plan, trials, references)
    except OSError as error:
        raise os_refusal(run_dir, "cannot be written", error) from None
    if database is not None:
        database.note_in(run_dir)


def make_folder(run_dir: Path) -> None:
    """Makes ``run_dir`` if need be; :class:`UserError` when it cannot be a run's folder."""
    try:
        run_dir.mkdir(parents=True, exist_ok=True)
        # One that another worker is about to note in .storage.json.… is not foreign.
        names = {entry.name for entry in run_dir.iterdir()}
        foreign = {name for name in names if not name.startswith(f".{STORAGE_NAME}.")} - _OURS
        if foreign and not is_run(run_dir):
            raise UserError(f"{run_dir}: not a run directory, and not empty ({min(foreign)}); choose another --out")
        (run_dir / WORKERS).mkdir(exist_ok=True)
    except FileExistsError:
        raise UserError(f"{run_dir}: not a directory; --out names the run's folder") from None
    except OSError as error:
        raise os_refusal(run_dir, "cannot be written", error) from None


def _set_up(
    where: Journal | Database,
    storage: optuna.storages.BaseStorage,
    plan: Plan,
    trials: int,
    references: Sequence[dict[str, Any]],
) -> None:
    config, code = plan.to_dict(), code_of(plan)
    study = optuna.create_study(
        study_name=where.study, storage=storage, directions=directions(plan.objectives), load_if_exists=True
    )
    attributes = study.user_attrs
    if "config" in attributes:
        if differs := difference(attributes["config"], config):
            raise UserError(f"{where}: holds a search with another configuration: {differs}; choose another --out")
        check_code(attributes["code"], code, str(where), any_version=True)
    study.set_user_attr("trials", trials)
    study.set_user_attr("code", code)
    if "config" not in attributes:
        study.set_user_attr("objectives", list(plan.objectives))
        study.set_user_attr("budgets", plan.budget.to_dict())
        study.set_user_attr("references", list(references))
        study.set_user_attr("config", config)  # last: without it, a run was not set up completely


def join(run_dir: Path, database: Database) -> None:
    """Makes ``run_dir`` this machine's folder of a study that was set up elsewhere; :class:`UserError` without one."""
    database.study_id(database.open())
    make_folder(run_dir)
    database.note_in(run_dir)


def plan_of(run_dir: Path, database: Database | None = None) -> Plan | None:
    """The plan of a run, if there is one: not yet where the process died that set it up."""
    where = database or storage_of(run_dir)
    if not where.exists():
        return None
    storage = where.open(create=database is not None)
    try:
        with where.answering():
            attributes = storage.get_study_user_attrs(storage.get_study_id_from_name(where.study))
    except KeyError:
        return None
    return Plan.from_dict(attributes["config"], str(where)) if "config" in attributes else None


def read_plan(run_dir: Path) -> Plan:
    """The plan of an existing run."""
    where = storage_of(run_dir)
    storage = where.open()
    with where.answering():
        attributes = storage.get_study_user_attrs(where.study_id(storage))
    if "config" not in attributes:
        raise UserError(f"{run_dir}: the run was never set up completely; start the search again")
    return Plan.from_dict(attributes["config"], str(where))
