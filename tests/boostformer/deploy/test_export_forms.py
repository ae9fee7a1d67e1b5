"""Half precision, which is checked on images, and free axes: what files hold, and what is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from test_consumer import SIZE, network, picture

from boostformer import BoostFormer, build
from boostformer.architecture import BlockSpec
from boostformer.deploy import export
from boostformer.deploy.agreement import Agreement, Pictures, agreement, made_pictures
from boostformer.deploy.dynamic import refusal
from boostformer.deploy.manifest import Form
from boostformer.deploy.onnx_network import OnnxNetwork
from boostformer.errors import UserError
from boostformer.predict import predict_array


def pictures() -> Pictures:
    """Two images with labels, half of whose pixels count."""
    images = [picture(80, 120), picture(64, 96)]
    labels = [predict_array(network(), image, SIZE) for image in images]
    for label in labels:
        label[: len(label) // 2] = 255
    return Pictures("two images", list(zip(images, labels, strict=True)))


@pytest.mark.parametrize("opset", [13, 17])
def test_half_precision_is_inside_and_checked_on_images(opset: int, tmp_path: Path) -> None:
    done = export.export_onnx(network(), tmp_path / "net.onnx", opset=opset, form=Form(half=True), pictures=pictures())
    graph = onnx.load(done.file).graph
    ends = {value.type.tensor_type.elem_type for value in [*graph.input, *graph.output]}
    weights = {one.data_type for one in graph.initializer if len(one.dims) > 1}
    assert (ends, weights) == ({onnx.TensorProto.FLOAT}, {onnx.TensorProto.FLOAT16})
    told = json.loads(done.manifest.read_text())["parity"]["images"]
    assert (told["data"], told["images"]) == ("two images", 2)
    assert told["pixels"] >= 0.99 and told["miou"] == 1 and 0.98 <= told["file_miou"] <= 1
    assert done.agreement == Agreement(**told)
    ours, theirs = (predict_array(each, picture(*SIZE), SIZE) for each in (network(), OnnxNetwork(done.file)))
    assert 0.99 <= (ours == theirs).mean() < 1  # it is half precision


def test_half_precision_that_does_not_suffice_is_refused(tmp_path: Path) -> None:
    model = network()
    with torch.no_grad():
        model.decoder.classifier.weight.mul_(1e5)  # its logits are beyond half precision
    with pytest.raises(UserError, match=r"half precision does not suffice: .* \(made scenes\)"):
        export.export_onnx(model, tmp_path / "net.onnx", form=Form(half=True))
    assert not list(tmp_path.iterdir())


def test_a_loss_of_miou_counts_as_well_as_pixels() -> None:
    assert Agreement("data", 1, 0.995, 0.5, 0.495).holds
    assert not Agreement("data", 1, 0.995, 0.5, 0.48).holds
    assert not Agreement("data", 1, 0.98, None, None).holds


def test_images_of_any_number_of_bands_are_made() -> None:
    made = made_pictures(5, SIZE, 2)
    assert [image.shape for image, _ in made.pairs] == [(*SIZE, 5)] * 2
    found = agreement(network(), network(), made_pictures(3, SIZE, 1), SIZE)
    assert (found.pixels, found.miou, found.images) == (1, None, 1)


@pytest.mark.slow
def test_free_axes_take_other_batches_and_sizes(tmp_path: Path) -> None:
    form = Form("int32", normalised=True, any_batch=True, any_size=True)
    done = export.export_onnx(
        network(), tmp_path / "net.onnx", opset=13, form=form, probes=1
    )  # the one with most to convert
    session = onnxruntime.InferenceSession(done.file, providers=["CPUExecutionProvider"])
    assert session.get_inputs()[0].shape == ["batch", 3, "height", "width"]
    manifest = json.loads(done.manifest.read_text())
    assert manifest["input"]["dynamic"] == {"batch": True, "steps": 32}
    assert len({tuple(shape) for shape in manifest["parity"]["shapes"]}) == 4
    larger = np.stack([picture(128, 64), picture(128, 64)[::-1]]).transpose(0, 3, 1, 2).astype(np.float32)
    (found,) = session.run(None, {"image": larger})
    assert found.shape == (2, 128, 64)
    image = picture(128, 64)
    expected = predict_array(network(), image, (128, 64))
    assert (predict_array(OnnxNetwork(done.file), image, (128, 64)) == expected).mean() >= 0.999


def test_a_free_size_is_one_of_whole_squares(tmp_path: Path) -> None:
    for size, instead in (((64, 90), "64x96"), ((32, 64), "64x64")):  # torch takes an axis of one square as fixed
        wrong = (
            f"multiples of 32, from 64 on, not {size[0]}x{size[1]}; export with --size {instead}; the file takes others"
        )
        with pytest.raises(UserError, match=wrong):
            export.export_onnx(network(size), tmp_path / "net.onnx", form=Form(any_size=True))


def deformable() -> BoostFormer:
    """A network whose third stage needs to know its size."""
    arch = network().architecture
    stages = list(arch.stages)
    stages[2] = replace(stages[2], mixer=BlockSpec.of("deformable_attention", heads=4))
    return build(replace(arch, stages=tuple(stages)))


@pytest.mark.slow
def test_a_network_whose_size_is_fixed_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object, **__: object) -> None:  # as torch does, after half a minute
        raise torch.onnx.OnnxExporterError("constraints violated")

    monkeypatch.setattr(export, "to_onnx", fails)
    model = deformable()
    with pytest.raises(UserError, match=r"size cannot be free, fixed by mixer deformable_attention \(stage 3\);"):
        export.export_onnx(model, tmp_path / "net.onnx", form=Form(any_size=True))
    assert not list(tmp_path.iterdir())
    assert refusal(model.architecture, Form(any_batch=True)) is None
