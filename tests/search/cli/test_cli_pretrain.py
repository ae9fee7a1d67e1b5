"""The command `pretrain`, and training that starts from its result."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from data_fixtures import write_dataset, write_tiny_imagenet
from disk_record import Disk

from boostformer import build, presets
from boostformer.training import Recipe
from search.cli.sitting import sitting


@pytest.mark.slow
def test_an_encoder_is_pretrained_and_started_from(
    tmp_path: Path, run_cli: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    write_tiny_imagenet(tmp_path / "pictures")
    write_dataset(tmp_path / "streets")

    def ok(*arguments: object) -> str:
        done = run_cli(*arguments, "--iterations", 2, "--batch-size", 2, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        return done.stderr

    said = ok("pretrain", "boostformer_b0", "--data", "pictures", "--size", "64x64", "--out", "encoder")
    assert "top-1 accuracy" in said and "on 6 images" in said
    assert said.endswith("next:\n  boostformer train boostformer_b0 --init encoder --data DIR --out checkpoint\n")
    config = json.loads((tmp_path / "encoder" / "config.json").read_text())
    assert (config["kind"], len(config["labels"])) == ("classifier", 3)
    assert config["provenance"]["recipe"]["lr"] == pytest.approx(5e-4 * 2 / 512)
    train = ("train", "boostformer_b0", "--data", "streets", "--size", "32x64")
    ok(*train, "--init", "encoder", "--out", "net")
    provenance = json.loads((tmp_path / "net" / "config.json").read_text())["provenance"]
    assert provenance["initialised_from"]["id"] == "encoder" and provenance["recipe_name"] == "mmseg-160k"
    refused = run_cli("train", "segformer_b5", "--data", "streets", "--init", "encoder", "--out", "no", cwd=tmp_path)
    assert refused.returncode == 2 and "of the encoder's numbers can be taken" in refused.stderr


def test_the_training_s_state_goes_when_the_checkpoint_is_on_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = build(presets.load("boostformer_b0", classes=3, size=(32, 32)))
    with sitting(tmp_path / "net", Recipe()) as (state, _):
        state.mkdir()
        disk = Disk(tmp_path / "net", monkeypatch)
        model.save_pretrained(tmp_path / "net")
    files = ("model.safetensors", "README.md", "preprocessor_config.json", "config.json")
    assert disk.happened == [
        *(f"sync {name} draft" for name in files),
        *(line for name in files for line in (f"rename {name} draft -> {name}", "sync .")),
        "remove training-state",
    ]
