"""Options of `evaluate`: how images are seen, what is written beside the table, exported files; and what is refused."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from coloured_data import COLOURS
from PIL import Image

from boostformer.data import DataConfig, open_split
from boostformer.model import BoostFormer
from boostformer.training.evaluation import evaluate_fully
from boostformer.training.views import View

SIZE = (64, 96)


@pytest.fixture
def evaluate(trained: Path, run_cli: Callable) -> Callable[..., dict[str, Any]]:
    """Evaluates a network with options; gives what it prints as JSON."""

    def run(*options: object, network: Path = trained / "net") -> dict[str, Any]:
        done = run_cli("evaluate", network, "--format", "json", *options)
        assert done.returncode == 0, done.stderr
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    return run


@pytest.fixture
def refused(trained: Path, run_cli: Callable) -> Callable[..., str]:
    def run(*options: object, network: Path = trained / "net") -> str:
        done: subprocess.CompletedProcess[str] = run_cli("evaluate", network, *options)
        assert done.returncode == 2 and not done.stdout, done.stderr
        return done.stderr.splitlines()[-1]

    return run


@pytest.fixture(scope="module")
def exported(trained: Path, tmp_path_factory: pytest.TempPathFactory, run_cli: Callable) -> Path:
    file = tmp_path_factory.mktemp("exported") / "net.onnx"
    done = run_cli("export", trained / "net", "--out", file)
    assert done.returncode == 0, done.stderr
    return file


def test_json_has_all_scores_by_stable_keys(trained: Path, evaluate: Callable) -> None:
    found = evaluate("--boundary")
    split = open_split(DataConfig(root=trained / "data", size=SIZE), "validation")
    metrics = evaluate_fully(BoostFormer.load(trained / "net"), split, size=SIZE, boundary=True).metrics
    assert found["miou"] == pytest.approx(metrics.miou) and found["boundary_miou"] == pytest.approx(
        metrics.boundary_miou
    )
    assert 0 < found["boundary_miou"] < found["dice"] and found["images"] == 4
    for index, name in enumerate(COLOURS):
        assert found["classes"][name] == {
            "iou": found["per_class"][name],
            "precision": metrics.precision[index],
            "recall": metrics.recall[index],
            "dice": metrics.dice_per_class[index],
            "boundary_iou": metrics.boundary_per_class[index],
            "pixels": metrics.pixels[index],
        }
    plain = evaluate()
    assert plain.keys() == found.keys() and plain["boundary_miou"] is None
    assert plain["per_image"] is plain["confusion"] is plain["worst"] is None
    assert (plain["mode"], plain["fit"], plain["scales"], plain["flip"]) == ("whole", "exact", [1.0], False)


def test_the_table_shows_precision_and_recall(trained: Path, run_cli: Callable) -> None:
    done = run_cli("evaluate", trained / "net", "--format", "csv")
    header, *rows = csv.reader(done.stdout.splitlines())
    assert header[:4] == ["class", "iou_percent", "precision_percent", "recall_percent"] and len(rows) == 3
    assert "boundary_iou_percent" not in header


def test_images_are_seen_as_asked(trained: Path, evaluate: Callable) -> None:
    network = BoostFormer.load(trained / "net")
    split = open_split(DataConfig(root=trained / "data", size=(32, 64), fit="short_side"), "validation")
    view = View("slide", 0.5, (1.0, 1.5), True)
    expected = evaluate_fully(network, split, size=(32, 64), view=view).metrics
    options = ("--size", "32x64", "--fit", "short_side", "--mode", "slide", "--overlap", 0.5, "--scales", "1,1.5")
    found = evaluate(*options, "--flip")
    assert found["miou"] == pytest.approx(expected.miou)
    assert (found["mode"], found["overlap"], found["scales"], found["flip"]) == ("slide", 0.5, [1.0, 1.5], True)
    assert found["miou"] != evaluate(*options)["miou"] != evaluate("--size", "32x64")["miou"]


def test_what_is_written_agrees_with_the_scores(tmp_path: Path, evaluate: Callable) -> None:
    found = evaluate("--per-image", tmp_path / "new/images.csv", "--confusion", tmp_path / "confusion.csv")
    with (tmp_path / "new/images.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [row["name"] for row in rows] == [image["name"] for image in found["per_image"]] and len(rows) == 4
    for row, image in zip(rows, found["per_image"], strict=True):
        assert float(row["miou"]) == image["miou"] == pytest.approx(np.mean(list(image["per_class"].values())))
        assert float(row["iou red"]) == image["per_class"]["red"]
    with (tmp_path / "confusion.csv").open() as stream:
        header, *lines = csv.reader(stream)
    counts = np.array([line[1:] for line in lines], int)
    assert header[1:] == [line[0] for line in lines] == found["confusion"]["classes"] == list(COLOURS)
    assert counts.tolist() == found["confusion"]["counts"]
    assert counts.trace() / counts.sum() == pytest.approx(found["accuracy"])


def test_the_confusion_is_drawn(tmp_path: Path, evaluate: Callable) -> None:
    evaluate("--confusion", tmp_path / "confusion.png")
    with Image.open(tmp_path / "confusion.png") as picture:
        assert picture.format == "PNG" and len(picture.convert("RGB").getcolors(1 << 20) or []) > 20


def test_the_worst_images_are_drawn(tmp_path: Path, trained: Path, evaluate: Callable) -> None:
    found = evaluate("--worst", 2, "--out", tmp_path / "worst", "--per-image", tmp_path / "images.csv")
    lowest = sorted(image["miou"] for image in found["per_image"])[:2]
    assert [one["miou"] for one in found["worst"]] == lowest
    assert sorted(file.name for file in (tmp_path / "worst").iterdir()) == [
        Path(one["file"]).name for one in found["worst"]
    ]
    name = found["worst"][0]["name"]
    photo = np.array(Image.open(trained / f"data/images/validation/{Path(name).stem}.png"))
    drawn = np.array(Image.open(found["worst"][0]["file"]))
    assert (drawn[:64, :96] == photo).all() and (drawn[:64, 100:196] != photo).any()


def test_exported_files_score_as_the_network(exported: Path, trained: Path, evaluate: Callable) -> None:
    usual, found = evaluate("--boundary"), evaluate("--boundary", network=exported)
    assert found["miou"] == pytest.approx(usual["miou"], abs=2e-3)
    assert found["accuracy"] == pytest.approx(usual["accuracy"], abs=2e-3)
    assert found["id"] == usual["id"] and list(found["classes"]) == list(COLOURS)
    windows = ("--mode", "slide", "--scales", "1.5")
    assert evaluate(*windows, network=exported)["miou"] == pytest.approx(evaluate(*windows)["miou"], abs=2e-3)


def test_exported_files_without_a_manifest_take_data(
    tmp_path: Path, exported: Path, trained: Path, evaluate: Callable, refused: Callable
) -> None:
    file = Path(shutil.copy(exported, tmp_path / "alone.onnx"))
    assert "--data is missing" in refused(network=file)
    assert evaluate("--data", trained / "data", network=file)["miou"] == evaluate(network=exported)["miou"]
    shutil.copy(exported.with_name("net.manifest.json"), tmp_path / "alone.manifest.json")
    graph = onnx.load(file)
    graph.doc_string = "changed"
    onnx.save(graph, file)
    assert "is of another alone.onnx" in refused(network=file)
    (tmp_path / "alone.manifest.json").write_text("[]")
    assert "alone.manifest.json: not a manifest" in refused(network=file)
    del graph.metadata_props[:]
    onnx.save(graph, file)
    assert "does not say which network it holds" in refused(network=file)
    file.write_text("no graph")
    assert "alone.onnx: cannot be read by ONNX Runtime" in refused(network=file)
    assert "missing.onnx: no such file" in refused(network=tmp_path / "missing.onnx")


def test_exported_files_have_one_size(exported: Path, refused: Callable) -> None:
    assert "sees images of 64x96 alone; export it at 32x32" in refused("--size", "32x32", network=exported)
    assert "sees images of 64x96 alone, not 32x48" in refused("--scales", "0.5", network=exported)
    assert "leave out --device and --precision" in refused("--precision", "bf16", network=exported)


def test_bfloat16_is_near(evaluate: Callable) -> None:
    found = evaluate("--precision", "bf16", "--device", "cpu")
    assert found["miou"] == pytest.approx(evaluate()["miou"], abs=0.05) and found["precision"] == "bf16"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--mode", "slides"), "--mode: unknown 'slides'; did you mean 'slide'?"),
        (("--overlap", 0.5), "--overlap: is of windows"),
        (("--mode", "slide", "--overlap", 1.5), "--overlap: 1.5 is not a share"),
        (("--scales", "1,x"), "--scales: 'x' is not a number from 0.1 to 8"),
        (("--scales", "1,0"), "--scales: '0' is not a number"),
        (("--scales", "nan"), "--scales: 'nan' is not a number"),
        (("--scales", "1,1.0"), "names a scale twice"),
        (("--fit", "long_side"), "--fit: unknown 'long_side'"),
        (("--worst", 3), "--worst, --out"),
        (("--per-image", "images.txt"), "--per-image: images.txt: cannot be written as '.txt'; allowed: .csv"),
        (("--confusion", "confusion.jpg"), "confusion.jpg: cannot write a confusion matrix as '.jpg'"),
        (("--device", "tpu"), "--device: unknown 'tpu'"),
        (("--precision", "fp8"), "--precision: unknown 'fp8'"),
        (("--precision", "fp16", "--device", "cpu"), "'fp16' is not computed on a CPU"),
    ],
)
def test_options_are_refused(options: tuple[object, ...], message: str, refused: Callable) -> None:
    assert message in refused(*options)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_refused(refused: Callable) -> None:
    assert "torch finds no GPU" in refused("--device", "cuda")


def test_memory_that_does_not_suffice_is_one_line(
    trained: Path, run_cli: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    def greedy(self: BoostFormer, x: torch.Tensor) -> torch.Tensor:
        return torch.empty(2**60)

    monkeypatch.setattr(BoostFormer, "forward", greedy)
    done = run_cli("evaluate", trained / "net")
    assert done.returncode == 1 and not done.stdout
    assert done.stderr.splitlines()[-1].startswith("error: scoring ended without a result: out_of_memory")


def test_predictions_of_another_precision_are_near(tmp_path: Path, trained: Path, run_cli: Callable) -> None:
    maps = []
    for precision in ("fp32", "bf16"):
        options = ("--device", "cpu", "--precision", precision, "--out", tmp_path / precision)
        done = run_cli("predict", trained / "net", trained / "data/images/validation/00.png", *options)
        assert done.returncode == 0, done.stderr
        maps.append(np.array(Image.open(tmp_path / precision / "00.labels.png")))
    assert (maps[0] == maps[1]).mean() > 0.9


def test_all_images_of_a_folder_are_drawn(tmp_path: Path, trained: Path, run_cli: Callable) -> None:
    command = ("predict", trained / "net", trained / "data/images", "--out", tmp_path / "drawn", "--only")
    done = run_cli(*command, "overlay")
    assert done.returncode == 0, done.stderr
    images = {file.relative_to(trained / "data/images").with_suffix("") for file in trained.glob("data/images/*/*.png")}
    drawn = {file.relative_to(tmp_path / "drawn") for file in tmp_path.glob("drawn/*/*.png")}
    assert drawn == {image.with_name(f"{image.name}.overlay.png") for image in images}
    assert (tmp_path / "drawn/legend.png").is_file()
    done = run_cli(*command, "mask")
    assert done.returncode == 2 and "--only: unknown 'mask'" in done.stderr
