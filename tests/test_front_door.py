"""`boostformer` as the one name to type: from Python, and as a program."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import boostformer
from boostformer.extensions import VARIABLE
from boostformer.rooms import open_rooms
from results.run import read_run
from search.cli.program import app

Cli = Callable[..., "subprocess.CompletedProcess[str]"]
REPOSITORY = Path(__file__).resolve().parent.parent


def test_the_public_names_are_listed_and_lead_somewhere() -> None:
    assert dir(boostformer) == sorted(["__version__", *boostformer.__all__])
    assert all(callable(getattr(boostformer, name)) for name in boostformer.__all__)
    assert boostformer.open_run is read_run
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        boostformer.nothing  # noqa: B018


def of_users_folders(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run Python where folders have the names of our packages, and ours come last."""
    for name in ("results", "search"):
        (folder / name).mkdir()
        (folder / name / "__init__.py").write_text("raise SystemExit('the user\\'s own')\n")
    start = f"import sys; sys.path.append({str(REPOSITORY)!r}); sys.argv[0] = 'boostformer'\n"
    return subprocess.run(
        [sys.executable, "-c", start + words[0], *words[1:]],
        cwd=folder,
        env={key: value for key, value in os.environ.items() if key != "PYTHONPATH"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_user_s_folders_do_not_stand_before_ours(tmp_path: Path) -> None:
    code = "import boostformer, sys; boostformer.to_frame; sys.exit('torch' in sys.modules)"
    done = of_users_folders(tmp_path, code)
    assert done.returncode == 0, done.stderr


def test_the_package_is_the_program(tmp_path: Path) -> None:
    code = "import runpy; runpy.run_module('boostformer', run_name='__main__', alter_sys=True)"
    done = of_users_folders(tmp_path, code, "--version")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"boostformer {boostformer.__version__}\n", "")


def test_another_s_module_of_such_a_name_is_not_taken_for_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "results", pytest)
    with pytest.raises(ImportError, match="'results' was imported from elsewhere"):
        open_rooms()


@pytest.mark.parametrize("group", ["latency", "data"])
def test_a_group_without_a_command_shows_its_help(group: str, run_cli: Cli) -> None:
    done = run_cli(group)
    assert done.returncode == 0 and done.stderr == ""
    assert done.stdout.startswith(f"Usage: boostformer {group} [OPTIONS] COMMAND") and "Commands:" in done.stdout


def test_shells_are_told_what_may_follow(run_cli: Cli) -> None:
    asked = {"_BOOSTFORMER_COMPLETE": "complete_bash", "COMP_WORDS": "boostformer re", "COMP_CWORD": "1"}
    assert {"recipes", "retrain"} <= set(run_cli(**asked).stdout.split())


def test_modules_of_the_user_are_kept_for_the_processes_of_a_search(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, "earlier")
    monkeypatch.chdir(tmp_path)
    app(args=["--import", "mine.py", "--import", "other.blocks", "data"], standalone_mode=False)
    assert os.environ[VARIABLE].split(os.pathsep) == ["earlier", f"{tmp_path}/mine.py", "other.blocks"]
