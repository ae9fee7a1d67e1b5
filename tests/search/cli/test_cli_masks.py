"""Commands say what mask values were taken to be, and take them as their options tell."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from data_fixtures import write_dataset

RUN = """\
space: tiny
data: {kind: ade20k, root: data, size: 32x64}
proxy: {iterations: 2, batch_size: 2}
search: {trials: 1}
"""
SAID = "data: mask value 0 is ignored, "


def test_training_and_scoring(tmp_path: Path, run_cli: Callable) -> None:
    write_dataset(tmp_path / "data")
    settings = {"cwd": tmp_path, "BOOSTFORMER_CACHE": str(tmp_path / "cache")}
    train = ("train", "boostformer_b0", "--data", "data", "--size", "32x64", "--iterations", 2, "--batch-size", 2)
    plain = run_cli(*train, "--out", "plain", **settings)
    assert plain.returncode == 0 and SAID in plain.stderr
    told = run_cli(*train, "--background", "ground", "--out", "told", **settings)
    assert told.returncode == 0 and SAID not in told.stderr
    for scored in (("evaluate", "told"), ("evaluate", "told", "--data", "data")):
        done = run_cli(*scored, "--format", "json", **settings)
        assert list(json.loads(done.stdout)["per_class"]) == ["ground", "class_1", "class_2", "class_3", "class_4"]
    assert SAID in run_cli("evaluate", "plain", **settings).stderr


def test_a_search(tmp_path: Path, apart: Path, run_cli: Callable) -> None:
    write_dataset(tmp_path / "data")
    (tmp_path / "run.yaml").write_text(RUN)
    done = run_cli("search", "run.yaml", "--out", "run", "--workers", 0, cwd=tmp_path)
    assert done.returncode == 0 and SAID in done.stderr
