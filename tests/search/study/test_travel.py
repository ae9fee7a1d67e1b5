"""A run in one file: what comes out of it is the run that went in, and nothing that was changed on the way."""

from __future__ import annotations

import json
import shutil
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas
import pytest
import torch
from database_factories import queue, score, take
from optuna.trial import TrialState
from search_factories import MadeUp, Watcher, medium, opened, quality, quick, run, small, usual

from boostformer import zips
from boostformer.architecture import Architecture
from boostformer.errors import UserError
from boostformer.model import build
from boostformer.start import read_trained
from boostformer.training import TrainingFailure
from evaluators.proxy import Score
from results.run import Retraining, note_retraining, open_study, read_run
from results.storage.location import Database
from results.trial import Status
from search.config.experiment import Start
from search.config.opening import OpenExperiment
from search.study.folder import read_experiment, set_up
from search.study.travel import KIND, VERSION, export_run, import_run
from search.study.weights import Weights, weights_of
from search.worker.loop import work

SPACE = small()


def lively(arch: Architecture, seed: int, progress: Any, *, rung: int = 0, **how: Any) -> Score:
    """Some networks fail, the others have a score of each class."""
    if arch.stages[0].width == 8:
        raise TrainingFailure("diverged", "the loss is 9000")
    return Score(quality(arch), 0.25, "made up", iou=(0.5, None, 0.25, 1.0))


def told(folder: Path) -> list[Any]:
    """All that Optuna's tools see of a run's trials."""
    return [
        (t.state, t.params, t.distributions, t.constraints, t.intermediate_values, t.user_attrs, t.system_attrs)
        + (t.datetime_start, t.datetime_complete)
        for t in open_study(folder).get_trials()
    ]


