"""Model cards and what else lies beside a checkpoint: true, escaped, and carried to the hub."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from huggingface_hub import HfApi
from PIL import Image

from boostformer import presets
from boostformer.data import resize_image
from boostformer.data.normalise import STD, normalise
from boostformer.model import BoostFormer, Classifier, build
from boostformer.weights.card import CARD, MARK, PICTURE, escaped
from boostformer.weights.licence import licence_of
from boostformer.weights.preprocessor import PREPROCESSOR

SIZE = (32, 64)


@pytest.fixture
def model() -> BoostFormer:
    """A network that says it was trained."""
    torch.manual_seed(0)
    network = build(presets.load("boostformer_b0", classes=2, size=SIZE))
    network.labels = ["road | <b>x</b>", "*tree*\n# head"]
    picture = io.BytesIO()
    Image.new("RGB", (8, 4)).save(picture, "PNG")
    network.picture = picture.getvalue()
    network.provenance = {
        "recipe_name": "/home/me/secret/mine.yaml",
        "data": {"kind": "ade20k", "root": "/home/me/secret/a: [b] `c`", "size": list(SIZE), "fit": "exact"},
        "content": {"training": "0123abcd"},
        "recipe": {"iterations": 7, "batch_size": 2, "lr": 0.1, "schedule": "wsd", "precision": "fp32", "seed": 3},
        "teacher": {"id": "/home/me/secret/big", "sha256": "f" * 64, "licence": "other, theirs", "params": 5},
        "metrics": {"split": "validation", "miou": 0.125, "accuracy": 0.5, "per_class": [0.125, None], "images": 9},
        "costs": {"size": list(SIZE), "deployed": {"params": 4321, "macs": 987654}},
        "searched": {"run": "runs", "trial": 4, "picked": "the knee", "budgets": {"params": 5000}},
    }
    return network


def header_of(text: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(text.split("---\n")[1])
    return found


def test_it_says_what_is_known(model: BoostFormer, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path)
    text = (tmp_path / CARD).read_text()
    header = header_of(text)
    assert (header["library_name"], header["pipeline_tag"]) == ("boostformer", "image-segmentation")
    assert header["license"] == "unknown" and licence_of(tmp_path) is None
    [result] = header["model-index"][0]["results"]
    assert result["dataset"] == {"name": "a: [b] `c`", "type": "ade20k", "split": "validation"}
    assert result["metrics"][0]["value"] == 0.125
    params = sum(value.numel() for value in model.parameters())
    for said in ("mIoU 12.50%", "9 images", "987,654", "4,321", f"{params:,}", "`0123abcd`", "7 iterations", "5,000"):
        assert said in text, said
    assert "licence other, theirs" in text and "`mine.yaml`" in text and f"]({PICTURE})" in text
    assert "secret" not in text and "push" not in text.lower()
    assert (tmp_path / PICTURE).read_bytes() == model.picture


def test_names_are_no_markup(model: BoostFormer, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path)
    text = (tmp_path / CARD).read_text()
    assert r"| road \| \<b\>x\</b\> | 12.50% |" in text
    assert r"| \*tree\* \# head | does not occur |" in text
    assert r"a\: \[b\] \`c\`" in text
    assert escaped("a\u2028b\tc\x00") == "a b c"


def test_a_licence_that_is_known_is_said(model: BoostFormer, tmp_path: Path) -> None:
    start = {"id": "owner/name", "sha256": "0" * 64, "licence": "cc-by-4.0"}
    model.provenance = {"recipe": model.provenance["recipe"], "initialised_from": start}
    assert header_of(model.generate_model_card().content)["license"] == "cc-by-4.0"
    model.provenance["licence"] = "mit"
    model.save_pretrained(tmp_path)
    assert licence_of(tmp_path) == "mit"
    assert "started from owner/name, licence cc-by-4.0" in (tmp_path / CARD).read_text()


def test_a_licence_with_a_name_of_its_own_keeps_it(model: BoostFormer, tmp_path: Path) -> None:
    model.provenance = {"initialised_from": {"id": "owner/name", "sha256": "0" * 64, "licence": "other, theirs"}}
    model.save_pretrained(tmp_path)
    header = header_of((tmp_path / CARD).read_text())
    assert (header["license"], header["license_name"]) == ("other", "theirs") and licence_of(
        tmp_path
    ) == "other, theirs"


def test_a_lineage_is_told_without_places(model: BoostFormer) -> None:
    lineage = {
        "iterations": 1200,
        "trials": [{"trial": 3, "id": "a" * 12, "miou": 0.4, "behind": 600}, {"trial": 8, "id": "b" * 12}],
        "start": {"place": "/home/me/secret/net", "sha256": "0" * 64},
        "changes": ["stages.0.width 32 → 24"],
    }
    model.provenance = {"searched": {"trial": 8, "run": "search", "picked": "as asked", "lineage": lineage}}
    text = model.generate_model_card().content
    assert "inherited its weights: net → trial 3 → trial 8, 1,200 iterations" in text and "secret" not in text
    assert "changed since: stages.0.width 32 → 24" in text.replace("\\", "")


def test_nothing_is_said_of_what_nobody_knows(tmp_path: Path) -> None:
    for network in (build(presets.load("boostformer_b0")), Classifier(presets.load("boostformer_b0"))):
        folder = tmp_path / network.kind
        network.save_pretrained(folder)
        text = (folder / CARD).read_text()
        assert "was not scored" in text and "mIoU" not in text and "## Training" not in text
        assert not (folder / PICTURE).exists() and PICTURE not in text
        assert (folder / PREPROCESSOR).exists() == (network.kind == "segmenter")


def test_a_card_follows_its_network_but_somebody_s_own_stays(model: BoostFormer, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path)
    model.provenance["metrics"]["miou"], model.picture = 0.75, None
    model.save_pretrained(tmp_path)
    assert "mIoU 75.00%" in (tmp_path / CARD).read_text() and not (tmp_path / PICTURE).exists()
    own = (tmp_path / CARD).read_text().replace(MARK, "mine")
    (tmp_path / CARD).write_text(own)
    (tmp_path / PICTURE).write_bytes(b"mine")
    build(presets.load("boostformer_b0")).save_pretrained(tmp_path)
    assert (tmp_path / CARD).read_text() == own and (tmp_path / PICTURE).read_bytes() == b"mine"


def readable(model: BoostFormer) -> BoostFormer:
    """Give the network names that are read again: those with control characters are refused then."""
    model.labels = [name.replace("\n", " ") for name in model.labels]
    return model


def test_push_takes_card_and_picture_along(model: BoostFormer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    readable(model).save_pretrained(tmp_path)
    pushed: dict[str, bytes] = {}

    class Made:
        repo_id = "me/net"

    def upload(self: HfApi, *, folder_path: Path, **rest: object) -> str:
        pushed.update({file.name: file.read_bytes() for file in Path(folder_path).iterdir()})
        return "address"

    monkeypatch.setattr(HfApi, "create_repo", lambda self, **rest: Made)
    monkeypatch.setattr(HfApi, "upload_folder", upload)
    assert BoostFormer.from_pretrained(tmp_path).push_to_hub("me/net") == "address"
    assert pushed == {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    assert {CARD, PICTURE, PREPROCESSOR, "config.json", "model.safetensors"} == pushed.keys()


@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002])
def test_files_have_the_mode_that_the_user_s_have(model: BoostFormer, tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        model.save_pretrained(tmp_path / "net")
    finally:
        os.umask(before)
    modes = {file.name: file.stat().st_mode & 0o777 for file in (tmp_path / "net").iterdir()}
    assert modes == dict.fromkeys(modes, 0o666 & ~umask) and "model.safetensors" in modes


def both_ways(model: BoostFormer, folder: Path, image: np.ndarray) -> list[torch.Tensor]:
    """How far transformers' preparation of an image is from ours, of a network for such images, in levels of 0…255."""
    transformers = pytest.importorskip("transformers")
    size = list(image.shape[:2])
    model.provenance["data_summary"] = {"sizes": {"smallest": size, "median": size, "largest": size}}
    model.save_pretrained(folder)
    ours = normalise(torch.from_numpy(resize_image(image, SIZE))[None], model.normalisation)
    kinds = (transformers.SegformerImageProcessor, transformers.AutoImageProcessor)
    theirs = [kind.from_pretrained(folder)(Image.fromarray(image), return_tensors="pt").pixel_values for kind in kinds]
    return [(one - ours).abs() * torch.tensor(STD)[:, None, None] * 255 for one in theirs]


