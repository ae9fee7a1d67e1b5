"""`boostformer data check`, and what searches and trainings say and keep of their data."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from coloured_data import write_coloured
from PIL import Image
from search_factories import SMALL

from boostformer.weights.checkpoint import read_config
from search.cli import data as command

Cli = Callable[..., "subprocess.CompletedProcess[str]"]
KEYS = {
    *("root", "kind", "layout", "images", "sizes", "bands", "classes", "ignored", "ignored_by_split", "never"),
    *("one_split_only", "duplicates", "advice", "remarks", "faults", "cache"),
}
RUN = """\
space: small.yaml
data: {root: data, size: 32x64}
proxy: {iterations: 2, batch_size: 2}
search: {trials: 1, strategy: random}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_coloured(tmp_path / "data", training=4, validation=2)
    (tmp_path / "small.yaml").write_text(SMALL)
    (tmp_path / "run.yaml").write_text(RUN)
    return tmp_path


def test_a_sound_data_set(folder: Path, run_cli: Cli) -> None:
    for which in ("data", "run.yaml"):
        done = run_cli("data", "check", which, "--sheet", "sheet.png", cwd=folder)
        assert done.returncode == 0 and "drawn: sheet.png, 6 samples" in done.stderr
        assert "faults   none" in done.stdout and "blue" in done.stdout
        with Image.open(folder / "sheet.png") as sheet:
            assert sheet.format == "PNG" and sheet.width > 1000
        found = json.loads(run_cli("data", "check", which, "--format", "json", cwd=folder).stdout)
        assert found.keys() == KEYS and found["faults"] == [] and found["images"] == {"training": 4, "validation": 2}
    assert any(line.startswith("size 64x96 ") for line in found["advice"])


def test_all_faults_in_one_go(folder: Path, run_cli: Cli) -> None:
    (folder / "data/images/training/00.png").write_bytes(b"nothing")
    (folder / "data/annotations/training/01.png").unlink()
    Image.fromarray(np.full((64, 96), 9, np.uint8)).save(folder / "data/annotations/validation/00.png")
    done = run_cli("data", "check", "data", cwd=folder)
    assert done.returncode == 2 and "faults   3" in done.stdout and done.stderr == ""
    found = run_cli("data", "check", "data", "--format", "json", "--sheet", "x/sheet.png", cwd=folder)
    assert found.returncode == 2 and (folder / "x/sheet.png").is_file()
    document = json.loads(found.stdout)
    assert document.keys() == KEYS
    assert [sorted(fault) for fault in document["faults"]] == [["fault", "file", "remedy"]] * 3
    options = ("--classes", "red,green,blue,a,b,c,d,e,f", "--kind", "ade20k")
    named = json.loads(run_cli("data", "check", "data", *options, "--format", "json", cwd=folder).stdout)
    assert len(named["faults"]) == 2 and named["kind"] == "ade20k"


def test_of_very_many_files_with_one_fault_some_are_shown(
    folder: Path, run_cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "MOST_ALIKE", 2)
    for path in (folder / "data/images/training").iterdir():
        path.write_bytes(b"nothing")
    shown = run_cli("data", "check", "data", cwd=folder).stdout
    assert "faults   4" in shown and "and 2 more files" in shown


def test_reading_many_files_is_shown(folder: Path, run_cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "MANY_FILES", 10)
    done = run_cli("data", "check", "data", cwd=folder, BOOSTFORMER_CACHE=str(folder / "cache"))
    assert "12/12 files read" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("nowhere",), "'nowhere' is neither a folder nor a run file"),
        (("missing.yaml",), "no such file"),
        (("scenes.yaml",), "no files to check"),
        (("data", "--kind", "pets"), "unknown 'pets'"),
        (("data", "--kind", "patterns"), "needs 'images' and 'masks'"),
        (("data", "--ignore", "70000"), "--ignore: '70000'"),
        (("data", "--format", "csv"), "--format: 'csv'"),
        (("data", "--sheet", "sheet.jpg"), "does not end in .png"),
    ],
)
def test_mistakes(folder: Path, run_cli: Cli, arguments: tuple[str, ...], said: str) -> None:
    (folder / "scenes.yaml").write_text(RUN.replace("root: data", "kind: scenes"))
    done = run_cli("data", "check", *arguments, cwd=folder)
    assert done.returncode == 2 and done.stdout == "" and said in done.stderr and done.stderr.startswith("error: ")


def test_a_search_says_and_keeps_what_its_data_hold(folder: Path, run_cli: Cli) -> None:
    done = run_cli("search", "run.yaml", "--out", "run", "--workers", 0, cwd=folder)
    lines = done.stderr.splitlines()
    assert done.returncode == 0 and lines[0].startswith("data: ADE20K's layout")
    assert "4 + 2 images of 96x64, 3 classes" in lines[0] and lines[1].startswith("most frequent: ")
    assert sum("ADE20K's layout" in line for line in lines) == 1
    kept = json.loads((folder / "run/data.json").read_text())
    assert kept["images"] == {"training": 4, "validation": 2} and len(kept["classes"]) == 3
    assert run_cli("search", "run.yaml", "--out", "run", "--workers", 0, cwd=folder).returncode == 0


def test_a_checkpoint_keeps_what_its_data_held(folder: Path, run_cli: Cli) -> None:
    settings = ("--size", "32x64", "--iterations", 2, "--batch-size", 2)
    done = run_cli("train", "boostformer_b0", "--data", "data", *settings, "--out", "net", cwd=folder)
    assert done.returncode == 0 and "data: ADE20K's layout" in done.stderr
    kept = read_config(folder / "net").provenance["data_summary"]
    assert kept["sizes"]["distinct"] == 1 and [one["class"] for one in kept["classes"]] == ["red", "green", "blue"]