def through(run_dir: Path, tmp_path: Path, **how: Any) -> Path:
    """Export a run and import it elsewhere; the new folder."""
    export_run(run_dir, tmp_path / "run.zip", print, **how)
    import_run(tmp_path / "run.zip", tmp_path / "elsewhere" / "run")
    return tmp_path / "elsewhere" / "run"


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run of finished and failed trials on two rungs, and its file."""
    folder = tmp_path_factory.mktemp("original")
    run(folder / "begun", 8, lively, search=opened(SPACE, proxy={"iterations": [2, 6]}))
    export_run(folder / "begun", folder / "x.zip", print)
    return folder


@pytest.fixture
def begun(original: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(original / "begun", tmp_path / "begun"))


@pytest.fixture
def file(original: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(original / "x.zip", tmp_path))


def test_a_run_comes_out_as_it_went_in(begun: Path, tmp_path: Path) -> None:
    best = next(trial for trial in read_run(begun).trials if trial.is_finished)
    note_retraining(begun, Retraining(best.id, 0.75, 60, 0, "in full"))
    study = open_study(begun)
    study.enqueue_trial({"stages.0.width": 16})
    study.add_trial(study.trials[0])  # by others, who copied it
    copy = through(begun, tmp_path)
    assert read_run(copy) == read_run(begun)
    assert told(copy) == told(begun)
    assert {trial.status for trial in read_run(copy).trials} == {Status.FINISHED, Status.FAILED}
    found = open_study(copy)
    assert found.metric_names == ["miou", "macs", "params"] and found.user_attrs == study.user_attrs
    assert read_experiment(copy) == read_experiment(begun)
    assert [trial.state for trial in found.trials].count(TrialState.WAITING) == 1


def test_the_search_goes_on_as_it_would_have(tmp_path: Path) -> None:
    this = opened(medium(), strategy="nsga2")
    run(tmp_path / "whole", 12, search=this)
    run(tmp_path / "half", 6, search=this)
    copy = through(tmp_path / "half", tmp_path)
    run(copy, 12, search=this)
    ids = [[trial.id for trial in read_run(folder).trials] for folder in (tmp_path / "whole", copy)]
    assert ids[0] == ids[1] and len(ids[0]) == 12


def test_what_is_running_is_repeated_first(tmp_path: Path) -> None:
    set_up(tmp_path / "run", usual(), 2)
    with queue(tmp_path / "run") as mine:
        mine.finish(first := take(mine), score(first))
        running = take(mine)
        copy = through(tmp_path / "run", tmp_path)
        assert [trial.status for trial in read_run(copy).trials] == [Status.FINISHED, Status.INTERRUPTED]
    with queue(copy) as mine:
        assert take(mine).architecture == running.architecture


def test_a_run_in_a_database_becomes_one_in_a_file(tmp_path: Path, database: Database) -> None:
    search = opened(SPACE, proxy={"iterations": [2, 6]})
    set_up(tmp_path / "there", search, 6, database)
    work(search, tmp_path / "there", Watcher(), MadeUp(lively))
    copy = through(tmp_path / "there", tmp_path)
    assert read_run(copy) == read_run(tmp_path / "there")
    assert (copy / "journal.log").is_file() and not (copy / "storage.json").exists()
    assert told(copy) == told(tmp_path / "there")
    run(copy, 7, lively, search=search)


def test_an_older_run_gets_what_optuna_s_tools_need(begun: Path, tmp_path: Path) -> None:
    study = open_study(begun)
    older = study.trials[0]
    for trial in study.trials:
        assert trial.params
    older.params, older.distributions, older.intermediate_values, older._system_attrs = {}, {}, {}, {}
    study.add_trial(older)
    assert open_study(through(begun, tmp_path)).trials[-1].params == study.trials[0].params


def test_weights_go_along_if_asked(tmp_path: Path) -> None:
    def heir(arch: Architecture, *_: Any, **how: Any) -> Score:
        return replace(quick(arch, 0, lambda *_: None), weights={"of": torch.tensor([int(arch.id, 16) % 2**24 * 1.0])})

    run(tmp_path / "run", 3, heir, search=opened(SPACE, inherit=True))
    digests = Weights.of(tmp_path / "run").digests()
    assert digests
    copy = through(tmp_path / "run", tmp_path, weights=True)
    assert Weights.of(copy).digests() == digests
    kept = [trial for trial in read_run(copy).trials if trial.weights in digests]
    assert weights_of(copy, kept[0]).weights.keys() == {"of"}
    export_run(tmp_path / "run", tmp_path / "without.zip", print)
    assert not [name for name in zipfile.ZipFile(tmp_path / "without.zip").namelist() if "weights" in name]


def test_damaged_weights_are_left_out_and_it_is_said(tmp_path: Path) -> None:
    run(tmp_path / "run", 1, search=opened(SPACE, inherit=True))
    (tmp_path / "run" / "weights").mkdir(exist_ok=True)
    (tmp_path / "run" / "weights" / f"{'0' * 64}.safetensors").write_bytes(b"damaged")
    said: list[str] = []
    export_run(tmp_path / "run", tmp_path / "x.zip", said.append, weights=True)
    assert said == ["without weights 000000000000, which are damaged"]
    import_run(tmp_path / "x.zip", tmp_path / "copy")


def test_the_network_that_it_starts_from_goes_along(tmp_path: Path) -> None:
    arch = next(iter(SPACE))
    model = build(arch)
    model.labels = list("abcd")
    model.save_pretrained(tmp_path / "net")
    trained = read_trained(tmp_path / "net")
    start = Start(place=str(tmp_path / "net"), weights=trained.digest, architecture=arch.to_dict())
    run(tmp_path / "run", 1, search=opened(SPACE, inherit=True, start=start))
    copy = through(tmp_path / "run", tmp_path, weights=True)
    (tmp_path / "net").rename(tmp_path / "gone")
    found = read_experiment(copy).start
    assert found is not None and read_trained(found.place).digest == trained.digest
    said: list[str] = []
    export_run(tmp_path / "run", tmp_path / "again.zip", said.append, weights=True)
    assert len(said) == 1 and said[0].startswith("without the network that it starts from")
    there = OpenExperiment(read_experiment(copy))
    run(copy, 2, search=there)
    assert there.start is not None and there.start.digest == trained.digest


def test_the_tables_are_read_by_pandas_in_one_line(begun: Path, file: Path) -> None:
    own = read_run(begun).frame()
    for found in (
        pandas.read_parquet(f"zip://trials.parquet::{file}"),
        pandas.read_json(f"zip://trials.json::{file}", dtype=False, precise_float=True),
    ):
        assert list(found.columns) == list(own.columns)
        for column in ("id", "miou", "on_front", "status", "stages.3.mixer", "iou.a", "rung"):
            assert found[column].astype(object).where(found[column].notna(), None).tolist() == (
                own[column].astype(object).where(own[column].notna(), None).tolist()
            ), column
    assert json.loads(pandas.read_parquet(f"zip://trials.parquet::{file}")["architecture"][0])


def changed(file: Path, change: Callable[[Any], object]) -> None:
    """Change the study in a file, with a manifest that fits: what somebody who means harm would make."""
    with zipfile.ZipFile(file) as archive:
        members = {name: archive.read(name) for name in archive.namelist() if name != "manifest.json"}
    study = json.loads(members["study.json"])
    change(study)
    members["study.json"] = json.dumps(study).encode()
    with zips.writing(file, KIND, VERSION) as out:
        for name, content in members.items():
            out.add(name, content)


def first(study: Any) -> Any:
    return study["trials"][0]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda s: s.pop("trials"), "study.json: damaged (KeyError: 'trials')"),
        (lambda s: s.update(trials={}), "study.json: damaged (TypeError"),
        (lambda s: s["study"].update(config={"version": 99}), "a run of version 99 cannot be read"),
        (lambda s: s["study"].update(extra=1), "study: unknown 'extra'"),
        (lambda s: s["study"]["config"].update(space=7), "the search's configuration is damaged: space"),
        (
            lambda s: s["study"]["config"]["search"].update(seed=-1),
            "configuration is damaged: search.seed",
        ),
        (lambda s: s["study"].update({"retraining x": {"id": 7}}), "damaged"),
        (lambda s: first(s).update(state="GONE"), "study.json: damaged (KeyError: 'GONE')"),
        (lambda s: first(s).update(datetime_start="soon"), "study.json: damaged (ValueError"),
        (lambda s: first(s)["attributes"]["network"].update(id="0" * 12), "trial 0: damaged"),
        (lambda s: first(s)["attributes"]["network"].update(owner="../../x"), "trial 0: damaged"),
        (lambda s: first(s).update(attributes={}), "study.json: damaged (KeyError: 'params')"),
        (
            lambda s: first(s).update(
                attributes={}, params={"a": 1}, distributions={"a": "{"}, values=None, system_attrs={}
            ),
            "study.json: damaged",
        ),
        (
            lambda s: first(s).update(attributes={}, params={"a": 1}, distributions={}, values=[1], system_attrs={}),
            "trial 0: damaged",
        ),
    ],
)
def test_a_study_that_was_tampered_with_is_one_line(
    file: Path, tmp_path: Path, change: Callable[[Any], object], said: str
) -> None:
    changed(file, change)
    with pytest.raises(UserError) as refused:
        import_run(file, tmp_path / "copy")
    assert str(refused.value).startswith(f"{file}: ") and said in str(refused.value) and "\n" not in str(refused.value)
    assert list(tmp_path.iterdir()) == [file]


def test_weights_are_those_their_name_says(file: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(file) as archive:
        members = {name: archive.read(name) for name in archive.namelist() if name != "manifest.json"}
    with zips.writing(file, KIND, VERSION) as out:
        for name, content in members.items():
            out.add(name, content)
        out.add(f"weights/{'0' * 64}.safetensors", b"others")
    with pytest.raises(UserError, match="holds other weights than its name says"):
        import_run(file, tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


def test_a_folder_in_use_is_not_written_into(begun: Path, file: Path, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("kept")
    for folder, said in ((begun, "is a run"), (tmp_path / "full", "not an empty folder"), (file, "not an empty")):
        with pytest.raises(UserError, match=said):
            import_run(file, folder)
    (tmp_path / "empty").mkdir()
    import_run(file, tmp_path / "empty")
    assert (tmp_path / "full" / "mine.txt").read_text() == "kept"
