"""The study of a run that begins: whose it is, and what it knows before the first proposal."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import optuna
from optuna.exceptions import ExperimentalWarning

from boostformer.errors import UserError
from results.known import KNOWN
from results.run import STUDY
from results.schema import NETWORK, frozen_trial, owner_of
from results.storage.location import Database, Journal
from results.trial import OBJECTIVES
from search.config.experiment import Experiment
from search.config.opening import OpenExperiment
from search.study.carried import Carried
from search.study.hours import HOURS


def refuse_foreign(where: Journal | Database, storage: optuna.storages.BaseStorage, opened: OpenExperiment) -> None:
    """Raise :class:`UserError` where somebody else's study is kept, before anything is written into it."""
    studies = {study.study_name: study for study in storage.get_all_studies()}
    others = [] if isinstance(where, Database) else sorted(studies.keys() - {where.study})
    study = studies.get(where.study)
    if study is not None and "config" not in study.user_attrs:  # perhaps one of ours whose setting up broke off
        directions = [OBJECTIVES[name].direction for name in opened.experiment.objectives]
        ours = [direction.name.lower() for direction in study.directions] == directions
        # Its trials are what was known from other runs; those of a search have owners.
        trials = storage.get_all_trials(study._study_id, deepcopy=False)
        begun = any(owner_of(trial) or NETWORK not in trial.user_attrs for trial in trials)
        if not ours or study.user_attrs.keys() - set(STUDY) or begun:
            others = [where.study]
    if others:
        raise UserError(f"{where}: holds '{others[0]}', an Optuna study of another program; choose another --out")


def attributes_at(where: Journal | Database, storage: optuna.storages.BaseStorage) -> dict[str, Any]:
    """Read what a run's study says of it; nothing where there is none."""
    try:
        return storage.get_study_user_attrs(storage.get_study_id_from_name(where.study))
    except KeyError:
        return {}


def begin(
    where: Journal | Database,
    storage: optuna.storages.BaseStorage,
    opened: OpenExperiment,
    run_dir: Path,
    carried: Carried,
) -> None:
    """Create a study with what is known from other runs; what is left of one that was not set up completely goes.

    Args:
        where: keeps the study.
        storage: opened at ``where``.
        opened: the experiment.
        run_dir: the run's folder, which keeps the weights.
        carried: what is known.
    """
    if attributes_at(where, storage):
        storage.delete_study(storage.get_study_id_from_name(where.study))
    if not carried.known.sources:
        return
    carried.copy_weights(run_dir)
    study = study_of(where, storage, opened.experiment)
    study.set_user_attr(KNOWN, carried.known.to_dict())
    for trial in carried.trials:
        storage.create_new_trial(study._study_id, frozen_trial(trial, opened.experiment.objectives))


def study_of(where: Journal | Database, storage: optuna.storages.BaseStorage, experiment: Experiment) -> optuna.Study:
    """Open the study of a run, created if need be, its objectives with their names."""
    names = list(experiment.objectives)
    study = optuna.create_study(
        study_name=where.study,
        storage=storage,
        directions=[OBJECTIVES[name].direction for name in names],
        load_if_exists=True,
    )
    if study.metric_names != names:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            study.set_metric_names(names)
    return study


def shorter(known: Mapping[str, Any], asked: Mapping[str, Any]) -> tuple[str, str] | None:
    """Say what was asked for, and what is now where that is less; else None."""
    if asked["trials"] < known.get("trials", 0):
        return f"{known['trials']} networks", f"--trials {asked['trials']}"
    before, now = known.get(HOURS), asked[HOURS]
    if now is not None and (before is None or now < before):
        return "any time" if before is None else f"{before:g} hours", f"--hours {now:g}"
    return None
