"""`export`: what a file holds beside the network; that `predict` and `evaluate` take it and agree; untrained ones."""

from __future__ import annotations

import json
import runpy
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from coloured_data import COLOURS
from PIL import Image

EXAMPLE = Path(__file__).resolve().parents[3] / "examples" / "run_onnx.py"
Cli = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def ok(trained: Path, run_cli: Cli) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs a command that must succeed, in the folder of the trained network."""

    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        done = run_cli(*arguments, cwd=trained)
        assert done.returncode == 0, done.stderr
        return done

    return run


@pytest.fixture(scope="module")
def files(trained: Path, ok: Callable, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the network as a file that gives logits, and as one that takes pixels and gives labels."""
    folder = tmp_path_factory.mktemp("files")
    ok("export", "net", "--out", folder / "net.onnx")
    ok("export", "net", "--out", folder / "labels.onnx", "--labels", "--normalise")
    return folder


def drawn(ok: Callable, network: Path, image: Path, out: Path, *options: object) -> np.ndarray:
    """The label map that `predict` draws."""
    ok("predict", network, image, "--out", out, "--only", "labels", *options)
    return np.array(Image.open(out / f"{image.stem}.labels.png"))


def test_files_are_predicted_with_as_the_network(files: Path, trained: Path, ok: Callable, tmp_path: Path) -> None:
    image = trained / "data/images/validation/00.png"
    expected = drawn(ok, trained / "net", image, tmp_path / "net")
    for name in ("net.onnx", "labels.onnx"):
        assert (drawn(ok, files / name, image, tmp_path / name) == expected).mean() >= 0.999
    assert (tmp_path / "net.onnx" / "legend.png").exists()
    consumed = runpy.run_path(str(EXAMPLE))["predict"](str(files / "net.onnx"), np.array(Image.open(image)))
    assert (consumed + 1 == expected).mean() >= 0.999


def test_images_of_another_size_need_only_the_file(files: Path, trained: Path, ok: Callable, tmp_path: Path) -> None:
    photo = Image.open(trained / "data/images/validation/01.png").resize((230, 170))
    photo.save(tmp_path / "photo.png")
    file = Path(shutil.copy(files / "net.onnx", tmp_path / "alone.onnx"))
    expected = drawn(ok, trained / "net", tmp_path / "photo.png", tmp_path / "net")
    consumed = runpy.run_path(str(EXAMPLE))["predict"](str(file), np.array(photo))
    assert (consumed + 1 == expected).mean() >= 0.999
    assert (drawn(ok, file, tmp_path / "photo.png", tmp_path / "file") == expected).mean() >= 0.999


def test_files_of_labels_are_scored(files: Path, ok: Callable) -> None:
    network, labels = (
        json.loads(ok("evaluate", name, "--format", "json").stdout) for name in ("net", files / "labels.onnx")
    )
    assert labels["miou"] == pytest.approx(network["miou"], abs=2e-3)
    graph = onnx.load(files / "labels.onnx").graph
    assert graph.output[0].type.tensor_type.elem_type == onnx.TensorProto.UINT8


def test_the_manifest_maps_classes_to_masks(files: Path) -> None:
    classes = json.loads((files / "net.manifest.json").read_text())["classes"]
    assert [(one["class"], one["label"], one["masks"]) for one in classes] == [
        (i, name, [{"value": i + 1, "colour": None}]) for i, name in enumerate(COLOURS)
    ]


def test_a_shape_that_was_not_scored_is_said(trained: Path, ok: Callable, tmp_path: Path) -> None:
    done = ok("export", "net", "--out", tmp_path / "net.onnx", "--size", "32x32", "--labels", "--label-type", "int32")
    assert "images were scored at 64x96; this file has one shape" in done.stderr
    manifest = json.loads((tmp_path / "net.manifest.json").read_text())
    assert manifest["input"]["shape"] == [1, 3, 32, 32] and manifest["output"]["dtype"] == "int32"


