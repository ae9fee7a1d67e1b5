"""An exported file is enough: the shipped example, which reads nothing else, agrees with `predict`."""

from __future__ import annotations

import json
import runpy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from test_model import small

from boostformer import BoostFormer, build
from boostformer.architecture import BlockSpec
from boostformer.deploy.export import export_onnx
from boostformer.deploy.manifest import Form, described_classes, described_input, scored_shape, shape_remark
from boostformer.deploy.onnx_network import OnnxNetwork
from boostformer.errors import UserError
from boostformer.predict import predict_array

EXAMPLE = Path(__file__).resolve().parents[3] / "examples" / "run_onnx.py"
SIZE = (64, 96)
CONTENT = {"class": "a", "values": [3, 9], "colours": ["#ff0000", None]}

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


def network(size: tuple[int, int] = SIZE, fit: str = "exact", image: tuple[int, int] = SIZE) -> BoostFormer:
    """Random weights whose classes all occur, as if trained on images of one size; quick to export."""
    torch.manual_seed(0)
    arch = small().replace(size=size)
    plain = {"mixer": BlockSpec.of("identity"), "ffn": BlockSpec.of("mix_ffn", ratio=1)}
    model = build(replace(arch, stages=tuple(replace(stage, width=8, **plain) for stage in arch.stages))).eval()
    with torch.no_grad():
        model.decoder.classifier.weight.mul_(50)
    model.labels = list("abcde")
    sizes = {"smallest": list(image), "median": list(image), "largest": list(image), "distinct": 1}
    classes = [CONTENT, *({"class": name, "values": [], "colours": []} for name in "bcde")]
    model.provenance = {
        "data": {"size": list(size), "fit": fit, "overlap": 0.5, "bands": "rgb", "levels": None},
        "data_summary": {"sizes": sizes, "classes": classes},
    }
    return model


