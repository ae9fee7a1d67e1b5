"""`--where` on the commands that show and pick networks of a run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from search_factories import opened, run
from typer.testing import CliRunner

from results.pareto import pick
from results.run import read_run
from search.cli import program


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    run(tmp_path / "run", 12, search=opened(limits={}))
    return tmp_path / "run"


def told(*arguments: object) -> tuple[int, str, str]:
    done = CliRunner().invoke(program.app, list(map(str, arguments)))
    error = str(done.exception) if done.exception and not isinstance(done.exception, SystemExit) else done.stderr
    return done.exit_code, done.stdout, error


def test_pareto_shows_the_front_of_what_satisfies(run_dir: Path) -> None:
    trials = read_run(run_dir).trials
    middle = sorted(trial.params for trial in trials)[6]
    code, shown, _ = told("pareto", run_dir, "--where", f"params<{middle}", "--format", "json")
    rows = json.loads(shown)
    assert code == 0 and rows and all(row["params"] < middle for row in rows)
    _, shown, _ = told("pareto", run_dir, "--all", "--where", f"params<{middle}", "--format", "json")
    assert len(json.loads(shown)) == 6
    code, _, error = told("pareto", run_dir, "--where", "params<1")
    assert code == 0 and "no network of the run satisfies --where 'params<1'" in error
    code, _, error = told("pareto", run_dir, "--where", "parms<1")
    assert code != 0 and "did you mean 'params'" in error


def test_export_takes_what_a_rule_picks(run_dir: Path, tmp_path: Path) -> None:
    run_of = read_run(run_dir)
    middle = sorted(trial.params for trial in run_of.trials)[6]
    wanted = pick(run_of.trials, run_of.objectives, "best-miou", f"params<{middle}")
    assert wanted != pick(run_of.trials, run_of.objectives, "best-miou")
    out = tmp_path / "net.onnx"
    code, _, error = told("export", f"{run_dir}:best-miou", "--where", f"params<{middle}", "--out", out)
    assert code == 0 and wanted.id in error, error
    for network in (run_dir, f"{run_dir}:3", "segformer_b0"):
        code, _, error = told("export", network, "--where", "params<3M", "--out", out)
        assert code != 0 and "--where: " in error, error


def test_retrain_picks_under_the_constraints(run_dir: Path, tmp_path: Path) -> None:
    for options, said in (
        (("--trial", 3, "--where", "params<3M"), "--trial, --where: give one of them"),
        (("--where", "params<1"), "cannot pick 'knee': no network of the run satisfies"),
        (("--pick", "fastest", "--where", "params<3M"), "cannot pick 'fastest': no latency_ms"),
    ):
        code, _, error = told("retrain", run_dir, "--out", tmp_path / "net", *options)
        assert code != 0 and said in error, error
