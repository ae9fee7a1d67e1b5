"""Starting from trained weights: what is taken, by name and shape, and what is said to be fresh."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from boostformer import presets
from boostformer.errors import UserError
from boostformer.model import BoostFormer, build
from boostformer.start import Trained, find_folder, read_trained, start_from, take_over

SIZE = (64, 64)


def network(seed: int, classes: int = 3, width: int | None = None) -> BoostFormer:
    torch.manual_seed(seed)
    arch = presets.load("boostformer_b0", classes=classes, size=SIZE)
    if width is not None:
        values = arch.to_dict()
        values["stages"][3]["width"] = width
        arch = type(arch).from_dict(values)
    return build(arch)


def trained(model: BoostFormer, labels: list[str]) -> Trained:
    return Trained("net", "0", dict(model.state_dict()), labels, model.architecture)


def test_the_same_network_is_taken_whole() -> None:
    one, other = network(0), network(1)
    said = start_from(other, trained(one, ["a", "b", "c"]), ["a", "b", "c"])
    assert all(torch.equal(value, one.state_dict()[name]) for name, value in other.state_dict().items())
    assert said == "starts from net: 100.0% of its numbers"


def test_another_width_takes_the_overlap() -> None:
    one, other = network(0), network(1, width=320)
    said = start_from(other, trained(one, []), [])
    state, theirs = other.state_dict(), one.state_dict()
    first, last = "encoder.stages.0.embed.proj.weight", "encoder.stages.3.embed.proj.weight"
    assert torch.equal(state[first], theirs[first]) and torch.equal(state[last][: len(theirs[last])], theirs[last])
    assert "in part, by overlapping slices: " in said and "encoder.stages.3.embed" in said and "stages.0" not in said


def test_classes_are_known_by_name() -> None:
    one, other = network(0, classes=3), network(1, classes=2)
    before = other.decoder.classifier.weight.clone()
    said = start_from(other, trained(one, ["road", "sky", "tree"]), ["tree", "car"])
    assert torch.equal(other.decoder.classifier.weight[0], one.decoder.classifier.weight[2])
    assert torch.equal(other.decoder.classifier.weight[1], before[1])
    assert "1 of 2 classes known by name" in said
    same_count = network(2, classes=3)
    before = same_count.decoder.classifier.weight.clone()
    said = start_from(same_count, trained(one, ["road", "sky", "tree"]), ["x", "y", "z"])
    assert torch.equal(same_count.decoder.classifier.weight, before) and "decoder.classifier" in said


def test_a_narrower_decoder_keeps_the_classes_that_it_knows() -> None:
    one = network(0)
    values = one.architecture.to_dict()
    values["decoder"]["width"] //= 2
    torch.manual_seed(1)
    other = build(type(one.architecture).from_dict(values))
    width, theirs = values["decoder"]["width"], one.decoder.classifier.weight
    assert 0 < take_over(other, trained(one, ["road", "sky", "tree"]), ["tree", "sky", "road"]) <= 1
    assert torch.equal(other.decoder.classifier.weight, theirs[[2, 1, 0], :width])


def test_as_little_as_there_is_can_be_taken_over() -> None:
    model = network(0)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    empty = Trained("net", "0", {}, [], model.architecture)
    assert take_over(model, empty, []) == 0
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_what_fits_nowhere_is_no_start() -> None:
    model = network(0)
    with pytest.raises(UserError, match="net: 0.0% of the encoder's numbers can be taken"):
        start_from(model, Trained("net", "0", {"decoder.norm.weight": torch.zeros(1)}, [], model.architecture), [])


def test_sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="no such folder, nor the name of a repository"):
        find_folder(tmp_path / "nowhere")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match="someone/net: no such folder, and the hub cannot be reached"):
        find_folder("someone/net")
    model = network(0)
    model.labels = ["a", "b", "c"]
    model.save_pretrained(tmp_path)
    found = read_trained(tmp_path)
    assert found.labels == ["a", "b", "c"] and len(found.digest) == 64 and set(found.weights) == set(model.state_dict())


def test_transformers_checkpoints_start_ours(shared: Path) -> None:
    folders = [path for path in (shared / "golden").rglob("config.json") if '"segformer"' in path.read_text()]
    if not folders:
        pytest.skip("no transformers checkpoint among the golden ones")
    found = read_trained(folders[0].parent)
    assert any(name.startswith("encoder.") for name in found.weights)