def picture(height: int, width: int) -> np.ndarray:
    """Smooth patches with some noise."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (5, 7, 3)).astype(float)
    rows, columns = np.arange(height) * 5 // height, np.arange(width) * 7 // width
    return np.clip(coarse[rows][:, columns] + rng.normal(0, 8, (height, width, 3)), 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def consume() -> Callable[[Path, np.ndarray], np.ndarray]:
    predict = runpy.run_path(str(EXAMPLE))["predict"]
    return lambda file, image: predict(str(file), image)


def agreement(found: np.ndarray, expected: np.ndarray) -> float:
    assert found.shape == expected.shape and len(np.unique(expected)) > 1
    return float((found == expected).mean())


@pytest.mark.parametrize("shape", [(150, 211), (64, 96), (50, 90), (40, 200)])
def test_the_example_resizes_as_predict_does(shape: tuple[int, int], exact: Path, consume: Callable) -> None:
    image = picture(*shape)
    assert agreement(consume(exact, image), predict_array(network(), image, SIZE)) >= 0.999


@pytest.fixture(scope="module")
def exact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export_onnx(network(), tmp_path_factory.mktemp("exact") / "net.onnx").file


def test_the_shape_is_the_one_that_was_scored(tmp_path: Path, consume: Callable) -> None:
    model, image = network((64, 64), "short_side", (120, 160)), picture(120, 160)
    done = export_onnx(model, tmp_path / "net.onnx")
    assert done.shape == (1, 3, 64, 85) and model.architecture.size == (64, 64)
    said = json.loads(done.manifest.read_text())["input"]
    assert (said["fit"], said["size"], said["scored_at"]["median"]) == ("short_side", [64, 64], [64, 85])
    assert agreement(consume(done.file, image), predict_array(model, image, (64, 64), "short_side")) >= 0.999


@pytest.mark.parametrize("shape", [(100, 150), (50, 60)])
def test_windows_are_those_of_predict(shape: tuple[int, int], tile: Path, consume: Callable) -> None:
    model, image = network(SIZE, "tile"), picture(*shape)
    assert agreement(consume(tile, image), predict_array(model, image, SIZE, "tile", 0.5)) >= 0.999


@pytest.fixture(scope="module")
def tile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export_onnx(network(SIZE, "tile"), tmp_path_factory.mktemp("tile") / "net.onnx").file


@pytest.mark.parametrize(("labels", "opset"), [("uint8", 17), ("int32", 13)])
def test_labels_and_pixels_inside_give_the_same_map(labels: Any, opset: int, tmp_path: Path, consume: Callable) -> None:
    model, image = network(), picture(*SIZE)
    done = export_onnx(model, tmp_path / "net.onnx", opset=opset, form=Form(labels, normalised=True))
    expected = predict_array(model, image, SIZE)
    found = consume(done.file, image)
    assert found.dtype == labels and agreement(found, expected) >= 0.999
    assert done.max_difference < 1e-4
    file = OnnxNetwork(done.file)
    np.testing.assert_array_equal(predict_array(file, image, SIZE), found)
    large = picture(128, 192)
    assert agreement(consume(done.file, large), predict_array(model, large, SIZE)) > 0.9


def test_the_file_itself_says_what_the_manifest_does(exact: Path) -> None:
    inside = {item.key: item.value for item in onnx.load(exact).metadata_props}
    manifest = json.loads(exact.with_name("net.manifest.json").read_text())
    for key in ("input", "output", "classes", "labels"):
        assert json.loads(inside[key]) == manifest[key]
    assert [one["label"] for one in manifest["classes"]] == list("abcde")
    first, second, *_ = manifest["classes"]
    assert first["masks"] == [{"value": 3, "colour": "#ff0000"}, {"value": 9, "colour": None}]
    assert (second["class"], second["predicted"], second["masks"]) == (1, 2, None)
    assert len({one["colour"] for one in manifest["classes"]}) == 5


def test_data_of_other_classes_say_nothing_of_these() -> None:
    model = network()
    model.labels = list("vwxyz")
    assert {one["masks"] for one in described_classes(model)} == {None}


def test_a_label_file_that_computes_something_else_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from boostformer.deploy import export

    other = network()
    with torch.no_grad():
        other.decoder.classifier.bias.add_(torch.randn(5))
    fold = export.fold
    monkeypatch.setattr(export, "fold", lambda _model: fold(other))
    with pytest.raises(RuntimeError, match="differs from the network by"):
        export.export_onnx(network(), tmp_path / "net.onnx", form=Form("uint8"))
    assert not list(tmp_path.iterdir())


def test_forms_that_are_not_possible_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "net.onnx"
    with pytest.raises(UserError, match="uint8 is not possible, TensorRT 8.2 has no such type; allowed: int32"):
        export_onnx(network(), file, opset=13, form=Form("uint8"))
    with pytest.raises(UserError, match="--labels: the network sees images through windows"):
        export_onnx(network(SIZE, "tile"), file, form=Form("uint8"))
    untrained = build(small().replace(bands=5, size=SIZE))
    with pytest.raises(UserError, match="--normalise: an untrained network knows no mean"):
        export_onnx(untrained, file, form=Form(normalised=True))


@pytest.mark.parametrize(
    "provenance",
    [
        {"data": "camvid", "data_summary": [1]},
        {"data": {"size": "64x96", "fit": "none"}, "data_summary": {"sizes": {"median": [1]}, "classes": [3]}},
        {"data": {"size": [64, 64], "fit": "short_side"}, "data_summary": {"sizes": {"median": [64, -1]}}},
    ],
)
def test_a_provenance_that_is_no_provenance_says_nothing(provenance: dict[str, Any]) -> None:
    model = network()
    model.provenance = provenance
    assert scored_shape(provenance) is None and shape_remark(provenance, SIZE) is None
    assert described_input(model, Form())["scored_at"] is None
    assert {one["masks"] for one in described_classes(model)} == {None}


def test_shapes_that_differ_from_the_files_are_said() -> None:
    model = network((64, 64), "short_side", (120, 160))
    assert shape_remark(model.provenance, (64, 85)) is None
    model.provenance["data_summary"]["sizes"]["largest"] = [120, 240]
    said = shape_remark(model.provenance, (64, 85))
    assert said is not None and said.startswith("images were scored at 64x85 to 64x128, the median image at 64x85;")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("input", "[]"),
        ("input", {"fit": "long_side"}),
        ("input", {"bands": 4}),
        ("input", {"mean": [0.5]}),
        ("input", {"std": "abc"}),
        ("output", "null"),
        ("output", {"kind": "boxes"}),
    ],
)
def test_a_file_that_says_something_else_is_refused(key: str, value: Any, exact: Path, tmp_path: Path) -> None:
    graph = onnx.load(exact)
    (entry,) = (item for item in graph.metadata_props if item.key == key)
    entry.value = value if isinstance(value, str) else json.dumps(json.loads(entry.value) | value)
    onnx.save(graph, tmp_path / "net.onnx")
    with pytest.raises(UserError, match=r"net\.onnx: (does not say which network|maps .* to boxes)"):
        OnnxNetwork(tmp_path / "net.onnx")
