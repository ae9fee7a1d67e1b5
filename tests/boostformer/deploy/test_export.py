"""ONNX files: parity, what they say of themselves, and that a wrong one is never left behind."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from test_consumer import network
from test_model import small
from torch import Tensor, nn

from boostformer import BoostFormer, build
from boostformer.architecture import Architecture
from boostformer.deploy import export, onnx_writer
from boostformer.deploy.parity import parity
from boostformer.errors import UserError
from boostformer.fold import fold
from boostformer.weights.checkpoint import sha256


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
@pytest.mark.parametrize(("name", "opset"), [("boostformer_b0", 13), ("segformer_b0", 20)])
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
    assert manifest["output"]["shape"] == list(logits.shape) == [1, 5, *model.architecture.map_sizes()[0]]
    assert manifest["operators"] == dict(Counter(node.op_type for node in graph.graph.node))
    assert manifest["parity"]["max_relative_difference"] < 1e-4
    assert sorted(p.name for p in done.file.parent.iterdir()) == ["net.manifest.json", "net.onnx"]


@pytest.mark.slow
def test_a_file_that_computes_something_else_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, other = network(), network()
    with torch.no_grad():
        other.decoder.classifier.weight.mul_(1.01)
    monkeypatch.setattr(export, "fold", lambda _model: fold(other))
    with pytest.raises(RuntimeError, match="differs from the network by"):
        export.export_onnx(model, tmp_path / "net.onnx")
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_exported_is_refused_before_any_work(tmp_path: Path) -> None:
    model = build(small())
    with pytest.raises(UserError, match="--opset: 12 cannot be written; allowed: 13, 17, 18, 19, 20"):
        export.export_onnx(model, tmp_path / "net.onnx", opset=12)
    with pytest.raises(UserError, match=r"must end in \.onnx"):
        export.export_onnx(model, tmp_path / "net.pt")


class Several(nn.Module):
    """Takes a list and a tensor, gives two tensors, one of them small."""

    def forward(self, maps: list[Tensor], x: Tensor) -> tuple[Tensor, Tensor]:
        return maps[0] + maps[1], 1e-3 * x


def inputs() -> tuple[list[Tensor], Tensor]:
    return [torch.randn(1, 3, 4, 5), torch.randn(1, 3, 1, 1)], torch.randn(2, 2)


@pytest.fixture(scope="module")
def several() -> onnx.ModelProto:
    return onnx_writer.to_onnx(Several().eval(), inputs(), 17)


def test_any_module_can_be_a_graph_with_several_inputs_and_outputs(several: onnx.ModelProto) -> None:
    assert [item.name for item in several.graph.input] == ["input0", "input1", "input2"]
    assert [item.name for item in several.graph.output] == ["output0", "output1"]
    assert onnx_writer.opset_of(several) == 17
    assert parity(Several(), several, [inputs(), inputs()]) < 1e-7


def test_parity_is_relative_to_each_output_and_knows_what_is_no_number(several: onnx.ModelProto) -> None:
    class Other(Several):
        def forward(self, maps: list[Tensor], x: Tensor) -> tuple[Tensor, Tensor]:
            total, small = super().forward(maps, x)
            return total, small * 1.25

    assert parity(Other(), several, [inputs()]) == pytest.approx(0.2)
    maps, x = inputs()
    assert np.isnan(parity(Other(), several, [inputs(), (maps, x * torch.nan), inputs()]))


def test_foreign_operators_are_refused() -> None:
    graph = onnx.helper.make_model(
        onnx.helper.make_graph([], "none", [], []), opset_imports=[onnx.helper.make_opsetid("com.microsoft", 1)]
    )
    with pytest.raises(RuntimeError, match="operators of \\['com.microsoft'\\]"):
        onnx_writer.opset_of(graph)


def test_the_batch_norm_statistics_are_those_of_training() -> None:
    statistics = [v for k, v in trained("boostformer_b0").state_dict().items() if k.endswith("running_mean")]
    assert any(value.abs().max() > 0 for value in statistics)
