"""The folder of a run: making it one, and reading its experiment back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import optuna

from boostformer import presets
from boostformer.errors import UserError, os_refusal
from results.known import Known
from results.run import DATA_SUMMARY, check_study
from results.storage.location import JOURNAL_NAME, STORAGE_NAME, Database, Journal, is_run, storage_of
from results.trial import COSTS, COUNTED, START
from search.config.experiment import Experiment, difference
from search.config.opening import OpenExperiment
from search.study.beginning import attributes_at, begin, refuse_foreign, shorter, study_of
from search.study.carried import Carried, check_carried
from search.study.curves import CURVES
from search.study.fingerprint import check_code, code_of
from search.study.hours import HOURS
from search.study.leases import PROPOSE_LOCK, WORKERS, Leases, open_leases
from search.study.places import PLACES, START_FOLDER, at_its_place, moved, note_data, require_data
from search.study.states import CHECKPOINTS
from search.study.stores import SHARED, note_in, place_of, require_place, try_out
from search.study.weights import WEIGHTS

optuna.logging.set_verbosity(optuna.logging.WARNING)

LAUNCH = "launch"
"""Folder of what launchers note of their workers, and of these workers' output."""
_OURS = {JOURNAL_NAME, STORAGE_NAME, PROPOSE_LOCK, WORKERS, CHECKPOINTS, WEIGHTS, CURVES, DATA_SUMMARY, PLACES, SHARED}
FILES = "files"
"""Attribute of the study: the place that machines share for weights and states."""
_OURS |= {START_FOLDER, LAUNCH}


def set_up(
    run_dir: Path,
    opened: OpenExperiment,
    trials: int,
    database: Database | None = None,
    *,
    hours: float | None = None,
    runs: Sequence[Path] = (),
    carried: Carried | None = None,
    files: str | None = None,
) -> OpenExperiment:
    """Make ``run_dir`` a run of the experiment, or check that it is one already.

    Args:
        run_dir: the run's folder; made if need be.
        opened: the experiment.
        trials: how many networks are to be tried in all, beside those known from other runs.
        database: keeps the study; by default it stays where it is already, else in a journal in the folder.
        hours: how long it may be worked on in all.
        runs: others that it is to know; one that has begun must know them already.
        carried: what one that begins knows from these.
        files: the place that machines share for weights and states; by default where they lie already, else the folder.

    Returns:
        The experiment, with what the study holds of what another process found as it began the same search.

    Raises:
        UserError: it is a run of another experiment or of other code, is being searched for more networks, holds other
            files, or cannot be written.
    """
    where = place_for(run_dir, opened, database, files=files)
    if files is not None:
        note_in(run_dir, files)
        try_out(run_dir)
    place = place_of(run_dir)
    try:
        storage = where.open(create=True)
        leases = open_leases(where, run_dir, storage)
        with where.answering(), leases.exclusive():
            refuse_foreign(where, storage, opened)  # once more: nobody else begins one from here on
            attributes = attributes_at(where, storage)
            if "config" in attributes:
                require_place(attributes.get(FILES), place, str(where))
                check_carried(Known.of(attributes, str(where)), runs, str(run_dir))
            else:
                begin(where, storage, opened, run_dir, carried or Carried())
            opened = _set_up(where, storage, opened, {"trials": trials, HOURS: hours, FILES: place}, leases)
    except OSError as error:
        raise os_refusal(run_dir, "cannot be written", error) from None
    if database is not None:
        database.note_in(run_dir)
    note_data(run_dir, opened.experiment)
    return opened


def place_for(
    run_dir: Path, opened: OpenExperiment, database: Database | None = None, *, files: str | None = None
) -> Journal | Database:
    """Find where a run's study is or will be kept, and refuse what can be refused before anything costs time.

    But for the folder nothing is written yet: whoever stops now may begin with other options. The parameters and errors
    are those of :func:`set_up`.
    """
    make_folder(run_dir)
    where = database or storage_of(run_dir)
    if database is not None:
        database.check(run_dir)  # before anything is written there
    if files is not None and isinstance(where, Journal):
        raise UserError(f"--files {files}: is for searches in a database, on several machines; --storage is missing")
    try:
        if where.exists():
            with where.answering():
                refuse_foreign(where, where.open(create=database is not None), opened)
    except OSError as error:
        raise os_refusal(run_dir, "cannot be written", error) from None
    return where


