"""`search --from`, `search.first` and `--hours`, each in a process of its own."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from test_cli_search import RUN

from results.run import read_run

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("forked_workers")]
Cli = Callable[..., "subprocess.CompletedProcess[str]"]
INHERITING = RUN.replace("strategy: random", "strategy: random, inherit: always")


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory, run_cli: Cli) -> Path:
    folder = tmp_path_factory.mktemp("original")
    (folder / "run.yaml").write_text(RUN)
    done = run_cli("search", "run.yaml", "--out", "old", "--workers", 1, cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def folder(original: Path, tmp_path: Path) -> Path:
    """A folder with a run file and its run, `old`."""
    return Path(shutil.copytree(original, tmp_path / "copy"))


def test_a_search_with_tighter_budgets_knows_the_results_of_another(folder: Path, run_cli: Cli) -> None:
    sizes = sorted(trial.params for trial in read_run(folder / "old").trials)
    (folder / "run.yaml").write_text(RUN.replace("60k", str(sizes[1])).replace("random}", "random, seed: 5}"))
    command = ("search", "run.yaml", "--from", "old", "--out", "new", "--trials", 2)
    done = run_cli(*command, "--workers", 2, cwd=folder)
    assert done.returncode == 0, done.stderr
    place = folder / "old"
    assert f"known    3 networks known from {place}, 3 in the space, 2 of these within the budgets" in done.stderr
    trials = read_run(folder / "new").trials
    assert [trial.feasible for trial in trials[:3]].count(False) == 1 and len(trials) == 5
    assert all(f"known from {place}:{trial.number}" in trial.provenance for trial in trials[:3])

    shutil.rmtree(place)
    again = run_cli(*command, cwd=folder)
    assert again.returncode == 0 and "3 networks known from" in again.stderr, again.stderr
    more = run_cli("search", "--resume", "new", "--trials", 3, cwd=folder)
    assert more.returncode == 0 and len(read_run(folder / "new").trials) == 6


def test_of_another_recipe_the_weights_serve(folder: Path, run_cli: Cli) -> None:
    (folder / "run.yaml").write_text(INHERITING)
    assert run_cli("search", "run.yaml", "--out", "family", "--workers", 1, cwd=folder).returncode == 0
    (folder / "run.yaml").write_text(INHERITING.replace("iterations: 2", "iterations: 3"))
    command = ("search", "run.yaml", "--from", "family", "--out", "new", "--trials", 1, "--workers", 1)
    refused = run_cli(*command, cwd=folder)
    assert refused.returncode == 2 and not (folder / "new").exists()
    assert refused.stderr.strip().splitlines()[-1] == (
        "error: --from family: its scores do not count here: proxy.iterations is 2 there, 3 here; --as-parents takes "
        "its weights alone"
    )
    done = run_cli(*command, "--as-parents", cwd=folder)
    assert done.returncode == 0, done.stderr
    [trial] = read_run(folder / "new").trials
    assert trial.parent is not None and trial.parent.id in {t.id for t in read_run(folder / "family").trials}
    assert f"inherited from {trial.parent.id}" in trial.provenance and trial.behind > 3


def test_a_search_ends_after_its_hours(folder: Path, run_cli: Cli) -> None:
    command = ("search", "run.yaml", "--out", "short", "--trials", 40, "--workers", 1)
    done = run_cli(*command, "--hours", 1e-9, cwd=folder)
    assert done.returncode == 0, done.stderr
    assert "the search ends early: its 1e-09 hours are used up" in done.stderr
    assert len(read_run(folder / "short").trials) < 40


def test_options_that_do_not_belong_together_are_refused(folder: Path, run_cli: Cli) -> None:
    for options, said in (
        (("run.yaml", "--out", "new", "--as-parents"), "--as-parents: is for --from RUN_DIR"),
        (("--resume", "old", "--from", "old"), "--resume RUN_DIR: stands alone"),
        (("run.yaml", "--out", "new", "--from", "nowhere"), "nowhere"),
        (("run.yaml", "--out", "new", "--hours", "0"), "--hours"),
    ):
        refused = run_cli("search", *options, cwd=folder)
        assert refused.returncode == 2 and said in refused.stderr, refused.stderr
        assert "Traceback" not in refused.stderr
