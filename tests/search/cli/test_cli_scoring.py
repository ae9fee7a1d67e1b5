"""Scoring that dies after a training: the trained network is saved, and nothing is trained again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from data_fixtures import write_dataset

from boostformer import training
from boostformer.model import BoostFormer
from boostformer.training import TrainingFailure

SIZES = ("--size", "32x32", "--iterations", 2, "--batch-size", 2, "--threads", 1)
TRAIN = ("train", "boostformer_b0", *SIZES, "--out", "net")


@pytest.fixture
def data(tmp_path: Path) -> str:
    return str(write_dataset(tmp_path / "data"))


def test_a_network_whose_scoring_died_is_saved_and_scored_later(
    tmp_path: Path, data: str, run_cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BOOSTFORMER_CACHE", str(tmp_path / "cache"))

    def die(*arguments: object, **options: object) -> None:
        raise TrainingFailure("out_of_memory", "no memory left")

    with monkeypatch.context() as patch:
        patch.setattr(training, "evaluate", die, raising=False)
        done = run_cli(*TRAIN, "--data", data, cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        "error: scoring ended without a result: out_of_memory: no memory left; "
        "the trained network is saved: boostformer evaluate net"
    )
    weights = (tmp_path / "net/model.safetensors").read_bytes()
    assert "metrics" not in BoostFormer.load(tmp_path / "net").provenance

    scored = run_cli("evaluate", "net", "--format", "json", cwd=tmp_path)
    assert scored.returncode == 0, scored.stderr

    repeated = run_cli(*TRAIN, "--data", data, cwd=tmp_path)
    assert repeated.returncode == 0, repeated.stderr
    assert "resumed after iteration 2" in repeated.stderr
    assert (tmp_path / "net/model.safetensors").read_bytes() == weights
    provenance = BoostFormer.load(tmp_path / "net").provenance
    assert provenance["metrics"]["miou"] == json.loads(scored.stdout)["miou"]
    assert not (tmp_path / "net/training-state").exists()

    again = run_cli(*TRAIN, "--data", data, cwd=tmp_path)
    assert again.returncode == 2 and "already holds a config.json" in again.stderr


def test_fp16_on_a_cpu_is_refused_before_anything_is_trained(tmp_path: Path, data: str, run_cli) -> None:
    done = run_cli(*TRAIN, "--data", data, "--precision", "fp16", cwd=tmp_path, BOOSTFORMER_CACHE=str(tmp_path / "c"))
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == (
        "error: precision: 'fp16' cannot be trained on a CPU, allowed here: fp32, bf16"
    )
    assert not (tmp_path / "net/config.json").exists()
