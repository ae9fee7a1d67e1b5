"""Checkpoints of others' making: what is malformed, or holds what no network computes with, is refused in a line."""

from __future__ import annotations

import json
import random
import re
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from boostformer import BoostFormer, import_checkpoint, presets
from boostformer.errors import UserError
from boostformer.model import build
from boostformer.weights import checkpoint
from boostformer.weights.checkpoint import sha256


def refused(read: Callable[[Path], object], folder: Path) -> str:
    with pytest.raises(UserError) as caught:
        read(folder)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 600
    return str(caught.value)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    model = build(presets.load("segformer_b0").replace(classes=3, size=(64, 64)))
    model.labels = ["a", "b", "c"]
    model.save_pretrained(folder := tmp_path_factory.mktemp("saved"))
    return folder


@pytest.fixture
def ours(saved: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(saved, tmp_path / "ours"))


@pytest.fixture
def theirs(shared: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(shared / "golden" / "segformer_tiny", tmp_path / "theirs"))


def configured(folder: Path, changes: dict[str, Any], *without: str) -> Path:
    file = folder / "config.json"
    config = json.loads(file.read_text()) | changes
    file.write_text(json.dumps({key: value for key, value in config.items() if key not in {*without, "checksum"}}))
    return folder


def rehashed(folder: Path) -> Path:
    """Give the config the hash of the weights as they are now."""
    return configured(folder, {"weights_sha256": sha256(folder / "model.safetensors")})


FIRST = "decoder.classifier.bias"


@pytest.mark.parametrize(
    "kind", [torch.int8, torch.bool, torch.float8_e4m3fn, torch.complex64, torch.float64, torch.int64]
)
def test_weights_are_of_a_type_that_is_computed_with(ours: Path, kind: torch.dtype) -> None:
    weights = load_file(ours / "model.safetensors")
    save_file(weights | {FIRST: weights[FIRST].to(kind)}, ours / "model.safetensors")
    assert "allowed: float32, float16, bfloat16" in refused(BoostFormer.load, rehashed(ours))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_weights_are_finite(ours: Path, theirs: Path, value: float) -> None:
    weights = load_file(ours / "model.safetensors")
    save_file(weights | {FIRST: torch.full((3,), value)}, ours / "model.safetensors")
    assert f"weight '{FIRST}' holds numbers that are not finite" in refused(BoostFormer.load, rehashed(ours))
    weights = load_file(theirs / "model.safetensors")
    name = min(weights)
    weights.pop("decode_head.classifier.bias")
    save_file(weights | {name: weights[name] * value}, theirs / "model.safetensors")
    assert f"weight '{name}' holds numbers that are not finite" in refused(import_checkpoint, theirs)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0" * 7,
        struct.pack("<Q", 2**63),
        struct.pack("<Q", 2**40) + b"{}",
        struct.pack("<Q", 2) + b"[]",
        struct.pack("<Q", 4) + b"null",
        struct.pack("<Q", 20) + b'{"a":{"dtype":"F32"}',
        struct.pack("<Q", 61) + b'{"a":{"dtype":"F32","shape":[1000000],"data_offsets":[0,4]}} ' + b"\0" * 4,
        struct.pack("<Q", 5000) + b"[" * 5000,
    ],
)
def test_malformed_weights_with_the_right_hash(ours: Path, theirs: Path, content: bytes) -> None:
    for folder, read in ((ours, BoostFormer.load), (theirs, import_checkpoint)):
        (folder / "model.safetensors").write_bytes(content)
        assert "model.safetensors: damaged" in refused(read, rehashed(folder) if folder == ours else folder)


def test_bytes_of_a_header_that_were_changed(ours: Path) -> None:
    """Read it, whole as it was or refused."""
    file, draw = ours / "model.safetensors", random.Random(0)
    content = file.read_bytes()
    for _ in range(40):
        changed = bytearray(content)
        for _ in range(draw.randint(1, 4)):
            changed[draw.randrange(2_000)] = draw.randrange(256)
        file.write_bytes(changed)
        refused(BoostFormer.load, rehashed(ours))


@pytest.mark.parametrize(
    "labels",
    [None, "abc", 3, [1, 2, 3], [["a"], "b", "c"], ["a", "b"], ["a", "a", "b"], ["a" * 10**6, "b", "c"]]
    + [["a\x1b]52;c;aGk=\x07", "b", "c"], ["\ud800", "b", "c"], {"0": "a"}],
)
def test_labels_are_texts_one_for_each_class(ours: Path, labels: object) -> None:
    assert "labels" in refused(BoostFormer.load, configured(ours, {"labels": labels}))


@pytest.mark.parametrize("key", ["labels", "architecture", "provenance", "weights_sha256", "kind", "version"])
def test_a_key_is_missing(ours: Path, key: str) -> None:
    assert key in refused(BoostFormer.load, configured(ours, {}, key))


