"""A run in one file, to be carried to another machine: written by :func:`export_run`, read by :func:`import_run`."""

from __future__ import annotations

import io
import json
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from optuna.trial import FrozenTrial, create_trial

from boostformer import zips
from boostformer.errors import UserError, os_refusal
from boostformer.files import exists, is_file, is_folder, publish, read_json, sync_folder
from boostformer.start import LostWeights
from boostformer.weights import checkpoint
from results.frames import trial_rows
from results.known import Known
from results.pareto import front
from results.records import document_of, read_document
from results.report.page import page
from results.report.run_page import Beside, run_document
from results.run import DATA_SUMMARY, Run, read_run, run_of
from results.schema import frozen_trial, read_trial
from results.storage.location import Journal, is_run
from results.tables import to_json
from results.terms import earlier_scores
from search.config.experiment import Experiment
from search.config.frozen import run_file_of
from search.study.beginning import study_of
from search.study.folder import make_folder
from search.study.places import START_FOLDER
from search.study.stored import terms_of
from search.study.weights import WEIGHTS, Weights

KIND, VERSION = "boostformer-run", 1
"""What the file says that it is, and of which version."""
STUDY, CONFIG, TABLE, PARQUET, REPORT = "study.json", "run.yaml", "trials.json", "trials.parquet", "report.html"
_ALLOWED = {
    "study\\.json": 256 << 20,
    "(trials\\.json|trials\\.parquet|report\\.html)": 256 << 20,
    "(run\\.yaml|data\\.json|start/config\\.json)": 8 << 20,
    "(weights/[0-9a-f]{64}|start/model)\\.safetensors": 16 << 30,
}
"""Members, and how many bytes such a one has at most."""
Say = Callable[[str], None]


def export_run(run_dir: Path, file: Path, say: Say, *, weights: bool = False) -> Run:
    """Write a run, which may be going on, into ``file``; return what was written.

    Args:
        run_dir: the run, in a journal or a database.
        file: a zip file; replaced if it exists.
        say: is told a line about what had to be left out.
        weights: whether the trained weights go along that the run keeps, and the network that it starts from.

    Raises:
        UserError: the run cannot be read, or ``file`` not written.
    """
    document = document_of(run_dir)
    known, stored = read_document(document, str(run_dir))
    run = run_of(known, stored, str(run_dir))
    experiment = Experiment.from_dict(known["config"], str(run_dir))
    members = front(run.trials, run.objectives)
    rows = trial_rows(run.trials, members, run.labels)
    with zips.writing(file, KIND, VERSION) as out:
        out.add(STUDY, to_json(document).encode())
        out.add(CONFIG, run_file_of(experiment, known["trials"]).encode())
        out.add(TABLE, to_json(rows).encode())
        if (table := _parquet(rows)) is not None:
            out.add(PARQUET, table)
        else:
            say(f"without {PARQUET}, which needs pyarrow: pip install 'boostformer[parquet]'")
        beside = Beside(place="RUN_DIR")
        if is_file(run_dir / DATA_SUMMARY):
            out.add(DATA_SUMMARY, (run_dir / DATA_SUMMARY).read_bytes())
            summary = read_json(run_dir / DATA_SUMMARY)
            beside = replace(beside, data=summary if isinstance(summary, dict) else None)
        out.add(REPORT, page(run_document(run, run_dir.resolve().name, beside)))
        if weights:
            _add_weights(out, run_dir, say)
            _add_start(out, experiment, say)
    return run


def _parquet(rows: list[dict[str, Any]]) -> bytes | None:
    """Write rows as a Parquet file; None where pyarrow is not installed."""
    import pandas

    if find_spec("pyarrow") is None:
        return None
    table = pandas.DataFrame([row | {"architecture": json.dumps(row["architecture"])} for row in rows])
    for name in table.columns:
        kinds = {type(value) for value in table[name] if value is not None and value == value}
        if len(kinds) > 1 and not kinds <= {int, float}:  # Parquet has one type in a column
            table[name] = [None if value is None else str(value) for value in table[name]]
    file = io.BytesIO()
    table.to_parquet(file, engine="pyarrow", index=False)
    return file.getvalue()


def _add_weights(out: zips.Zip, run_dir: Path, say: Say) -> None:
    stored = Weights.of(run_dir)
    for digest in sorted(stored.digests()):
        try:
            content = stored.whole(digest)
        except LostWeights:
            say(f"without weights {digest[:12]}, which are damaged")
            continue
        if content is not None:  # else a search that goes on has just removed them
            out.add(f"{WEIGHTS}/{digest}.safetensors", content, packed=False)


