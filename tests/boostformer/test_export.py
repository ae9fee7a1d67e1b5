"""ONNX files: parity, what they say of themselves, and that a wrong one is never left behind."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from test_model import small

from boostformer import BoostFormer, build, export
from boostformer.architecture import Architecture
from boostformer.checkpoint import sha256
from boostformer.errors import UserError


def trained(name: str) -> BoostFormer:
    """Random weights, with statistics of norms that are not at their start."""
    torch.manual_seed(0)
    model = build(small(name))
    with torch.no_grad():
        for _ in range(2):
            model(torch.randn(4, 3, 64, 96))
    model.labels = list("abcde")
    return model.eval()


@pytest.mark.slow
@pytest.mark.parametrize(("name", "opset"), [("segformer_b0", 18), ("boostformer_b0", 20)])
def test_the_file_computes_what_the_network_does_and_says_what_it_is(name: str, opset: int, tmp_path: Path) -> None:
    model = trained(name)
    done = export.export_onnx(model, tmp_path / "new" / "net.onnx", opset=opset)
    session = onnxruntime.InferenceSession(str(done.file), providers=["CPUExecutionProvider"])
    image = np.random.default_rng(5).normal(size=(1, 3, 64, 96)).astype(np.float32)
    (logits,) = session.run(None, {"image": image})
    with torch.no_grad():
        expected = model(torch.from_numpy(image)).numpy()
    np.testing.assert_allclose(logits, expected, rtol=0, atol=1e-4 * np.abs(expected).max())

    graph = onnx.load(done.file)
    assert {item.domain: item.version for item in graph.opset_import}[""] == opset == done.opset
    inside = {item.key: item.value for item in graph.metadata_props}
    assert Architecture.from_json(inside["architecture"]) == model.architecture
    assert json.loads(inside["labels"]) == list("abcde")
    manifest = json.loads(done.manifest.read_text())
    assert manifest["sha256"] == sha256(done.file)
    assert manifest["architecture_id"] == model.architecture.id
    assert manifest["output"]["shape"] == list(logits.shape)
    assert manifest["parity"]["max_relative_difference"] < 1e-4
    assert sorted(p.name for p in done.file.parent.iterdir()) == ["net.manifest.json", "net.onnx"]


def test_a_file_that_computes_something_else_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, other = trained("boostformer_b0"), trained("boostformer_b0")
    with torch.no_grad():
        other.decoder.classifier.weight.mul_(1.01)
    graph = export._graph
    monkeypatch.setattr(export, "_graph", lambda _model, shape, opset: graph(other, shape, opset))
    with pytest.raises(RuntimeError, match="differs from the network by"):
        export.export_onnx(model, tmp_path / "net.onnx")
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_exported_is_refused_before_any_work(tmp_path: Path) -> None:
    model = build(small())
    with pytest.raises(UserError, match="opset 13 cannot be exported, allowed: 18, 19, 20"):
        export.export_onnx(model, tmp_path / "net.onnx", opset=13)
    with pytest.raises(UserError, match=r"must end in \.onnx"):
        export.export_onnx(model, tmp_path / "net.pt")


def test_the_batch_norm_statistics_are_those_of_training() -> None:
    statistics = [v for k, v in trained("boostformer_b0").state_dict().items() if k.endswith("running_mean")]
    assert any(value.abs().max() > 0 for value in statistics)
