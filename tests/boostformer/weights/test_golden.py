"""Against others' networks: recorded outputs of the published code, and transformers' own SegFormer."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from boostformer import import_checkpoint, presets
from boostformer.blocks.registry import complete
from boostformer.errors import UserError


@pytest.mark.parametrize("name", ["segformer_tiny", "boostformer_tiny"])
def test_recorded_outputs_of_the_published_code(shared: Path, name: str) -> None:
    folder = shared / "golden" / name
    notes: list[str] = []
    model = import_checkpoint(folder, notes)
    recorded = load_file(folder / "io.safetensors")
    with torch.no_grad():
        maps, logits = model.forward_features(recorded["input"]), model(recorded["input"])
    for i, found in enumerate(maps, 1):
        torch.testing.assert_close(found, recorded[f"stage{i}"], rtol=0, atol=1e-4)
    torch.testing.assert_close(logits, recorded["logits"], rtol=0, atol=1e-4)
    assert not model.training
    dead = [note for note in notes if "linear_fuse" in note]
    assert len(dead) == (name == "boostformer_tiny")


@pytest.fixture(scope="module", params=["segformer_b0", "segformer_b2"])
def theirs(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, nn.Module, Path]:
    """transformers' network with random weights everywhere, saved as a checkpoint of theirs."""
    transformers = pytest.importorskip("transformers", reason="transformers is the oracle (extra `test`)")
    arch = presets.load(request.param)
    config = transformers.SegformerConfig(
        hidden_sizes=[stage.width for stage in arch.stages],
        depths=[stage.depth for stage in arch.stages],
        num_attention_heads=[1, 2, 5, 8],
        decoder_hidden_size=arch.decoder.width,
        num_labels=150,
    )
    torch.manual_seed(0)
    model = transformers.SegformerForSemanticSegmentation(config).eval()
    with torch.no_grad():
        for name, value in model.state_dict().items():
            if name.endswith("running_var"):
                value.uniform_(0.5, 2)
            elif value.is_floating_point():
                value.add_(0.02 * torch.randn_like(value))
    folder = tmp_path_factory.mktemp(request.param)
    model.save_pretrained(folder)
    return request.param, model, folder


def test_transformers_own_segformer(theirs: tuple[str, nn.Module, Path]) -> None:
    name, model, folder = theirs
    ours = import_checkpoint(folder)
    assert ours.architecture == complete(presets.load(name))
    image = torch.randn(1, 3, 96, 128)
    with torch.no_grad():
        expected = model(image, output_hidden_states=True)
        maps, logits = ours.forward_features(image), ours(image)
    for found, hidden in zip(maps, expected.hidden_states, strict=True):
        torch.testing.assert_close(found, hidden, rtol=0, atol=1e-4)
    torch.testing.assert_close(logits, expected.logits, rtol=0, atol=1e-4)


def test_an_encoder_alone_is_imported_without_its_imagenet_head(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers", reason="transformers is the oracle (extra `test`)")
    config = transformers.SegformerConfig(depths=[1, 1, 1, 1], num_labels=1000)
    model = transformers.SegformerForImageClassification(config).eval()
    model.save_pretrained(tmp_path)
    notes: list[str] = []
    ours = import_checkpoint(tmp_path, notes)
    image = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        expected = model(image, output_hidden_states=True).hidden_states[-1]
        torch.testing.assert_close(ours.forward_features(image)[-1], expected, rtol=0, atol=1e-4)
    assert "encoder only" in notes[0]


class TestRefusals:
    """Every damaged checkpoint is refused in one line that names the file or the weight."""

    @pytest.fixture
    def folder(self, shared: Path, tmp_path: Path) -> Path:
        copy = tmp_path / "theirs"
        shutil.copytree(shared / "golden" / "boostformer_tiny", copy)
        return copy

    def refused(self, folder: Path) -> str:
        with pytest.raises(UserError) as caught:
            import_checkpoint(folder)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    def configured(self, folder: Path, **changes: object) -> Path:
        file = folder / "config.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | changes))
        return folder

    def weighted(self, folder: Path, change: dict[str, torch.Tensor | None]) -> Path:
        weights = load_file(folder / "model.safetensors") | change
        save_file({k: v for k, v in weights.items() if v is not None}, folder / "model.safetensors")
        return folder

    def test_no_folder(self, tmp_path: Path) -> None:
        assert "config.json: no such file" in self.refused(tmp_path / "nowhere")

    def test_another_model(self, folder: Path) -> None:
        assert "model_type 'bert' cannot be imported" in self.refused(self.configured(folder, model_type="bert"))

    def test_one_of_ours(self, folder: Path) -> None:
        said = self.refused(self.configured(folder, library="boostformer", model_type=None))
        assert "already, which needs no import" in said

    def test_other_strides(self, folder: Path) -> None:
        assert "strides [4, 2, 2, 1]" in self.refused(self.configured(folder, strides=[4, 2, 2, 1]))

    def test_wrong_config(self, folder: Path) -> None:
        assert "depths: [1, 2] is not a list of four" in self.refused(self.configured(folder, depths=[1, 2]))

    def test_depths_that_are_not_those_of_the_weights(self, folder: Path) -> None:
        assert "weights are missing" in self.refused(self.configured(folder, depths=[1, 2, 3, 1]))
        assert "has no place" in self.refused(self.configured(folder, depths=[1, 2, 1, 1]))

    def test_no_weights(self, folder: Path) -> None:
        (folder / "model.safetensors").unlink()
        assert "neither model.safetensors nor pytorch_model.bin" in self.refused(folder)

    def test_torn_weights(self, folder: Path) -> None:
        file = folder / "model.safetensors"
        file.write_bytes(file.read_bytes()[:-100])
        assert "damaged" in self.refused(folder)

    def test_an_unknown_weight(self, folder: Path) -> None:
        assert "'decode_head.extra' has no place" in self.refused(
            self.weighted(folder, {"decode_head.extra": torch.ones(1)})
        )

    def test_another_shape(self, folder: Path) -> None:
        name = "decode_head.classifier.weight"
        assert f"'{name}' has shape" in self.refused(self.weighted(folder, {name: torch.ones(8, 32, 1, 1)}))

    def test_a_missing_weight(self, folder: Path) -> None:
        assert "1 weights are missing" in self.refused(self.weighted(folder, {"decode_head.classifier.bias": None}))

    def test_pickled_weights_are_read_without_running_code(self, folder: Path) -> None:
        weights = load_file(folder / "model.safetensors")
        (folder / "model.safetensors").unlink()
        torch.save(weights, folder / "pytorch_model.bin")
        assert import_checkpoint(folder).architecture.classes == 7
        torch.save({"a": object}, folder / "pytorch_model.bin")
        assert "pytorch_model.bin: damaged" in self.refused(folder)
