"""The assembled network: arrangements, odd sizes, drop path, pre-training, and its saved form."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from boostformer import BoostFormer, Classifier, build, presets
from boostformer.architecture import Architecture, BlockSpec, Stage
from boostformer.errors import UserError
from boostformer.model import DropPath, Layer, stage_parts


def small(name: str = "boostformer_b0", **changes: object) -> Architecture:
    """A preset with narrow stages of depth 1, for 5 classes at 64x96."""
    arch = presets.load(name, classes=5, size=(64, 96))
    stages = tuple(replace(stage, width=40, depth=1) for stage in arch.stages)
    return replace(arch, stages=stages, decoder=replace(arch.decoder, width=16), **changes)


@pytest.mark.parametrize("name", presets.names())
def test_published_sizes_of_the_presets(name: str) -> None:
    published = {
        "segformer_b0": 3_752_694,
        "segformer_b1": 13_715_798,
        "segformer_b2": 27_461_974,
        "segformer_b3": 47_337_814,
        "segformer_b4": 64_108_374,
        "segformer_b5": 84_708_694,
        "boostformer": 17_576_602,
        "boostformer_b0": 2_416_826,  # ours: a regression guard, not a published figure
    }
    with torch.device("meta"):
        assert sum(p.numel() for p in build(presets.load(name)).parameters()) == published[name]


@pytest.mark.parametrize("size", [(64, 96), (33, 70), (101, 67)])
@pytest.mark.parametrize("name", ["segformer_b0", "boostformer_b0"])
def test_any_input_size_gives_maps_and_logits_that_round_up(name: str, size: tuple[int, int]) -> None:
    model = build(small(name)).eval()
    arch = model.architecture.replace(size=size)
    x = torch.randn(2, 3, *size)
    with torch.no_grad():
        maps, logits = model.forward_features(x), model(x)
    assert [tuple(m.shape[2:]) for m in maps] == arch.map_sizes()
    assert logits.shape == (2, 5, *arch.map_sizes()[0])


def _layer(arrangement: str, layer_scale: bool) -> Layer:
    stage = Stage(
        BlockSpec.of("pooling", kernel=3), 6, 1, BlockSpec.of("pooling"), BlockSpec.of("conv_mlp", ratio=2),
        norm="batch", arrangement=arrangement, layer_scale=layer_scale,
    )  # fmt: skip
    torch.manual_seed(0)
    layer = Layer(stage, {role: part for role, part, _ in stage_parts(stage, 3, 2, (8, 8))}, 0.0).eval()
    with torch.no_grad():
        for value in layer.state_dict().values():
            if value.is_floating_point():
                value.uniform_(0.5, 1.5)
    return layer


@pytest.mark.parametrize("layer_scale", [False, True])
def test_the_two_arrangements_are_the_papers(layer_scale: bool) -> None:
    x = torch.randn(2, 6, 4, 4)
    with torch.no_grad():
        pre = _layer("pre", layer_scale)
        mixed = x + pre.scale1(pre.mixer(pre.norm1(x)))
        torch.testing.assert_close(pre(x), mixed + pre.scale2(pre.ffn(pre.norm2(mixed))))
        post = _layer("post", layer_scale)
        mixed = x + post.scale1(post.mixer(x))
        torch.testing.assert_close(post(x), post.norm2(mixed + post.scale2(post.ffn(post.norm1(mixed)))))
    assert isinstance(pre.scale1, nn.Identity) != layer_scale


def test_only_pre_norm_stages_end_in_a_norm() -> None:
    assert all(not isinstance(stage.norm, nn.Identity) for stage in build(small("segformer_b0")).encoder.stages)
    assert all(isinstance(stage.norm, nn.Identity) for stage in build(small("boostformer_b0")).encoder.stages)


def test_drop_path_drops_whole_images_and_keeps_the_mean() -> None:
    torch.manual_seed(0)
    drop = DropPath(0.25)
    out = drop(torch.ones(4000, 2, 3, 3))
    per_image = out.flatten(1)
    assert torch.equal(per_image.amin(1), per_image.amax(1))
    assert sorted(set(per_image[:, 0].tolist())) == pytest.approx([0.0, 4 / 3])
    assert out.mean().item() == pytest.approx(1, abs=0.05)
    assert torch.equal(drop.eval()(out), out)


def test_drop_path_grows_with_depth() -> None:
    rates = [m.rate for m in build(presets.load("segformer_b0"), drop_path=0.1).modules() if isinstance(m, DropPath)]
    assert rates == pytest.approx([0.1 * i / 7 for i in range(8)])


def test_fusion_weights_norms_and_biases_are_vectors_and_so_undecayed() -> None:
    model = build(small())
    undecayed = {name for name, p in model.named_parameters() if p.ndim <= 1}
    assert "decoder.fusion.weights" in undecayed
    assert "encoder.stages.0.layers.0.scale1.gamma" in undecayed
    decayed = {name for name, p in model.named_parameters() if p.ndim > 1}
    assert all(name.endswith("weight") and "norm" not in name for name in decayed)


def test_an_architecture_may_leave_options_out_and_illegal_ones_are_refused() -> None:
    arch = small()
    stages = (replace(arch.stages[0], ffn=BlockSpec.of("mix_ffn")), *arch.stages[1:])
    assert build(replace(arch, stages=stages)).architecture.stages[0].ffn.get("ratio") == 4
    stages = (*arch.stages[:3], replace(arch.stages[3], mixer=BlockSpec.of("mhsa", heads=12)))
    with pytest.raises(UserError, match=r"stages\[3\]\.mixer: heads 12 does not divide width 40"):
        build(replace(arch, stages=stages))


class TestCheckpoint:
    """Saved and read back, and refused when it is not what it says."""

    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        torch.manual_seed(0)
        model = build(small())
        model.labels = list("abcde")
        model.provenance = {"metrics": {"miou": 0.5}}
        model.save_pretrained(tmp_path / "checkpoint")
        return tmp_path / "checkpoint"

    def test_round_trip(self, folder: Path) -> None:
        torch.manual_seed(0)
        original = build(small()).eval()
        for back in (BoostFormer.load(folder), BoostFormer.from_pretrained(folder)):
            x = torch.randn(1, 3, 64, 96)
            assert torch.equal(back(x), original(x))
            assert back.architecture == original.architecture
            assert (back.labels, back.provenance) == (list("abcde"), {"metrics": {"miou": 0.5}})
            assert not back.training

    def test_a_classifier_starts_a_segmenter(self, tmp_path: Path) -> None:
        classifier = Classifier(small())
        assert classifier(torch.randn(2, 3, 64, 96)).shape == (2, 5)
        classifier.save_pretrained(tmp_path)
        model = build(small().replace(classes=9, size=(96, 64)))
        model.load_encoder(tmp_path)
        for name, value in classifier.encoder.state_dict().items():
            assert torch.equal(model.encoder.state_dict()[name], value)
        with pytest.raises(UserError, match="holds a classifier, a segmenter is needed"):
            BoostFormer.load(tmp_path)
        with pytest.raises(UserError, match="its four stages are not those of"):
            build(small("segformer_b0")).load_encoder(tmp_path)

    def changed(self, folder: Path, **changes: object) -> Path:
        file = folder / "config.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | changes))
        return folder

    @pytest.mark.parametrize(
        ("change", "expected"),
        [
            ({"version": 99}, "checkpoint version 99 cannot be read, allowed: 1"),
            ({"library": "other"}, "not a checkpoint of boostformer"),
            ({"kind": "detector"}, "kind 'detector' is unknown, allowed: segmenter, classifier"),
            ({"architecture": small("segformer_b0").to_dict()}, "weights and architecture differ"),
            ({"architecture": {"version": 1}}, "size: missing"),
        ],
    )
    def test_another_config_is_refused(self, folder: Path, change: dict, expected: str) -> None:
        with pytest.raises(UserError) as caught:
            BoostFormer.load(self.changed(folder, **change))
        assert expected in str(caught.value)
        assert "\n" not in str(caught.value)

    def test_transformers_checkpoints_are_pointed_to_import(self, folder: Path) -> None:
        (folder / "config.json").write_text(json.dumps({"model_type": "segformer"}))
        with pytest.raises(UserError, match="`boostformer import` reads those"):
            BoostFormer.load(folder)

    def test_damage_is_found(self, folder: Path) -> None:
        file = folder / "model.safetensors"
        content = bytearray(file.read_bytes())
        content[-1] ^= 1
        file.write_bytes(content)
        with pytest.raises(UserError, match=r"model\.safetensors: corrupted"):
            BoostFormer.load(folder)
        file.unlink()
        with pytest.raises(UserError, match=r"model\.safetensors: no such file"):
            BoostFormer.load(folder)
        (folder / "config.json").write_text('{"library": "boost')
        with pytest.raises(UserError, match=r"config\.json: corrupted"):
            BoostFormer.load(folder)

    def test_a_folder_that_cannot_be_written(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("in the way")
        from boostformer import checkpoint

        with pytest.raises(UserError, match="cannot be written"):
            checkpoint.save(build(small()), tmp_path / "file" / "checkpoint")
