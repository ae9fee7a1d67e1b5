"""`train --teacher`: what it says, what the checkpoint and the manifest keep, and what is refused."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from coloured_data import write_coloured
from search_factories import small

from boostformer.model import BoostFormer, build
from search.cli.teaching import cost_share

Cli = Callable[..., "subprocess.CompletedProcess[str]"]
SHORT = ("--iterations", 1, "--batch-size", 2, "--size", "64x96", "--threads", 1)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A home with data, images without masks, and a network with the data's classes in another order."""
    write_coloured(tmp_path / "data", ["red", "green", "blue"], training=2, validation=1)
    (tmp_path / "more").mkdir()
    (tmp_path / "data" / "images" / "validation").rename(tmp_path / "kept")
    for path in (tmp_path / "kept").iterdir():
        (tmp_path / "more" / f"extra_{path.name}").write_bytes(path.read_bytes())
    (tmp_path / "kept").rename(tmp_path / "data" / "images" / "validation")
    network = build(next(iter(small())).replace(size=(64, 96), classes=3))
    network.labels = ["blue", "red", "green"]
    network.provenance = {"licence": "mit"}
    network.save_pretrained(tmp_path / "teacher")
    return tmp_path


def train(*options: object) -> tuple[object, ...]:
    return ("train", "teacher", "--data", "data", *SHORT, *options)


@pytest.mark.slow
def test_a_teacher_is_said_and_kept(folder: Path, run_cli: Cli) -> None:
    done = run_cli(*train("--teacher", "teacher", "--unlabelled", "more", "--out", "student"), cwd=folder)
    assert done.returncode == 0, done.stderr
    said = done.stderr
    assert "teacher teacher: " in said and "licence mit" in said and "matched by name" in said
    assert "1 image without masks, 33% of those" in said and "25% are the teacher's" in said
    provenance = BoostFormer.load(folder / "student").provenance
    kept = provenance["teacher"]
    assert kept["id"] == "teacher" and kept["licence"] == "mit" and len(kept["sha256"]) == 64
    assert provenance["unlabelled"]["images"] == 1
    assert run_cli("export", "student", "--out", "net.onnx", cwd=folder).returncode == 0
    assert json.loads((folder / "net.manifest.json").read_text())["provenance"]["teacher"] == kept
    weights = BoostFormer.load(folder / "student").state_dict()
    assert weights.keys() == BoostFormer.load(folder / "teacher").state_dict().keys()


@pytest.mark.parametrize(
    ("options", "match"),
    [
        (("--unlabelled", "more"), "--unlabelled more: images without masks teach nothing without --teacher"),
        (("--teacher", "teacher", "--set", "distillation.logits=0"), "nothing is learnt from this teacher"),
        (("--teacher", "nowhere"), "--teacher: nowhere: no such folder"),
        (("--teacher", "teacher", "--set", "distillation.stage_numbers=[7]", "--set", "distillation.stages=1"), "1, 2"),
    ],
)
def test_refusals(folder: Path, run_cli: Cli, options: tuple[object, ...], match: str) -> None:
    done = run_cli(*train(*options, "--out", "student"), cwd=folder)
    assert done.returncode == 2 and match in done.stderr


def test_stored_logits_cost_nothing() -> None:
    class Stored:
        macs = 0

    assert cost_share(Stored(), 100) is None  # type: ignore[arg-type]
