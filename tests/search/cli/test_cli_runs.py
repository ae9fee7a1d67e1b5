"""Commands on a run: what they open, how they show what became of its trials, and runs that they refuse."""

from __future__ import annotations

import csv
import io
import json
import shutil
import subprocess
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer
from optuna.trial import TrialState, create_trial
from search_factories import MadeUp
from typer.testing import CliRunner

from boostformer.locks import FileLock
from boostformer.training import TrainingFailure
from evaluators.costs.table import CostTable
from evaluators.proxy import Proxy, Score
from results.run import open_study, read_run
from results.schema import NETWORK, end_attribute
from results.storage.location import JOURNAL_NAME
from results.trial import Status
from search.cli import program
from search.cli.outcome import conclude, so_far
from search.config import opening
from search.config.opening import resolve
from search.study.folder import set_up
from search.study.leases import WORKERS
from search.worker.loop import work
from search.worker.progress import LineReporter

Cli = Callable[..., "subprocess.CompletedProcess[str]"]
RUN = """\
space: tiny
data: {kind: scenes, size: 32x64, scenes: {training: 4, validation: 2}}
budgets: {params: 60k, macs: 6M}
proxy: {iterations: 2, batch_size: 2}
search: {trials: 3, strategy: random}
"""
COMMANDS = [
    ("search", "run.yaml", "--out", "run"),
    ("worker", "run"),
    ("launch", "run"),
    ("pareto", "run", "--all"),
    ("trust", "run"),
    ("retrain", "run", "--out", "net"),
    ("profile", "run:0"),
]
on_any_command = pytest.mark.parametrize("command", COMMANDS, ids=[command[0] for command in COMMANDS])


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run file and its run, of which the second of three trials failed."""
    folder = tmp_path_factory.mktemp("original")
    (folder / "run.yaml").write_text(RUN)
    opened, trials = resolve(folder / "run.yaml")
    set_up(folder / "run", opened, trials)
    scores = iter((0.25, None, 0.5))

    def evaluate(*arguments: Any, **how: Any) -> Score:
        if (score := next(scores)) is None:
            raise TrainingFailure("diverged", "the loss is 9000")
        return Score(score, 1.0, "made up")

    work(opened, folder / "run", LineReporter(io.StringIO()), MadeUp(evaluate))
    return folder


@pytest.fixture
def folder(original: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(original, tmp_path / "copy"))


def add(run_dir: Path, state: TrialState, *end: tuple[str, Any], **network: Any) -> None:
    """Add a copy of the run's first trial in another ``state``, with some of its network's values changed."""
    study = open_study(run_dir)
    first = study.trials[0].user_attrs
    attributes = {**first, NETWORK: {**first[NETWORK], **network}, **dict(end)}
    values = study.trials[0].values if state is TrialState.COMPLETE else None
    study.add_trial(create_trial(state=state, values=values, user_attrs=attributes))


def files(folder: Path) -> dict[Path, bytes]:
    """All there is; a folder counts as empty."""
    return {path: path.read_bytes() if path.is_file() else b"" for path in folder.rglob("*")}


def refused(run_cli: Cli, folder: Path, command: tuple[str, ...]) -> str:
    """The one line with which the ``command`` refuses the run, changing nothing."""
    before = files(folder)
    done = run_cli(*command, cwd=folder)
    assert done.returncode == 2, done.stderr
    assert done.stdout == "" and done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
    after, journal = files(folder), folder / "run" / JOURNAL_NAME
    if command[0] == "search":  # it says in the study how many networks are asked for before it looks at the trials
        assert after[journal].startswith(before[journal])
        before[journal] = after[journal]
    assert after == before
    return done.stderr.removeprefix("error: ").strip()


@on_any_command
@pytest.mark.parametrize("version", [2, 3, None])
def test_a_run_of_another_version_is_refused(
    folder: Path, run_cli: Cli, command: tuple[str, ...], version: int | None
) -> None:
    study = open_study(folder / "run")
    study.set_user_attr("config", {**study.user_attrs["config"], "version": version})
    line = refused(run_cli, folder, command)
    assert line.endswith(
        f"{JOURNAL_NAME}: a run of version {version!r} cannot be read, allowed: 4; read it with the release that wrote "
        "it, or begin the search again"
    )


@on_any_command
@pytest.mark.parametrize(
    ("state", "network", "said"),
    [
        (TrialState.COMPLETE, {"id": "../../other"}, "the id '../../other' is not the architecture's"),
        (TrialState.RUNNING, {"owner": "../../other"}, "'../../other' names no worker"),
        (TrialState.FAIL, {"macs": -1}, "macs is -1, a count from 0 is needed"),
    ],
    ids=["id", "owner", "macs"],
)
def test_a_trial_that_somebody_else_wrote_is_refused(
    folder: Path, run_cli: Cli, command: tuple[str, ...], state: TrialState, network: dict[str, Any], said: str
) -> None:
    if command[0] == "search":
        command = (*command, "--trials", "9")
    add(folder / "run", state, **network)
    line = refused(run_cli, folder, command)
    assert "trial 3: " in line and said in line


def test_what_became_of_each_trial_is_shown(folder: Path, run_cli: Cli) -> None:
    run_dir = folder / "run"
    # Of other seeds: each is a training of its own.
    add(run_dir, TrialState.RUNNING, seed=1, owner="alive")
    for seed, (status, reason) in enumerate(
        [
            (Status.INTERRUPTED, "given back"),
            (Status.WAITING, "no route to host"),
            (Status.OVER_BUDGET, "25.00 ms of 20.00 ms"),
        ]
    ):
        add(run_dir, TrialState.FAIL, end_attribute(status, reason), seed=2 + seed)
    expected = [
        ("finished", ""),
        ("failed", "diverged"),
        ("finished", ""),
        ("running", ""),
        ("interrupted", "given back"),
        ("waiting", "no route to host"),
        ("over_budget", "25.00 ms of 20.00 ms"),
    ]
    assert {status for status, _ in expected} == set(Status)
    (run_dir / WORKERS).mkdir(exist_ok=True)
    with FileLock(run_dir / WORKERS / "alive.lock"):
        shown = run_cli("pareto", run_dir, "--all", "--format", "csv")
        assert [(row["status"], row["reason"]) for row in csv.DictReader(io.StringIO(shown.stdout))] == expected
        shown = run_cli("pareto", run_dir, "--all", "--format", "json")
        assert [(row["status"], row["reason"] or "") for row in json.loads(shown.stdout)] == expected
    assert so_far(run_dir) == "2 networks finished, 1 failed, 1 over budget, 1 waiting for the device"
    answer = run_cli("profile", f"{run_dir}:5")
    assert answer.returncode == 2
    assert answer.stderr.endswith(" is waiting: no route to host; a finished trial is needed\n")


def test_a_search_in_which_every_network_failed_ends_with_code_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "run.yaml").write_text(RUN)
    opened, trials = resolve(tmp_path / "run.yaml")
    set_up(tmp_path / "run", opened, trials)

    def evaluate(*arguments: Any, **how: Any) -> Score:
        raise TrainingFailure("diverged", "the loss is 9000")

    work(opened, tmp_path / "run", LineReporter(io.StringIO()), MadeUp(evaluate))
    with pytest.raises(typer.Exit) as end:
        conclude(tmp_path / "run", None)
    assert end.value.exit_code == 1
    said = capsys.readouterr().err.splitlines()
    assert said[-2].startswith("0 networks finished, 3 failed")
    assert said[-1].startswith("error: ") and "diverged" in said[-1]


def test_the_budgets_stand_beside_the_front(folder: Path, run_cli: Cli) -> None:
    shown = run_cli("pareto", "run", cwd=folder)
    assert shown.stdout.startswith("budgets: params at most 60.000 k, macs at most 6.000 M\n")
    rows = json.loads(run_cli("pareto", "run", "--format", "json", cwd=folder).stdout)
    assert rows and all(row["budgets"] == {"params": 60_000, "macs": 6_000_000} for row in rows)


def test_a_search_opens_each_thing_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its data, its table of costs and its problem serve from the run file's first check to the last trial."""
    counts: Counter[str] = Counter()

    def counted(name: str, made: Callable[..., Any]) -> Callable[..., Any]:
        def make(*arguments: Any, **options: Any) -> Any:
            counts[name] += 1
            return made(*arguments, **options)

        return make

    monkeypatch.setattr(opening, "Proxy", counted("data", Proxy))
    monkeypatch.setattr(opening, "CostTable", counted("costs", CostTable))
    monkeypatch.setattr(opening, "Problem", counted("problem", opening.Problem))
    (tmp_path / "run.yaml").write_text(RUN.replace("trials: 3", "trials: 1"))
    arguments = ["search", str(tmp_path / "run.yaml"), "--out", str(tmp_path / "run"), "--workers", "1"]
    done = CliRunner().invoke(program.app, arguments, catch_exceptions=False)
    assert done.exit_code == 0
    (found,) = read_run(tmp_path / "run").trials
    assert found.is_finished
    assert counts == {"data": 1, "costs": 1, "problem": 1}


def test_an_untrained_network_of_a_run_is_exported(folder: Path, run_cli: Cli) -> None:
    done = run_cli("export", "run:0", "--out", "net.onnx", cwd=folder)
    assert done.returncode == 0 and "with random weights" in done.stderr
    manifest = json.loads((folder / "net.manifest.json").read_text())
    assert manifest["input"]["shape"] == [1, 3, 32, 64] and manifest["input"]["fit"] == "exact"
    assert manifest["classes"][5]["label"] == "gem_warm" and manifest["classes"][5]["masks"] is None
    assert "untrained" in manifest["provenance"]
