"""`boostformer pareto RUN_A RUN_B`: one front of several runs."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from search_factories import SMALL, opened, run

from search_space import space_from_yaml

Cli = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs `a` and `b` of two spaces, and `other` of another recipe."""
    folder = tmp_path_factory.mktemp("together")
    wider = space_from_yaml(SMALL.replace("width: [8, 16]", "width: [8, 24]"), "wider.yaml")
    run(folder / "a", 4, search=opened(space_from_yaml(SMALL, "small.yaml")))
    run(folder / "b", 4, search=opened(wider, limits={"params": 50_000}, seed=5))
    run(folder / "other", 1, search=opened(wider, proxy={"iterations": 3}))
    return folder


def test_runs_have_one_front(folder: Path, run_cli: Cli) -> None:
    shown = run_cli("pareto", "a", "b", "--format", "json", cwd=folder)
    assert shown.returncode == 0, shown.stderr
    rows = json.loads(shown.stdout)
    assert {row["run"] for row in rows} == {"a", "b"}
    assert [row["params"] for row in rows] == sorted(row["params"] for row in rows)
    assert "b: params at most 50.000 k" in shown.stderr
    every = json.loads(run_cli("pareto", "a", "b", "--all", "--format", "json", cwd=folder).stdout)
    assert len(every) == 8
    table = run_cli("pareto", "a", "b", cwd=folder)
    assert table.stdout.splitlines()[1].split()[1] == "run"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("a", "other"), "other: cannot be compared with a: their proxy.iterations differ (2 and 3)"),
        (("a", "b", "--plot", "x.png"), "--plot: is for one run"),
        (("a", "b", "./a"), "a: is named twice"),
        (("a", "nothing"), "run directory nothing does not exist"),
    ],
)
def test_what_cannot_be_one_front_is_refused(folder: Path, run_cli: Cli, arguments: tuple[str, ...], said: str) -> None:
    refused = run_cli("pareto", *arguments, cwd=folder)
    assert (refused.returncode, refused.stdout) == (2, "") and said in refused.stderr
