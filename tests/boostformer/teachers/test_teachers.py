"""Teachers: opened from folders, their classes matched, their pixels converted, stored logits moved with the image."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from data_fixtures import ListSplit
from PIL import Image
from safetensors.numpy import save_file
from training_cases import SIZE, colours, short

from boostformer import presets
from boostformer.data import DataConfig
from boostformer.data.augment import SegmentationAugmentation
from boostformer.data.normalise import normalise
from boostformer.data.places import inside, numbered_places, places_of
from boostformer.data.unlabelled import open_unlabelled
from boostformer.data.variation import Variation
from boostformer.errors import UserError
from boostformer.model import Classifier, build
from boostformer.teachers.networks import LiveTeacher, Pixels, read_pixels
from boostformer.teachers.opening import open_teacher
from boostformer.teachers.stored import StoredTeacher
from boostformer.teachers.teacher import Identity, Teacher, match_classes
from boostformer.training.taught import TaughtTask, Teaching
from boostformer.weights.licence import licence_of


class Named(Teacher):
    def __init__(self, labels: list[str], classes: int | None = None) -> None:
        self.identity = Identity("t", "0", None, None)
        self.labels, self.classes = labels, len(labels) if classes is None else classes


def test_classes_go_by_name() -> None:
    rows, said = match_classes(Named(["sky", "road", "car"]), ["road", "tree", "sky"])
    assert rows == [1, None, 0] and said is not None and "'tree'" in said and "1 more" in said
    assert match_classes(Named(["a", "b"]), ["a", "b"]) == ([0, 1], None)
    with pytest.raises(UserError, match="knows 1 of the data's 3 classes by name"):
        match_classes(Named(["sky", "x"]), ["road", "tree", "sky"])


def test_without_names_equally_many_classes_go_by_number() -> None:
    rows, said = match_classes(Named([], 2), ["a", "b"])
    assert rows == [0, 1] and said is not None and "by number" in said
    with pytest.raises(UserError, match="knows 3 classes, the data have 2"):
        match_classes(Named(["LABEL_0", "LABEL_1", "LABEL_2"]), ["a", "b"])


def test_a_checkpoint_of_ours(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = build(presets.load("boostformer_b0", classes=3, size=SIZE)).eval()
    model.labels, model.provenance = ["a", "b", "c"], {"licence": "mit"}
    model.save_pretrained(tmp_path)
    teacher = open_teacher(tmp_path, SIZE, [])
    assert isinstance(teacher, LiveTeacher)
    assert teacher.labels == ["a", "b", "c"] and len(teacher.widths) == 4 and teacher.macs > 0
    assert teacher.identity.params == sum(p.numel() for p in model.parameters())
    assert teacher.identity.licence == "mit" and len(teacher.identity.sha256) == 64
    x = torch.randn(2, 3, *SIZE)
    with torch.no_grad():
        assert torch.allclose(teacher(x)[0], model(x), atol=1e-5)


def test_a_classifier_is_no_teacher(tmp_path: Path) -> None:
    Classifier(presets.load("boostformer_b0", classes=3, size=SIZE)).save_pretrained(tmp_path)
    with pytest.raises(UserError, match="holds a classifier"):
        open_teacher(tmp_path, SIZE, [])


def preprocessor(folder: Path, **said: object) -> None:
    (folder / "preprocessor_config.json").write_text(json.dumps(said))


HALVES = {"do_normalize": True, "image_mean": [0.5, 0.4, 0.3], "image_std": [0.5, 0.25, 0.2]}


def transformers_network(kind: str):
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    names = {"id2label": {0: "a", 1: "b", 2: "c"}, "label2id": {"a": 0, "b": 1, "c": 2}}
    if kind == "segformer":
        config = transformers.SegformerConfig(
            hidden_sizes=[8, 8, 8, 8],
            depths=[1, 1, 1, 1],
            num_attention_heads=[1, 1, 1, 1],
            decoder_hidden_size=8,
            **names,
        )
        return transformers.SegformerForSemanticSegmentation(config).eval()
    config = transformers.MobileNetV2Config(depth_multiplier=0.1, min_depth=8, output_stride=16, **names)
    return transformers.MobileNetV2ForSemanticSegmentation(config).eval()


@pytest.mark.parametrize("kind", ["segformer", "mobilenet_v2"])
def test_transformers_networks_give_their_own_logits(tmp_path: Path, kind: str) -> None:
    network = transformers_network(kind)
    network.save_pretrained(tmp_path)
    preprocessor(tmp_path, **HALVES)
    (tmp_path / "README.md").write_text("---\nlicense: other\nlicense_name: theirs\n---\nA card.\n")
    teacher = open_teacher(tmp_path, (64, 96), [])
    assert isinstance(teacher, LiveTeacher) and teacher.labels == ["a", "b", "c"]
    assert bool(teacher.widths) == (kind == "segformer") and teacher.identity.licence == "other, theirs"
    pixels = torch.randint(0, 256, (2, 64, 96, 3), dtype=torch.uint8)
    mean, std = (torch.tensor(HALVES[key])[:, None, None] for key in ("image_mean", "image_std"))
    with torch.no_grad():
        expected = network(pixel_values=(pixels.permute(0, 3, 1, 2) / 255 - mean) / std).logits
    found, _ = teacher(normalise(pixels))
    assert torch.allclose(found, expected, atol=1e-4 * float(expected.abs().max()))


def test_a_classifier_of_transformers_is_no_teacher(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    config = transformers.MobileNetV2Config(depth_multiplier=0.1, min_depth=8)
    transformers.MobileNetV2ForImageClassification(config).save_pretrained(tmp_path)
    with pytest.raises(UserError, match="has no weights for .* parts of a segmenter"):
        open_teacher(tmp_path, SIZE, [])


def test_without_a_preprocessor_ours_is_taken_and_said(tmp_path: Path) -> None:
    remarks: list[str] = []
    assert read_pixels(tmp_path, remarks) == Pixels() and "are taken to be" in remarks[0]


def test_networks_that_want_bgr_or_bytes(tmp_path: Path) -> None:
    pixels = torch.randint(0, 256, (1, 4, 6, 3), dtype=torch.uint8)
    x, raw = normalise(pixels), pixels.permute(0, 3, 1, 2).float()
    preprocessor(tmp_path, do_flip_channel_order=True)
    assert torch.allclose(read_pixels(tmp_path, []).convert(x), raw.flip(1) / 255, atol=1e-5)
    preprocessor(tmp_path, do_rescale=False, do_flip_channel_order=True, image_mean=[1, 2, 3], image_std=[1, 2, 4])
    mean, std = (torch.tensor(values)[:, None, None] for values in ([1.0, 2, 3], [1.0, 2, 4]))
    assert torch.allclose(read_pixels(tmp_path, []).convert(x), (raw.flip(1) - mean) / std, atol=1e-3)
    preprocessor(tmp_path, do_normalize=True, image_mean=[0.5], image_std=[1, 1, 1])
    with pytest.raises(UserError, match="image_mean: .* must be three numbers"):
        read_pixels(tmp_path, [])


def test_transformers_is_named_where_it_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "mobilenet_v2"}')
    monkeypatch.setitem(__import__("sys").modules, "transformers", None)
    with pytest.raises(UserError, match=r"pip install 'boostformer\[transformers\]'"):
        open_teacher(tmp_path, SIZE, [])


def test_licences(tmp_path: Path) -> None:
    assert licence_of(tmp_path) is None
    (tmp_path / "config.json").write_text('{"license": "mit"}')
    assert licence_of(tmp_path) == "mit"
    (tmp_path / "README.md").write_text("no header\n")
    assert licence_of(tmp_path) == "mit"


def coordinates(height: int, width: int) -> np.ndarray:
    """Logits that say where they are: row and column of the pixel."""
    return np.stack(np.mgrid[:height, :width]).astype(np.float32)


def test_stored_logits_move_with_the_image(tmp_path: Path) -> None:
    np.save(tmp_path / "one.npy", coordinates(40, 56))
    teacher = StoredTeacher(tmp_path, "logits", ["one"])
    image = np.zeros((40, 56, 3), np.uint8)
    image[..., :2] = coordinates(40, 56).transpose(1, 2, 0)  # the same coordinates, in colours
    label = np.indices((40, 56)).sum(0).astype(np.uint8) % 5
    flips = 0
    for seed in range(12):
        vary = SegmentationAugmentation((32, 32), Variation(scale=(1, 1), colour=0))
        varied = vary(seed, image=image, mask=label, places=numbered_places((40, 56)))
        assert inside(varied["places"], (40, 56)).all()
        seen = teacher.seen("one", varied["places"], (40, 56), (8, 8))
        cells = varied["image"][..., :2].astype(float).reshape(8, 4, 8, 4, 2).mean((1, 3))
        np.testing.assert_allclose(seen.numpy().transpose(1, 2, 0), cells, atol=1e-3)
        flips += varied["image"][0, 0, 1] > varied["image"][0, 1, 1]
    assert 0 < flips < 12


def test_stored_logits_turn_with_the_image(tmp_path: Path) -> None:
    np.save(tmp_path / "one.npy", coordinates(40, 56))
    image = np.zeros((40, 56, 3), np.uint8)
    image[..., :2] = coordinates(40, 56).transpose(1, 2, 0)
    label = np.zeros((40, 56), np.uint8)
    turn = SegmentationAugmentation((40, 56), Variation(scale=(1, 1), flip=0, colour=0, rotate=40))
    varied = turn(0, image=image, mask=label, places=numbered_places((40, 56)))
    within = inside(varied["places"], (40, 56))
    assert (within == (varied["mask"] == 0)).all() and 0 < within.mean() < 1
    seen = StoredTeacher(tmp_path, "logits", ["one"]).seen("one", varied["places"], (40, 56), (10, 14))
    whole = within.reshape(10, 4, 14, 4).all((1, 3))
    cells = varied["image"][..., :2].astype(float).reshape(10, 4, 14, 4, 2).mean((1, 3))
    np.testing.assert_allclose(seen.numpy().transpose(1, 2, 0)[whole], cells[whole], atol=1)


def test_stored_logits_of_another_size_cover_the_whole_image(tmp_path: Path) -> None:
    small = coordinates(10, 14).astype(np.float16)
    np.savez(tmp_path / "one.npz", small)
    teacher = StoredTeacher(tmp_path, "logits", ["one"])
    seen = teacher.seen("one", numbered_places((40, 56)), (40, 56), (10, 14))
    np.testing.assert_allclose(seen.numpy(), small, atol=1e-3)


def test_places_outside_are_known_whatever_fills_them() -> None:
    places = numbered_places((4, 5))
    places[0], places[1] = 255, np.iinfo(np.int32).max
    assert inside(places, (4, 5)).tolist() == [[False] * 5] * 2 + [[True] * 5] * 2
    rows, columns = places_of(places, (4, 5))
    assert rows[3].tolist() == [3] * 5 and columns[3].tolist() == list(range(5))


def test_a_stored_teacher_teaches_as_the_live_one(tmp_path: Path) -> None:
    split = colours()
    live = LiveTeacher(
        torch.nn.Conv2d(3, 3, 1), Identity("x", "0", None, 1), split.labels, Pixels(), lambda net, x: (net(x), ())
    )
    for index in range(len(split)):
        logits, _ = live(normalise(torch.tensor(split.image(index))[None]))
        save_file({"logits": np.ascontiguousarray(logits[0].numpy())}, tmp_path / f"{split.name(index)}.safetensors")
    stored = open_teacher(tmp_path, SIZE, [split.name(index) for index in range(len(split))])
    assert isinstance(stored, StoredTeacher)
    recipe = short(scale=(1, 1), colour=0)  # which stored logits could not follow
    tasks = [TaughtTask(split, SIZE, recipe, Teaching(teacher)) for teacher in (live, stored)]
    for position in range(6):
        found = []
        for task in tasks:
            image, target = task.samples[position]
            _, taught = task.batch(image[None], {name: value[None] for name, value in target.items()}, 0)
            found.append(torch.nn.functional.interpolate(taught.logits, (8, 12), mode="area"))
        assert torch.allclose(*found, atol=1e-4)


@pytest.mark.parametrize(
    ("arrays", "match"),
    [
        ({"0": np.zeros((3, 4, 4), np.float32)}, "has no logits of 1 of 2 images, such as '1'"),
        ({"0": np.zeros((4, 4), np.float32), "1": np.zeros((3, 4, 4), np.float32)}, r"0.npy: holds float32 \(4, 4\)"),
        ({"0": np.zeros((3, 4, 4)), "1": np.zeros((3, 4, 4))}, "0.npy: holds float64"),
        ({"0": np.zeros((3, 4, 4), "f4"), "1": np.zeros((2, 4, 4), "f4")}, "1.npy: tells 3 classes apart, others 2"),
    ],
)
def test_wrong_logits_are_refused(tmp_path: Path, arrays: dict[str, np.ndarray], match: str) -> None:
    for name, array in arrays.items():
        np.save(tmp_path / f"{name}.npy", array)
    with pytest.raises(UserError, match=match):
        StoredTeacher(tmp_path, "logits", ["0", "1"])


def test_images_of_one_name_cannot_have_stored_logits(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="two images are called 'a'"):
        StoredTeacher(tmp_path, "logits", ["a", "b", "a"])


def test_images_without_masks(tmp_path: Path) -> None:
    (tmp_path / "images" / "deep").mkdir(parents=True)
    for name in ("b.png", "deep/a.jpg"):
        Image.fromarray(np.full((20, 30, 3), 99, np.uint8)).save(tmp_path / "images" / name)
    config = DataConfig(root=tmp_path, size=(32, 48))
    for cache in (None, tmp_path / "cache"):
        split = open_unlabelled(tmp_path / "images", ["a", "b"], config, cache)
        assert [split.name(index) for index in range(len(split))] == ["b", "deep/a"]
        image, label = split.resized(0)
        assert image.shape == (32, 48, 3) and (label == split.ignored).all()
    with pytest.raises(UserError, match="holds no images"):
        open_unlabelled(tmp_path / "cache", ["a"], config)
    with pytest.raises(UserError, match="no such folder"):
        open_unlabelled(tmp_path / "nowhere", ["a"], config)


def test_images_without_masks_reach_the_loss_by_the_teacher_alone() -> None:
    split = colours()
    others = ListSplit([split.image(0)], [np.full((32, 48), 255, np.uint8)], 3, SIZE)
    teacher = Named(["class_0", "class_1", "class_2"])
    task = TaughtTask(split, SIZE, short(distillation={"unlabelled_share": 0.5}), Teaching(teacher, others))
    labelled, unlabelled = (task.samples[position][1]["labels"] for position in (0, 1))
    assert (unlabelled == 255).all() and not (labelled == 255).all()