@pytest.mark.parametrize(("height", "width"), [(64, 192), (160, 64 * 7), (32, 64), (20, 30)])
def test_transformers_prepares_images_alike(model: BoostFormer, tmp_path: Path, height: int, width: int) -> None:
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    for levels in both_ways(model, tmp_path, image):
        assert levels.shape == (1, 3, *SIZE) and levels.max() < 1.01


@pytest.mark.parametrize(("height", "width"), [(97, 171), (45, 90)])
def test_transformers_prepares_images_of_any_ratio_nearly_alike(
    model: BoostFormer, tmp_path: Path, height: int, width: int
) -> None:
    rows, columns = np.mgrid[:height, :width]
    image = np.stack([127 + 120 * np.sin(rows / 3 + columns * rate) for rate in (0.1, 0.2, 0.3)], -1).astype(np.uint8)
    for levels in both_ways(model, tmp_path, image):
        assert levels.mean() < 2.55


@pytest.mark.parametrize("setting", [{"fit": "short_side"}, {"fit": "tile"}, {"levels": [0, 9]}, {"bands": 3}])
def test_what_transformers_cannot_prepare_is_not_claimed(
    model: BoostFormer, tmp_path: Path, setting: dict[str, Any]
) -> None:
    model.save_pretrained(tmp_path)
    model.provenance["data"] |= setting
    model.save_pretrained(tmp_path)
    assert not (tmp_path / PREPROCESSOR).exists()


@pytest.mark.parametrize(
    "key", ["data", "data_summary", "recipe", "teacher", "metrics", "costs", "searched", "initialised_from"]
)
@pytest.mark.parametrize("value", ["mine", {"x": 1}, [1], 3])
def test_provenance_of_another_form_is_saved_all_the_same(
    model: BoostFormer, tmp_path: Path, key: str, value: object
) -> None:
    readable(model).provenance[key] = value
    model.save_pretrained(tmp_path)
    assert header_of((tmp_path / CARD).read_text())["library_name"] == "boostformer"
    assert BoostFormer.load(tmp_path).provenance == model.provenance