def make_folder(run_dir: Path) -> None:
    """Make ``run_dir`` if need be; :class:`UserError` when it cannot be a run's folder."""
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
    opened: OpenExperiment,
    asked: dict[str, Any],
    leases: Leases,
) -> OpenExperiment:
    """Create the study, or check that it holds the same experiment; give the one that it holds.

    Args:
        where: keeps the study.
        storage: opened at ``where``.
        opened: the experiment.
        asked: how many networks are to be tried in all, and for how many hours.
        leases: tell whether others work on it.
    """
    experiment = opened.experiment
    config, code = experiment.to_dict(), code_of(opened)
    study = study_of(where, storage, experiment)
    known = study.user_attrs
    made: dict[str, Callable[[], Any]] = {
        "objectives": lambda: list(experiment.objectives),
        "budgets": lambda: experiment.budgets,
        "references": lambda: references(opened),
        "config": lambda: config,  # last: without it, a run was not set up completely
    }
    lost = {name: make() for name, make in made.items() if name not in known}  # also by damage of the journal
    if "config" in known:
        check_study(asked | {"code": code} | lost | known, str(where))
        began = Experiment.from_dict(known["config"], str(where))  # with what older ones do not say
        if differs := difference(began.to_dict(), config):
            raise UserError(f"{where}: holds a search with another configuration: {differs}; choose another --out")
        opened = opened.having_screened(began.screened)
        check_code(known.get("code", code), code, str(where), any_version=True)
        if (less := shorter(known, asked)) and (others := leases.alive()):
            raise UserError(
                f"{where}: is being searched for {less[0]} (workers: {others}), which {less[1]} would end; give "
                "at least as many, join with `boostformer worker`, or stop the others first"
            )
    for name, value in (asked | {"code": code} | lost).items():
        if known.get(name) != value:
            study.set_user_attr(name, value)
    return opened


def references(opened: OpenExperiment) -> list[dict[str, Any]]:
    """Cost the start and the presets at the experiment's size and for its classes, to draw them beside the front."""
    found: list[dict[str, Any]] = []
    space, latency, start = opened.experiment.space, opened.problem.latency, opened.experiment.start_network
    networks = {name: presets.load(name, classes=space.classes, size=space.size) for name in presets.names()}
    if start is not None:
        networks[START] = start
    for name, arch in networks.items():
        cost = opened.table.cost(arch)
        found.append({"name": name} | {key: getattr(cost, key) for key in COSTS if key in COUNTED})
        if latency is not None and latency.can_tell(arch):
            found[-1]["latency_ms"] = latency.milliseconds(arch)
    return found


def join(run_dir: Path, database: Database, files: str | None = None) -> None:
    """Make ``run_dir`` this machine's folder of a study that was set up elsewhere.

    Args:
        run_dir: the folder; made if need be.
        database: keeps the study.
        files: the place that machines share for weights and states, as the user named it.

    Raises:
        UserError: there is no such study, or it keeps its weights and states elsewhere.
    """
    storage = database.open()
    with database.answering():
        known = storage.get_study_user_attrs(database.study_id(storage)).get(FILES)
    require_place(known, files or (place_of(run_dir) if is_run(run_dir) else None), str(database))
    make_folder(run_dir)
    database.note_in(run_dir)
    if files is not None:
        note_in(run_dir, files)
        try_out(run_dir)


def earlier_experiment(run_dir: Path, database: Database | None = None) -> Experiment | None:
    """Read the experiment of a run; None where there is none, or the process setting it up died before writing one."""
    where = database or storage_of(run_dir)
    if not where.exists():
        return None
    storage = where.open(create=database is not None)
    try:
        with where.answering():
            attributes = storage.get_study_user_attrs(storage.get_study_id_from_name(where.study))
    except KeyError:
        return None
    return _experiment(attributes, where) if "config" in attributes else None


def read_experiment(run_dir: Path) -> Experiment:
    """Read the experiment of an existing run, with its data where they are now."""
    return read_frozen(run_dir)[0]


def read_frozen(run_dir: Path) -> tuple[Experiment, int]:
    """Read the experiment of an existing run, with its data where they are now, and how many networks it asks for."""
    attributes, where = _attributes(run_dir)
    return at_its_place(_experiment(attributes, where), run_dir), attributes["trials"]


def read_code(run_dir: Path) -> dict[str, Any]:
    """Read the code that an existing run was made by, as :func:`search.study.fingerprint.code_of` describes it."""
    attributes, where = _attributes(run_dir)
    check_study(attributes, str(where))
    code: dict[str, Any] = attributes["code"]
    return code


def read_hours(run_dir: Path) -> float | None:
    """Read for how many hours an existing run is to be worked on; None for any number."""
    attributes, where = _attributes(run_dir)
    check_study(attributes, str(where))
    hours: float | None = attributes.get(HOURS)
    return hours


def read_known(run_dir: Path) -> Known:
    """Read what an existing run knows from others."""
    attributes, where = _attributes(run_dir)
    return Known.of(attributes, str(where))


def _attributes(run_dir: Path) -> tuple[dict[str, Any], Journal | Database]:
    where = storage_of(run_dir)
    storage = where.open()
    with where.answering():
        return storage.get_study_user_attrs(where.study_id(storage)), where


def reopened(run_dir: Path, data: Path | None = None) -> tuple[OpenExperiment, int]:
    """Open the experiment of an existing run to go on with it, and tell how many networks it asks for.

    ``data`` is where its data lie now, if elsewhere than the run knows. :class:`UserError` when there is no such run,
    or its data are missing or others.
    """
    experiment, trials = read_frozen(run_dir)
    opened = OpenExperiment(moved(experiment, data) if data is not None else experiment)
    require_data(opened)
    return opened, trials


def _experiment(attributes: dict[str, Any], where: Journal | Database) -> Experiment:
    check_study(attributes, str(where))
    return Experiment.from_dict(attributes["config"], str(where))
