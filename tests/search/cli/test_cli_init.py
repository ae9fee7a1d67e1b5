"""`boostformer init`: a run file for any layout that runs as it was written, and what it refuses."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from coloured_data import write_coloured
from layout_writers import WRITERS, kind_of

from boostformer.data import DataConfig
from boostformer.data.check import check
from search.cli import init as command
from search.cli.first_run import LENGTHS, MOST_TRIALS, Plan, fitted, sizes
from search.config.opening import resolve

Cli = Callable[..., "subprocess.CompletedProcess[str]"]
PLAN = Plan({}, (64, 64), "tiny", 8, 0, {})


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine whose steps take a tenth of a second."""
    monkeypatch.setattr(command, "pace", lambda plan, workers: (0.1, 1.0))


@pytest.mark.parametrize("key", WRITERS)
def test_the_file_for_each_layout_runs_and_means_what_was_seen(
    key: str, quick: None, run_cli: Cli, tmp_path: Path
) -> None:
    root = WRITERS[key](tmp_path)
    kind = ["--kind", kind_of(key)] if kind_of(key) == "patterns" else []
    done = run_cli("init", root, "--out", tmp_path / "runs/run.yaml", *kind, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines()[-1].startswith("  boostformer search ")
    opened, trials = resolve(tmp_path / "runs/run.yaml")
    seen = check(DataConfig(root=root)).meaning
    assert seen is not None and list(opened.experiment.labels) == seen.labels and trials > 1
    assert opened.experiment.data.kind == kind_of(key)
    height, width = opened.experiment.data.size
    assert max(width / height / 1.5, 1.5 * height / width) <= 1.3, "the made images are three to two"


def test_a_measured_file_sets_up_a_search_and_is_not_overwritten(run_cli: Cli, tmp_path: Path) -> None:
    write_coloured(tmp_path / "data", training=8, validation=2)
    made = run_cli("init", "data", "--minutes", 1, "--seed", 7, cwd=tmp_path)
    assert made.returncode == 0, made.stderr
    text = (tmp_path / "run.yaml").read_text()
    assert "root: data " in text and "seed: 7" in text and "ignore: [0, 255]" in text
    set_up = run_cli("search", "run.yaml", "--out", "runs/data", "--workers", 0, cwd=tmp_path)
    assert (
        set_up.returncode == 0 and "seed 7" in set_up.stderr and "changes the images' proportions" not in set_up.stderr
    )
    refused = run_cli("init", "data", cwd=tmp_path)
    assert refused.returncode == 2 and "run.yaml: exists already" in refused.stderr
    assert (tmp_path / "run.yaml").read_text() == text


def test_scenes_without_data(quick: None, run_cli: Cli, tmp_path: Path) -> None:
    assert run_cli("init", cwd=tmp_path).returncode == 0
    opened, _ = resolve(tmp_path / "run.yaml")
    assert opened.experiment.data.kind == "scenes" and opened.experiment.space_name == "tiny"


def test_a_training_part_alone_is_divided(quick: None, run_cli: Cli, tmp_path: Path) -> None:
    write_coloured(tmp_path / "data", training=10, validation=1)
    for part in ("images", "annotations"):
        for path in (tmp_path / "data" / part / "validation").iterdir():
            path.unlink()
        (tmp_path / "data" / part / "validation").rmdir()
    done = run_cli("init", "data", cwd=tmp_path)
    assert done.returncode == 0 and "no validation part" in done.stderr
    assert resolve(tmp_path / "run.yaml")[0].experiment.images == {"training": 8, "validation": 2}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nowhere"], ["'nowhere' is no folder", "allowed"]),
        (["data", "--out", "run.txt"], ["--out", "run.txt", ".yaml"]),
        (["--ignore", "3"], ["DATA", "missing"]),
        (["data"], ["data/images/training/00.png", "boostformer data check"]),
        (["empty"], ["empty: no layout is recognised"]),
    ],
)
def test_what_is_refused(arguments: list[str], said: list[str], run_cli: Cli, tmp_path: Path) -> None:
    write_coloured(tmp_path / "data", training=2, validation=1)
    (tmp_path / "data/images/training/00.png").write_bytes(b"nothing")
    (tmp_path / "empty").mkdir()
    done = run_cli("init", *arguments, cwd=tmp_path)
    assert done.returncode == 2 and not list(tmp_path.glob("*.yaml"))
    assert all(part in done.stderr.splitlines()[-1] for part in said), done.stderr


def test_more_minutes_give_longer_trials_or_more_of_them() -> None:
    found = [fitted(PLAN, 60.0 * minutes, 0.1, 1.0) for minutes in (0.5, 1, 5, 30, 200, 2000)]
    assert found[0] is None
    known = [plan for plan in found if plan is not None]
    assert [plan.iterations for plan in known] == sorted(plan.iterations for plan in known)
    assert all((plan.iterations, least) for plan in known for length, least in LENGTHS if length == plan.iterations)
    assert known[0].iterations == LENGTHS[-1][0] and known[-1].iterations == LENGTHS[0][0]
    assert known[-1].trials == MOST_TRIALS


@pytest.mark.parametrize(
    ("shapes", "first", "keeps"),
    [
        ([(360, 480)] * 3, (96, 128), True),
        ([(1080, 1920)] * 3, (96, 160), True),
        ([(640, 480)] * 3, (128, 96), True),
        ([(100, 500), (500, 100), (300, 300)], (96, 96), False),
        ([(20, 20)] * 2, (64, 64), True),
    ],
)
def test_sizes_keep_proportions_and_shrink(shapes: list[tuple[int, int]], first: tuple[int, int], keeps: bool) -> None:
    found = list(sizes(np.array(shapes), 128 * 192))
    assert found[0] == (first, keeps)
    areas = [height * width for (height, width), _ in found]
    assert areas == sorted(areas, reverse=True) and len(set(areas)) == len(areas)
