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
from boostformer.data.normalise import IMAGENET, Normalisation
from boostformer.errors import UserError
from boostformer.layers import Branch, DropPath, Layer
from boostformer.model import EncoderStage
from boostformer.parts import stage_parts
from boostformer.start import read_trained, start_from


def small(name: str = "boostformer_b0", depth: int = 1, **changes: object) -> Architecture:
    """A preset with narrow stages of this depth, for 5 classes at 64x96."""
    arch = presets.load(name, classes=5, size=(64, 96))
    stages = tuple(replace(stage, width=40, depth=depth) for stage in arch.stages)
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


def _layer(arrangement: str, layer_scale: bool, local_connection: bool) -> Layer:
    stage = Stage(
        BlockSpec.of("pooling", kernel=3), 6, 1, BlockSpec.of("pooling"), BlockSpec.of("conv_mlp", ratio=2),
        norm="batch", arrangement=arrangement, layer_scale=layer_scale, local_connection=local_connection,
    )  # fmt: skip
    torch.manual_seed(0)
    arch = presets.load("segformer_b0", size=(32, 32))
    own = stage_parts(replace(arch, stages=(stage, *arch.stages[1:])), 0)
    (layer,) = EncoderStage(own, [0.0]).eval().layers
    with torch.no_grad():
        for value in layer.state_dict().values():
            if value.is_floating_point():
                value.uniform_(0.5, 1.5)
    return layer


@pytest.mark.parametrize("local", [False, True])
@pytest.mark.parametrize("layer_scale", [False, True])
def test_the_two_arrangements_are_the_papers(layer_scale: bool, local: bool) -> None:
    x = torch.randn(2, 6, 4, 4)
    with torch.no_grad():
        pre = _layer("pre", layer_scale, local)
        normed = pre.mixer.norm(x)
        mixed = x + pre.mixer.scale(pre.mixer.block(normed) + local * normed)
        torch.testing.assert_close(pre(x), mixed + pre.ffn.scale(pre.ffn.block(pre.ffn.norm(mixed))))
        post = _layer("post", layer_scale, local)
        mixed = x + post.mixer.scale(post.mixer.block(x) + local * x)
        torch.testing.assert_close(post(x), post.norm(mixed + post.ffn.scale(post.ffn.block(post.ffn.norm(mixed)))))
    assert isinstance(pre.mixer.scale, nn.Identity) != layer_scale
    assert isinstance(pre.norm, nn.Identity) and isinstance(post.mixer.norm, nn.Identity)


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
    model = build(small("segformer_b0", depth=2), drop_path=0.1)
    layers = [layer for stage in model.encoder.stages for layer in stage.layers]
    for branch in ("mixer", "ffn"):  # each drops on its own, both at the layer's rate
        rates = [getattr(layer, branch).drop_path.rate for layer in layers]
        assert rates == pytest.approx([0.1 * i / 7 for i in range(8)])
    assert sum(isinstance(module, DropPath) for module in model.modules()) == 2 * 8


def test_the_two_branches_of_a_layer_drop_independently() -> None:
    torch.manual_seed(0)
    layer = Layer(Branch(nn.Identity(), drop_path=0.5), Branch(nn.Identity(), drop_path=0.5)).train()
    x = torch.ones(4000, 1, 1, 1)
    with torch.no_grad():
        out = layer(x).flatten()
    # Each branch doubles the trunk by 3 = 1 + 1 / (1 - .5), or leaves it.
    counts = {value: int((out == value).sum()) for value in (1, 3, 9)}
    assert sum(counts.values()) == 4000
    assert counts == {1: pytest.approx(1000, abs=150), 3: pytest.approx(2000, abs=150), 9: pytest.approx(1000, abs=150)}


def test_fusion_weights_norms_and_biases_are_vectors_and_so_undecayed() -> None:
    model = build(small())
    undecayed = {name for name, p in model.named_parameters() if p.ndim <= 1}
    assert "decoder.fusion.weights" in undecayed
    assert "encoder.stages.0.layers.0.mixer.scale.gamma" in undecayed
    decayed = {name for name, p in model.named_parameters() if p.ndim > 1}
    assert all(name.endswith("weight") and "norm" not in name for name in decayed)


def test_an_architecture_may_leave_options_out_and_illegal_ones_are_refused() -> None:
    arch = small()
    stages = (replace(arch.stages[0], ffn=BlockSpec.of("mix_ffn")), *arch.stages[1:])
    assert build(replace(arch, stages=stages)).architecture.stages[0].ffn.get("ratio") == 4
    stages = (*arch.stages[:3], replace(arch.stages[3], mixer=BlockSpec.of("mhsa", heads=12)))
    with pytest.raises(UserError, match=r"stages\.3\.mixer: heads 12 does not divide width 40"):
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
        said = start_from(model, read_trained(tmp_path), [])
        assert "decoder" in said
        for name, value in classifier.encoder.state_dict().items():
            assert torch.equal(model.encoder.state_dict()[name], value)
        with pytest.raises(UserError, match="holds a classifier, a segmenter is needed"):
            BoostFormer.load(tmp_path)

    def test_an_encoder_of_other_bands_gives_all_but_what_sees_the_image(self, tmp_path: Path) -> None:
        for name, unfit in (
            ("segformer_b0", ["stages.0.embed.proj.weight"]),
            ("boostformer", ["stages.0.embed.proj.weight"]),
        ):
            rgb = build(small(name))
            rgb.save_pretrained(tmp_path / name)
            model = build(small(name).replace(bands=4))
            before = {key: value.clone() for key, value in model.encoder.state_dict().items()}
            said = start_from(model, read_trained(tmp_path / name), [])
            assert said.endswith("; fresh: encoder.stages.0.embed")
            for key, value in model.encoder.state_dict().items():
                assert torch.equal(value, before[key] if key in unfit else rgb.encoder.state_dict()[key]), key

    def test_normalisation_is_kept_unless_it_is_imagenet_s(self, tmp_path: Path) -> None:
        rgb, grey = build(small()), build(small().replace(bands=1))
        assert rgb.normalisation == IMAGENET and grey.normalisation is None
        grey.normalisation = Normalisation((0.1,), (1 / 3,))
        rgb.save_pretrained(tmp_path / "rgb")
        grey.save_pretrained(tmp_path / "grey")
        assert "normalisation" not in json.loads((tmp_path / "rgb" / "config.json").read_text())
        assert BoostFormer.load(tmp_path / "rgb").normalisation == IMAGENET
        assert BoostFormer.load(tmp_path / "grey").normalisation == grey.normalisation
        for wrong in ({"mean": [0.1], "std": [0]}, {"mean": [0.1, 0.2], "std": [1, 1]}, {"mean": [0.1]}, [0.1]):
            with pytest.raises(UserError, match=r"config\.json: corrupted: normalisation\.(mean|std)"):
                BoostFormer.load(self.changed(tmp_path / "grey", normalisation=wrong))

    def changed(self, folder: Path, **changes: object) -> Path:
        file = folder / "config.json"
        config = json.loads(file.read_text()) | changes
        config.pop("checksum", None)
        file.write_text(json.dumps(config))
        return folder

    @pytest.mark.parametrize(
        ("change", "expected"),
        [
            ({"version": 99}, "checkpoint version 99 cannot be read, allowed: 2"),
            ({"version": 1}, "checkpoint version 1 cannot be read, allowed: 2"),
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
        from boostformer.weights import checkpoint

        with pytest.raises(UserError, match="cannot be written"):
            checkpoint.save(
                tmp_path / "file" / "checkpoint", {}, kind="segmenter", architecture=small(), labels=[], provenance={}
            )
