"""A study that somebody else, or another release, wrote to: one line says so, and nothing is written or removed."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from optuna.trial import FrozenTrial, TrialState
from search_factories import medium, run, usual

from boostformer.architecture import Architecture
from boostformer.errors import UserError
from results.run import open_study, read_run
from results.schema import frozen_trial, key_of
from results.storage.location import JOURNAL_NAME
from results.trial import Status, TrialKey
from search.study.claim import new_trial
from search.study.folder import CHECKPOINTS, earlier_experiment, read_experiment, set_up
from search.study.queue import Queue


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of one finished trial, with states of a training, and things of somebody else beside it."""
    folder = tmp_path_factory.mktemp("original")
    run(folder / "run", 1, search=usual())
    set_up(folder / "run", usual(), 3)
    for name in (f"run/{CHECKPOINTS}/abc-0/state", "elsewhere/mine", "elsewhere.lock"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("precious")
    return folder


@pytest.fixture
def run_dir(original: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(original, tmp_path / "copy")) / "run"


def files(folder: Path) -> dict[Path, bytes | None]:
    return {path: path.read_bytes() if path.is_file() else None for path in folder.parent.rglob("*")}


def frozen(state: TrialState, arch: Architecture | None = None) -> FrozenTrial:
    """A trial as a worker that is dead by now would have stored it."""
    this = usual()
    arch = arch or this.experiment.space.sample(np.random.default_rng(8))
    trial = new_trial(TrialKey(arch.id, 0, 0), 2, arch, this.problem)
    statuses = {TrialState.RUNNING: Status.RUNNING, TrialState.COMPLETE: Status.FINISHED}
    status = statuses.get(state, Status.INTERRUPTED)
    return frozen_trial(
        replace(trial, status=status, miou=0.5, seconds=1.0, owner="host-1-ab"), this.experiment.objectives
    )


def refuse(run_dir: Path, hostile: FrozenTrial) -> str:
    """What is said of the run when a worker claims a trial."""
    open_study(run_dir).add_trial(hostile)
    before = files(run_dir)
    with pytest.raises(UserError) as refused, Queue(run_dir, usual()) as mine:
        mine.claim(lambda history: pytest.fail("proposed"))
    assert files(run_dir) == before
    said = str(refused.value)
    assert said.startswith(f"{run_dir / JOURNAL_NAME}: trial 1: ") and "\n" not in said
    return said


@pytest.mark.parametrize("state", [TrialState.RUNNING, TrialState.FAIL, TrialState.COMPLETE])
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("id", "../elsewhere"),
        ("id", "abc"),
        ("owner", "../../elsewhere"),
        ("owner", "/etc/elsewhere"),
        ("owner", "a" * 300),
        ("owner", 7),
        ("architecture", {}),
        ("architecture", medium().sample(np.random.default_rng(0)).to_dict()),
        ("rung", -1),
        ("rung", 1),
        ("rung", 10**30),
        ("seed", -1),
        ("seed", "../elsewhere"),
        ("macs", -(10**30)),
        ("reached", "far"),
    ],
)
def test_a_trial_that_nobody_here_wrote_is_refused(run_dir: Path, state: TrialState, name: str, value: Any) -> None:
    hostile = frozen(state)
    hostile.user_attrs["network"][name] = value
    refuse(run_dir, hostile)


@pytest.mark.parametrize("state", [TrialState.RUNNING, TrialState.FAIL, TrialState.COMPLETE])
@pytest.mark.parametrize("network", [7, [], "abc", None])
def test_a_network_that_is_none_is_refused(run_dir: Path, state: TrialState, network: object) -> None:
    hostile = frozen(state)
    hostile.user_attrs["network"] = network
    refuse(run_dir, hostile)


@pytest.mark.parametrize("state", [TrialState.RUNNING, TrialState.FAIL, TrialState.COMPLETE])
def test_a_network_of_another_space_is_refused(run_dir: Path, state: TrialState) -> None:
    other = medium().sample(np.random.default_rng(0))
    assert f"architecture {other.id} is outside the search space" in refuse(run_dir, frozen(state, other))


def test_a_trial_that_a_dead_worker_left_is_repeated(run_dir: Path) -> None:
    """The same trial, unchanged, is none of these."""
    left = frozen(TrialState.RUNNING)
    open_study(run_dir).add_trial(left)
    before = files(run_dir)
    with Queue(run_dir, usual()) as mine:
        claim = mine.claim(lambda history: pytest.fail("proposed"))
        assert claim is not None and claim.key == key_of(left)
    assert read_run(run_dir).trials[1].status is Status.INTERRUPTED
    before.pop(run_dir / JOURNAL_NAME)
    assert {path: content for path, content in files(run_dir).items() if path in before} == before


def again(run_dir: Path) -> None:
    set_up(run_dir, usual(), 3)


@pytest.mark.parametrize("ask", [read_run, earlier_experiment, read_experiment, again])
def test_a_run_of_an_older_version_is_refused(run_dir: Path, ask: Callable[[Path], object]) -> None:
    study = open_study(run_dir)
    study.set_user_attr("config", study.user_attrs["config"] | {"version": 3})
    known, before = study.user_attrs, files(run_dir)
    with pytest.raises(UserError) as refused:
        ask(run_dir)
    assert str(refused.value) == (
        f"{run_dir / JOURNAL_NAME}: a run of version 3 cannot be read, allowed: 4; read it with the release that "
        "wrote it, or begin the search again"
    )
    after = files(run_dir)
    assert after.pop(run_dir / JOURNAL_NAME).startswith(before.pop(run_dir / JOURNAL_NAME))
    assert after == before and open_study(run_dir).user_attrs == known