def test_the_shape_that_was_seen_is_named(ok: Callable) -> None:
    options = ("--size", "32x32", "--fit", "short_side")
    assert "seen at 32x48, scored" in ok("evaluate", "net", *options).stdout
    assert json.loads(ok("evaluate", "net", *options, "--format", "json").stdout)["seen"] == [[32, 48]]


def test_a_file_has_the_shape_that_keeps_proportions(trained: Path, ok: Callable, run_cli: Cli, tmp_path: Path) -> None:
    shutil.copytree(trained / "net", tmp_path / "net")
    config = json.loads((tmp_path / "net" / "config.json").read_text())
    config.pop("checksum")
    config["architecture"]["size"] = [32, 32]
    config["provenance"]["data"] |= {"size": [32, 32], "fit": "short_side"}
    (tmp_path / "net" / "config.json").write_text(json.dumps(config))
    done = ok("export", tmp_path / "net", "--out", tmp_path / "net.onnx")
    assert "1x3x32x48" in done.stderr and "one shape" not in done.stderr
    alone = Path(shutil.copy(tmp_path / "net.onnx", tmp_path / "alone.onnx"))
    expected = json.loads(ok("evaluate", tmp_path / "net", "--format", "json").stdout)
    for network in (tmp_path / "net.onnx", alone):
        scored = ok("evaluate", network, "--data", trained / "data", "--format", "json")
        found = json.loads(scored.stdout)
        assert (found["seen"], found["fit"]) == (expected["seen"], "short_side") == ([[32, 48]], "short_side")
        assert found["miou"] == pytest.approx(expected["miou"], abs=2e-3)
        assert "not of the data's" not in scored.stderr
    image = trained / "data/images/validation/00.png"
    drawn_by = [drawn(ok, path, image, tmp_path / path.stem) for path in (tmp_path / "net", alone)]
    assert (drawn_by[0] == drawn_by[1]).mean() >= 0.999
    Image.open(image).resize((64, 64)).save(tmp_path / "square.png")
    refused = run_cli("predict", alone, tmp_path / "square.png", "--out", tmp_path)
    assert refused.returncode == 2 and "sees images of 32x48 alone, not 32x32" in refused.stderr


def test_untrained_networks_are_exported(trained: Path, ok: Callable, run_cli: Cli, tmp_path: Path) -> None:
    done = ok("export", "arch.json", "--out", tmp_path / "arch.onnx")
    assert "with random weights" in done.stderr
    manifest = json.loads((tmp_path / "arch.manifest.json").read_text())
    assert manifest["provenance"] == {"untrained": "random weights, seed 0"}
    assert manifest["input"]["scored_at"] is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("net", "--label-type", "int32"), "--label-type: is of class numbers; give --labels, too"),
        (("net", "--labels", "--label-type", "uint9"), "--label-type: unknown 'uint9'; did you mean 'uint8'?"),
        (("net", "--labels", "--label-type", "uint8", "--opset", "13"), "--label-type: uint8 is not possible"),
        (("nothing",), "'nothing' is not a preset's name"),
        (("net", "--data", "data"), "--data: are the images that --fp16 is checked on; give --fp16, too"),
        (("net", "--format", "pt3"), "--format: unknown 'pt3'; did you mean 'pt2'?"),
        (
            ("net", "--format", "pt2", "--fp16"),
            "--fp16, --dynamic, --target: are for ONNX files; leave them out with --format pt2",
        ),
        (("net", "--format", "pt2"), "the name of a file of format pt2 must end in .pt2"),
        (("net", "--dynamic", "width"), "--dynamic: unknown 'width'; allowed: batch, size"),
        (("net", "--fp16", "--data", "elsewhere"), "--data: 'elsewhere' is not a folder"),
    ],
)
def test_mistakes_are_refused(
    options: tuple[str, ...], message: str, trained: Path, run_cli: Cli, tmp_path: Path
) -> None:
    done = run_cli("export", *options, "--out", tmp_path / "net.onnx", cwd=trained)
    assert done.returncode == 2 and message in done.stderr.splitlines()[-1] and not list(tmp_path.iterdir())


