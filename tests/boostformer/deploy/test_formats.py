"""Other formats than ONNX: what their files compute, and what is refused."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch
from test_consumer import SIZE, network, picture

from boostformer.deploy import formats
from boostformer.deploy.manifest import Form
from boostformer.errors import UserError
from boostformer.fold import fold
from boostformer.predict import predict_array
from boostformer.weights.checkpoint import sha256


def test_a_program_of_torchs_gives_the_networks_labels(tmp_path: Path) -> None:
    form = Form("uint8", normalised=True)
    done = formats.export_format(network(), tmp_path / "net.pt2", "pt2", form=form)
    image = picture(*SIZE)
    with torch.no_grad():
        found = torch.export.load(done.file).module()(torch.from_numpy(image).permute(2, 0, 1)[None].float())
    assert (found[0].numpy() == predict_array(network(), image, SIZE)).mean() >= 0.999
    told = json.loads(done.manifest.read_text())
    assert (told["format"], told["sha256"]) == ("pt2", sha256(done.file))
    assert told["output"]["dtype"] == "uint8" and done.max_difference <= 1e-4


def test_a_program_that_computes_something_else_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = network()
    with torch.no_grad():
        other.decoder.classifier.bias.add_(torch.randn(5))
    monkeypatch.setattr(formats, "fold", lambda _model: fold(other))
    with pytest.raises(RuntimeError, match="differs from the network by"):
        formats.export_format(network(), tmp_path / "net.pt2", "pt2")
    assert not list(tmp_path.iterdir())


def test_openvinos_files_compute_what_the_network_does(tmp_path: Path) -> None:
    openvino = pytest.importorskip("openvino", reason="OpenVINO is not installed: pip install '.[openvino]'")
    done = formats.export_format(network(), tmp_path / "net.xml", "openvino")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["net.bin", "net.manifest.json", "net.xml"]
    image = torch.randn(1, 3, *SIZE)
    with torch.no_grad():
        expected = network()(image)
    compiled = openvino.Core().compile_model(str(done.file), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    torch.testing.assert_close(torch.tensor(compiled([image.numpy()])[0]), expected, rtol=1e-3, atol=1e-3)


def test_executorchs_program_computes_what_the_network_does(tmp_path: Path) -> None:
    pytest.importorskip("executorch.exir", reason="ExecuTorch is not installed: pip install '.[executorch]'")
    done = formats.export_format(network(), tmp_path / "net.pte", "executorch")
    assert done.max_difference <= 1e-4 and done.made_by.startswith("ExecuTorch")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["net.manifest.json", "net.pte"]


def test_what_cannot_be_written_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=r"must end in \.pt2"):
        formats.export_format(network(), tmp_path / "net.onnx", "pt2")
    with pytest.raises(UserError, match="unknown 'tflite'; allowed: pt2, openvino"):
        formats.export_format(network(), tmp_path / "net.tflite", "tflite")
    monkeypatch.setitem(sys.modules, "executorch.exir", None)
    with pytest.raises(UserError, match=r"pip install 'boostformer\[executorch\]'"):
        formats.export_format(network(), tmp_path / "net.pte", "executorch")
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(UserError, match=r"pip install 'boostformer\[openvino\]'"):
        formats.export_format(network(), tmp_path / "net.xml", "openvino")