def _add_start(out: zips.Zip, experiment: Experiment, say: Say) -> None:
    if experiment.start is None:
        return
    folder = Path(experiment.start.place).expanduser()
    if (
        is_folder(folder)
        and checkpoint.is_ours(folder)
        and checkpoint.sha256(folder / checkpoint.WEIGHTS) == (experiment.start.weights)
    ):
        for name in (checkpoint.CONFIG, checkpoint.WEIGHTS):
            out.add(f"{START_FOLDER}/{name}", folder / name)
    else:
        say(f"without the network that it starts from, {experiment.start.place}: a search that goes on needs it there")


def import_run(file: Path, run_dir: Path) -> Run:
    """Make ``run_dir`` the run that ``file`` holds, kept in a journal, whole or not at all.

    Raises :class:`UserError` when ``file`` was not written by :func:`export_run`, or was changed since; or ``run_dir``
    holds something already, or cannot be written.
    """
    _refuse_taken(run_dir)
    source = str(file)
    with zips.reading(file, KIND, VERSION, _ALLOWED) as members:
        known, stored = read_document(members.read_json(STUDY), f"{source}: {STUDY}")
        run_of(known, stored, f"{source}: {STUDY}")
        Known.of(known, f"{source}: {STUDY}")
        experiment = Experiment.from_dict(known["config"], f"{source}: {STUDY}")
        with _draft(run_dir) as draft:
            make_folder(draft)
            _write_study(draft, known, stored, experiment, f"{source}: {STUDY}")
            for name in members:
                folder, _, last = name.rpartition("/")
                if folder or name == DATA_SUMMARY:
                    (draft / folder).mkdir(exist_ok=True)
                    members.copy(name, draft / name)
                    if folder == WEIGHTS and checkpoint.sha256(draft / name) != last.partition(".")[0]:
                        raise members.refuse(f"{name} holds other weights than its name says")
                elif name != STUDY:
                    members.verify(name)
    return read_run(run_dir)


def _refuse_taken(run_dir: Path) -> None:
    if is_run(run_dir):
        raise UserError(f"{run_dir}: is a run already; choose another folder")
    if exists(run_dir) and (not is_folder(run_dir) or any(run_dir.iterdir())):
        raise UserError(f"{run_dir}: exists, and is not an empty folder; choose another")


@contextmanager
def _draft(run_dir: Path) -> Iterator[Path]:
    """Yield a folder beside ``run_dir`` that becomes it when the block ends well."""
    whole = run_dir.absolute()
    draft = whole.with_name(f".{whole.name}.{secrets.token_hex(8)}.part")
    try:
        draft.mkdir(parents=True)
        yield draft
        for folder in (draft, *(path for path in draft.iterdir() if path.is_dir())):
            sync_folder(folder)
        publish(draft, whole)
    except OSError as error:
        raise os_refusal(run_dir, "cannot be written", error) from None
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _write_study(
    folder: Path, known: dict[str, Any], stored: list[FrozenTrial], experiment: Experiment, source: str
) -> None:
    """Write a study anew, with all that Optuna's tools are told of it.

    Args:
        folder: of the run that it becomes.
        known: the study's attributes.
        stored: its trials.
        experiment: as these say.
        source: names the file in messages.
    """
    where, terms = Journal(folder), terms_of(experiment)
    study = study_of(where, where.open(create=True), experiment)
    for name in sorted(known, key="config".__eq__):  # it comes last: without it, a run is not whole
        study.set_user_attr(name, known[name])
    trials = [read_trial(frozen, source) for frozen in stored]
    ended = {trial.key: trial for trial in trials if trial is not None and trial.is_finished}
    for frozen, trial in zip(stored, trials, strict=True):
        if trial is None:
            made = _foreign(frozen, source)
        else:
            made = frozen_trial(trial, experiment.objectives, terms, earlier_scores(trial.key, ended))
        made.datetime_start, made.datetime_complete = frozen.datetime_start, frozen.datetime_complete
        where.create_trial(study._storage, study._study_id, made)


def _foreign(frozen: FrozenTrial, source: str) -> FrozenTrial:
    """Check a trial that others enqueued or added; :class:`UserError` when it is none that Optuna would take."""
    try:
        return create_trial(
            state=frozen.state,
            values=frozen.values,
            params=frozen.params,
            distributions=frozen.distributions,
            user_attrs=frozen.user_attrs,
            system_attrs=frozen.system_attrs,
        )
    except (ValueError, TypeError, KeyError) as error:
        raise UserError(f"{source}: trial {frozen.number}: damaged ({type(error).__name__}: {error})") from None