def test_files_are_predicted_with_at_their_size(files: Path, trained: Path, run_cli: Cli, tmp_path: Path) -> None:
    image = trained / "data/images/validation/00.png"
    done = run_cli("predict", files / "net.onnx", image, "--out", tmp_path, "--size", "32x32")
    assert done.returncode == 2 and "sees images of 64x96 alone; export it at 32x32" in done.stderr


def test_half_precision_is_checked_on_the_networks_own_images(trained: Path, ok: Callable, tmp_path: Path) -> None:
    done = ok("export", "net", "--out", tmp_path / "net.onnx", "--fp16")
    known = json.loads((tmp_path / "net.manifest.json").read_text())["parity"]["images"]
    assert known["data"] == f"validation images of {trained / 'data'}"
    assert known["pixels"] >= 0.99 and abs(known["miou"] - known["file_miou"]) <= 0.01
    assert f"of the pixels of {known['images']} images (validation images of" in done.stderr
    scored = json.loads(ok("evaluate", tmp_path / "net.onnx", "--format", "json").stdout)
    assert scored["miou"] == pytest.approx(known["file_miou"], abs=1e-6)


def test_without_data_half_precision_is_checked_on_scenes(trained: Path, ok: Callable, tmp_path: Path) -> None:
    assert "images (made scenes)" in ok("export", "arch.json", "--out", tmp_path / "a.onnx", "--fp16").stderr
    assert json.loads((tmp_path / "a.manifest.json").read_text())["parity"]["images"]["miou"] is None


def test_a_file_of_any_batch_is_scored_and_timed_with_one_image(
    files: Path, ok: Callable, run_cli: Cli, tmp_path: Path
) -> None:
    assert "(batch free)" in ok("export", "net", "--out", tmp_path / "net.onnx", "--dynamic", "batch").stderr
    one, other = (json.loads(ok("evaluate", f / "net.onnx", "--format", "json").stdout) for f in (files, tmp_path))
    assert one["miou"] == other["miou"]
    (tmp_path / "devices.yaml").write_text("desk: {kind: host, seconds: 0.01, tolerance: 1000}\n")
    timed = run_cli("latency", "measure", tmp_path / "net.onnx", "--device", "desk", "--format", "json", cwd=tmp_path)
    assert json.loads(timed.stdout)["shape"] == [1, 3, 64, 96] and "one image, 1x3x64x96" in timed.stderr
    refused = run_cli("latency", "measure", tmp_path / "net.onnx", "--size", "64x64")
    assert refused.returncode == 2 and "--size:" in refused.stderr and "alone" in refused.stderr


def test_files_are_timed_as_they_are(files: Path, run_cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "devices.yaml").write_text("desk: {kind: host, seconds: 0.01, tolerance: 1000}\n")
    for name, opset in (("labels.onnx", 17), ("net.onnx", 17)):
        done = run_cli("latency", "measure", files / name, "--device", "desk", "--format", "json", cwd=tmp_path)
        found = json.loads(done.stdout)
        assert (found["device"], found["opset"]) == ("desk", opset) and found["latency_ms"] > 0
        assert found["provenance"].startswith("measured: onnxruntime")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("net.onnx", "--size", "32x32"), "--size: net.onnx takes image: float 1x3x64x96 alone; leave it out"),
        (("net.onnx", "--device", "host-table"), "'host-table' is a device of kind table"),
        (("labels.manifest.onnx",), "labels.manifest.onnx: no such file"),
        (("broken.onnx",), "broken.onnx: not an ONNX file that can be read: "),
    ],
)
def test_what_cannot_be_timed_is_refused(
    arguments: tuple[str, ...], message: str, files: Path, run_cli: Cli, tmp_path: Path
) -> None:
    shutil.copy(files / "net.onnx", tmp_path)
    (tmp_path / "broken.onnx").write_bytes(b"{}")
    done = run_cli("latency", "measure", *arguments, cwd=tmp_path)
    assert done.returncode == 2 and message in done.stderr