@pytest.mark.parametrize("change", [("0.25", "0.75"), ("0.229", "0.228"), ('"b"', '"d"')])
def test_a_config_that_was_damaged_within_what_may_be(tmp_path: Path, change: tuple[str, str]) -> None:
    """A digit of a score or of the normalisation would give wrong numbers without a word."""
    mean = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
    network = presets.load("segformer_b0").replace(classes=3, size=(64, 64))
    checkpoint.save(
        tmp_path,
        build(network).state_dict(),
        kind="segmenter",
        architecture=network,
        labels=["a", "b", "c"],
        provenance={"metrics": {"miou": 0.25, "per_class": [float("nan"), 0.5]}},
        normalisation=mean,
    )
    assert checkpoint.read_config(tmp_path).provenance["metrics"]["miou"] == 0.25
    file = tmp_path / "config.json"
    file.write_text(text := file.read_text().replace(*change, 1))
    assert "'checksum'" in refused(checkpoint.read_config, tmp_path)
    file.write_text(re.sub(r',\s*"checksum": "\w+"', "", text))  # as the message says
    checkpoint.read_config(tmp_path)


@pytest.mark.parametrize("text", ["[" * 100_000, "[]", "null", "1" * 5000, '{"a": 1', "\ufeff{}", ""])
def test_a_config_that_is_none(ours: Path, theirs: Path, text: str) -> None:
    for folder, read in ((ours, BoostFormer.load), (theirs, import_checkpoint)):
        (folder / "config.json").write_text(text)
        assert "config.json: " in refused(read, folder)


def test_a_deeper_network_than_its_weights_is_refused_before_it_is_built(
    ours: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = json.loads((ours / "config.json").read_text())
    config["architecture"]["stages"][3].update(depth=20, width=2048)
    monkeypatch.setattr(torch.nn.init, "trunc_normal_", lambda tensor, **_: tensor if tensor.is_meta else 1 / 0)
    assert "weights and architecture differ" in refused(BoostFormer.load, configured(ours, config))


LISTS = ("hidden_sizes", "depths", "num_attention_heads", "sr_ratios", "mlp_ratios", "patch_sizes")
FORMS: list[tuple[str, object]] = [
    *((key, value) for key in LISTS for value in (None, 4, "four", [1, 2, 3], [1, 2, 3, "4"], [1, 2, 3, 4.5])),
    *((key, value) for key in LISTS for value in ([0, 1, 1, 1], [-1, 1, 1, 1], [10**9] * 4, [True] * 4, {"0": 1})),
    *(("decoder_hidden_size", value) for value in (None, 0, -1, "256", 2.5, 10**9, [256])),
    *(("strides", value) for value in (None, 4, "4222", [4, 2, 2], {"0": 4})),
    *(("id2label", value) for value in ([], {}, "abc", {"a": "b"}, {"0": 1}, {"1": "a"}, {"0": None}, {"²": "a"})),
    *(("id2label", value) for value in ({"0": "a", "2": "b"}, {"0": ["a"]}, {"0": "a" * 10**6}, {"0": "\x1b[2J"})),
    *(("hidden_act", value) for value in ("relu", None, 1)),
    *(("model_type", value) for value in (None, 1, ["segformer"], "bert" * 10**5)),
]


@pytest.mark.parametrize(("key", "value"), FORMS, ids=lambda value: str(value)[:20])
def test_a_foreign_config_is_typed(theirs: Path, key: str, value: object) -> None:
    assert f"config.json: {key}" in refused(import_checkpoint, configured(theirs, {key: value}))


@pytest.mark.parametrize("value", [None, 0, -1, "7", 2.5, 10**9, [7]])
def test_a_number_of_labels_is_one(theirs: Path, value: object) -> None:
    found = refused(import_checkpoint, configured(theirs, {"num_labels": value}, "id2label"))
    assert "config.json: num_labels: " in found


def test_a_name_of_a_stage_that_there_is_not(theirs: Path) -> None:
    weights = load_file(theirs / "model.safetensors")
    name = "segformer.encoder.block.7.0.layer_norm_1.weight"
    save_file(weights | {name: torch.ones(1)}, theirs / "model.safetensors")
    assert f"'{name}' has no place" in refused(import_checkpoint, theirs)


@pytest.mark.parametrize("content", [[1], {"a": 1}, {1: torch.ones(1)}, {"a": torch.ones(1, dtype=torch.int8)}, "x"])
def test_a_pickle_of_something_else(theirs: Path, content: object) -> None:
    (theirs / "model.safetensors").unlink()
    torch.save(content, theirs / "pytorch_model.bin")
    assert "pytorch_model.bin: " in refused(import_checkpoint, theirs)
