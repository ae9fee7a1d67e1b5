"""Grey and four-band images from the data set to the board's file."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from coloured_data import write_coloured
from PIL import Image
from search_factories import small

from boostformer.model import BoostFormer, build

Cli = Callable[..., "subprocess.CompletedProcess[str]"]
SHORT = ("--iterations", 2, "--batch-size", 2)


def write_bands(root: Path, bands: int) -> Path:
    """The data set with colours as grey, or with a fourth band of random numbers."""
    write_coloured(root, training=3, validation=2)
    rng = np.random.default_rng(0)
    for file in (root / "images").rglob("*.*"):
        image = Image.open(file).convert("RGB")
        file.unlink()
        if bands == 1:
            image = image.convert("L")
        else:
            image.putalpha(Image.fromarray(rng.integers(0, 256, image.size[::-1], dtype=np.uint8)))
        image.save(file.with_suffix(".png"))
    return root


def ok(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 0, done.stderr
    return done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("bands", [1, 4])
def test_bands_are_carried_from_the_data_to_the_board(tmp_path: Path, run_cli: Cli, bands: int) -> None:
    write_bands(tmp_path / "data", bands)
    write_coloured(tmp_path / "colours", training=2, validation=1)
    arch = next(iter(small())).replace(size=(64, 96))
    build(arch).save_pretrained(tmp_path / "start")
    data = f"data: {{kind: ade20k, root: data, size: 64x96, bands: {bands}}}\n"
    (tmp_path / "run.yaml").write_text(f"space: tiny\n{data}")
    (tmp_path / "other.yaml").write_text("space: tiny\ndata: {kind: ade20k, root: colours, size: 64x96}\n")
    train = ("train", "start", "--data", "run.yaml", "--init", "start", "--out", "ckpt", *SHORT)
    said = ok(run_cli(*train, cwd=tmp_path))
    assert "starts from start: " in said and "fresh: " in said

    config = json.loads((tmp_path / "ckpt" / "config.json").read_text())
    model = BoostFormer.load(tmp_path / "ckpt")
    assert config["architecture"]["bands"] == model.architecture.bands == bands
    pixels = np.concatenate([
        np.array(Image.open(file)).reshape(-1, bands) for file in (tmp_path / "data/images/training").iterdir()
    ]) / 255  # fmt: skip
    assert model.normalisation is not None
    np.testing.assert_allclose(model.normalisation.mean, pixels.mean(0), atol=0.02)
    np.testing.assert_allclose(model.normalisation.std, pixels.std(0), atol=0.05)
    assert config["normalisation"] == {key: list(getattr(model.normalisation, key)) for key in ("mean", "std")}

    scored = run_cli("evaluate", "ckpt", "--format", "json", cwd=tmp_path)
    assert ok(scored) is not None
    assert json.loads(scored.stdout)["miou"] == config["provenance"]["metrics"]["miou"]
    assert ok(run_cli("evaluate", "ckpt", "--data", "data", cwd=tmp_path)) is not None
    best = BoostFormer.load(tmp_path / "ckpt" / "best")
    assert best.normalisation == model.normalisation and best.picture == model.picture is not None
    refused = run_cli("evaluate", "ckpt", "--data", "other.yaml", cwd=tmp_path)
    assert refused.returncode == 2 and f"`bands: rgb` reads 3, but ckpt is of {bands}" in refused.stderr

    image = next((tmp_path / "data/images/validation").iterdir())
    done = run_cli("predict", "ckpt", image, "--out", "seen", cwd=tmp_path)
    assert ("overlays show the first three of 4 bands" in ok(done)) == (bands == 4)
    labels = np.array(Image.open(tmp_path / "seen" / f"{image.stem}.labels.png"))
    assert labels.shape == np.array(Image.open(image)).shape[:2] and labels.min() >= 1
    colour = next((tmp_path / "colours/images/validation").iterdir())
    refused = run_cli("predict", "ckpt", colour, "--out", "seen", cwd=tmp_path)
    assert refused.returncode == 2
    assert ("is in colour" in refused.stderr) if bands == 1 else ("has 3 bands, but `bands: 4`" in refused.stderr)

    assert f"1x{bands}x64x96" in ok(run_cli("export", "ckpt", "--out", "net.onnx", cwd=tmp_path))
    graph = onnx.load(tmp_path / "net.onnx").graph
    assert [d.dim_value for d in graph.input[0].type.tensor_type.shape.dim] == [1, bands, 64, 96]
    manifest = json.loads((tmp_path / "net.manifest.json").read_text())
    assert manifest["input"]["shape"] == [1, bands, 64, 96] and "RGB" not in manifest["input"]["layout"]
    assert {key: manifest["input"][key] for key in ("bands", "levels", "mean", "std")} == {
        "bands": bands, "levels": None, **config["normalisation"],
    }  # fmt: skip
    assert manifest["parity"]["max_relative_difference"] < manifest["parity"]["allowed"]


def test_a_search_has_networks_for_the_bands_of_its_data(tmp_path: Path, run_cli: Cli) -> None:
    write_bands(tmp_path / "data", 4)
    data = "data: {kind: ade20k, root: data, size: 64x96, bands: 4}"
    (tmp_path / "run.yaml").write_text(f"space: tiny\n{data}\nsearch: {{trials: 1}}\n")
    assert ok(run_cli("search", "run.yaml", "--workers", 0, "--out", "run", cwd=tmp_path)) is not None
    assert ok(run_cli("search", "run.yaml", "--workers", 0, "--out", "run", cwd=tmp_path)) is not None  # goes on
