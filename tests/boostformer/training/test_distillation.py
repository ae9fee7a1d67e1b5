"""Distillation: losses against plain NumPy, a student that follows its teacher, exact resuming, who is refused."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from data_fixtures import ListSplit, tiny_net
from pydantic import ValidationError
from training_cases import SIZE, assert_same, colours, short

from boostformer import presets
from boostformer.data.normalise import normalise
from boostformer.errors import UserError
from boostformer.model import BoostFormer, build
from boostformer.teachers.networks import LiveTeacher, Pixels
from boostformer.teachers.teacher import Identity
from boostformer.training import Recipe, train
from boostformer.training.distillation import (
    DistillationLoss,
    Taught,
    channel_divergence,
    map_distance,
    pixel_divergence,
    shrunk,
)
from boostformer.training.distillation_config import DistillationConfig
from boostformer.training.heads import Outputs
from boostformer.training.taught import Interleaved, TaughtTask, Teaching

NAMES = ["class_0", "class_1", "class_2"]


def colour_teacher(order: tuple[int, ...] = (0, 1, 2), sha: str = "a" * 64) -> LiveTeacher:
    """A network that tells the three colours of ``colours()`` apart without mistake; its logits are in ``order``."""
    network = torch.nn.Sequential(torch.nn.AvgPool2d(4), torch.nn.Conv2d(3, len(order), 1, bias=False))
    with torch.no_grad():
        network[1].weight.copy_(3 * torch.eye(3)[list(order)][:, :, None, None])
    teacher = LiveTeacher(
        network, Identity("colours", sha, None, 9), [NAMES[i] for i in order], Pixels(), lambda net, x: (net(x), ())
    )
    teacher.measure(SIZE)
    return teacher


def blind(split: ListSplit) -> ListSplit:
    """The same images without any label."""
    labels = [np.full_like(split.label(i), 255) for i in range(len(split))]
    return ListSplit([split.image(i) for i in range(len(split))], labels, 3, split.size)


@pytest.fixture
def pair() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    student, teacher = (torch.randn(2, 4, 5, 6, generator=generator) for _ in range(2))
    return student, teacher, torch.rand(2, 5, 6, generator=generator) > 0.3


def softmax(x: np.ndarray, axis: int) -> np.ndarray:
    powers = np.exp(x - x.max(axis, keepdims=True))
    return powers / powers.sum(axis, keepdims=True)


def test_pixels_are_compared_as_numpy_does(pair) -> None:
    student, teacher, where = pair
    q, p = (softmax(one.numpy().astype(float) / 2, 1) for one in (student, teacher))
    expected = 4 * (p * np.log(p / q)).sum(1)[where.numpy()].mean()
    assert pixel_divergence(student, teacher, where, 2.0).item() == pytest.approx(expected, rel=1e-5)
    assert pixel_divergence(student, teacher, torch.zeros_like(where), 2.0) == 0


def test_channels_are_compared_as_numpy_does(pair) -> None:
    student, teacher, where = pair
    costs = []
    for image in range(2):
        for channel in range(4):
            own, theirs = (x[image, channel].numpy().astype(float)[where[image].numpy()] for x in (student, teacher))
            q, p = softmax(own / 4, 0), softmax(theirs / 4, 0)
            costs.append(16 * (p * np.log(p / q)).sum())
    assert channel_divergence(student, teacher, where, 4.0).item() == pytest.approx(np.mean(costs), rel=1e-4)
    assert channel_divergence(student, teacher, torch.zeros_like(where), 4.0) == 0


def test_maps_are_compared_by_direction_not_size(pair) -> None:
    student, teacher, where = pair
    assert map_distance(student, 5 * student + 2, where).item() == pytest.approx(0, abs=1e-4)
    assert map_distance(student, -student, where).item() == pytest.approx(4, rel=1e-3)
    changed = teacher.clone()
    changed.permute(0, 2, 3, 1)[~where] = 100.0
    assert torch.equal(map_distance(student, teacher, where), map_distance(student, changed, where))


def test_a_cell_counts_when_all_its_pixels_do() -> None:
    where = torch.ones(1, 6, 6, dtype=torch.bool)
    where[0, 0, 0] = False
    assert shrunk(where, (2, 2)).tolist() == [[[False, True], [True, True]]]


def test_a_class_that_the_teacher_lacks_is_left_out(pair) -> None:
    student, teacher, where = pair
    loss = DistillationLoss(DistillationConfig(logits=1, channels=1), [2, None, 0, 1])
    taught = Taught(torch.zeros(2, 5, 6), where, teacher[:, :3])
    found = loss(Outputs(student), taught)
    known, theirs = student[:, [0, 2, 3]], teacher[:, [2, 0, 1]]
    expected = pixel_divergence(known, theirs, where, 1.0) + channel_divergence(known, theirs, where, 4.0)
    assert found.item() == pytest.approx(expected.item())
    other = student.clone()
    other[:, 1] = 9.0
    assert torch.equal(loss(Outputs(other), taught), found)


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1)])
def test_a_student_without_labels_follows_its_teacher(order: tuple[int, ...]) -> None:
    split, model = blind(colours()), tiny_net(3)
    train(model, split, short(iterations=60, lr=0.05), size=SIZE, teaching=Teaching(colour_teacher(order)))
    model.eval()
    hits = []
    for index in range(len(split)):
        image = torch.tensor(split.image(index))[None]
        predicted = model(normalise(image)).argmax(1)[0].numpy()
        hits.append((predicted == colours().label(index)[2::4, 2::4]).mean())
    assert np.mean(hits) > 0.95


def test_stage_adapters_learn_and_are_thrown_away() -> None:
    arch = presets.load("boostformer_b0", classes=3, size=(32, 64))
    torch.manual_seed(0)
    teacher = stage_teacher(build(arch))
    recipe = short(distillation={"logits": 0, "stages": 1.0, "stage_numbers": (1, 3)})
    task = TaughtTask(colours(), (32, 64), recipe, Teaching(teacher))
    student = build(arch)
    whole = task.trained(student)
    images, target = task.samples[0]
    inputs, taught = task.batch(
        images[None].repeat(2, 1, 1, 1), {k: v[None].repeat(2, 1, 1) for k, v in target.items()}, 0
    )
    outputs = whole(inputs)
    assert isinstance(outputs, Outputs) and len(taught.maps) == 4 and len(outputs.adapted) == 2
    task.against(outputs, taught).backward()
    named = dict(whole.named_parameters())
    assert named["adapters.0.weight"].grad.abs().sum() > 0
    assert named["network.encoder.stages.2.embed.proj.weight"].grad.abs().sum() > 0
    teachers = {id(p) for p in teacher.network.parameters()}
    assert not teachers & {id(p) for p in whole.parameters()}
    assert all(p.grad is None and not p.requires_grad for p in teacher.network.parameters())
    assert not any("adapter" in name for name in student.state_dict())


def stage_teacher(network: BoostFormer) -> LiveTeacher:
    def forward(net, x):
        maps = net.forward_features(x)
        return net.decoder(maps), tuple(maps)

    teacher = LiveTeacher(network, Identity("net", "b" * 64, None, 1), [], Pixels(), forward)
    teacher.measure((32, 64))
    return teacher


class Stop(Exception):
    pass


def test_resuming_with_a_teacher_gives_the_same_weights_and_another_one_is_refused(tmp_path: Path) -> None:
    recipe = short(save_every=4, distillation={"channels": 1.0, "unlabelled_share": 0.3})
    teaching = Teaching(colour_teacher(), blind(colours(4, seed=1)))
    whole = tiny_net(3)
    train(whole, colours(), recipe, size=SIZE, teaching=teaching)

    def stop(iteration: int, iterations: int, loss: float) -> None:
        if iteration == 7:
            raise Stop

    with pytest.raises(Stop):
        train(tiny_net(3), colours(), recipe, size=SIZE, teaching=teaching, progress=stop, resume_dir=tmp_path)
    other = Teaching(colour_teacher(sha="c" * 64), teaching.unlabelled)
    with pytest.raises(UserError, match=r"other teacher\.sha256"):
        train(tiny_net(3), colours(), recipe, size=SIZE, teaching=other, resume_dir=tmp_path)
    with pytest.raises(UserError, match="teacher"):
        train(tiny_net(3), colours(), recipe, size=SIZE, resume_dir=tmp_path)
    again = tiny_net(3, seed=9)
    assert train(again, colours(), recipe, size=SIZE, teaching=teaching, resume_dir=tmp_path).resumed_from == 4
    assert_same(dict(whole.state_dict()), dict(again.state_dict()))


def test_without_a_teacher_its_weights_mean_nothing() -> None:
    plain, weighed = tiny_net(3), tiny_net(3)
    train(plain, colours(), short(iterations=2, warmup_iterations=0), size=SIZE)
    recipe = short(iterations=2, warmup_iterations=0, distillation={"logits": 0.0, "stages": 3.0})
    train(weighed, colours(), recipe, size=SIZE)
    assert_same(dict(plain.state_dict()), dict(weighed.state_dict()))
    assert recipe.unusual() == {} and "distillation.stages" in recipe.unusual(taught=True)


def test_padding_is_not_distilled() -> None:
    task = TaughtTask(colours(), (64, 64), short(scale=(0.5, 0.5)), Teaching(colour_teacher()))
    _, target = task.samples[0]
    assert target["inside"][:16, :24].all() or target["inside"][:16, -24:].all()
    assert target["inside"].sum() == 16 * 24


@pytest.mark.parametrize(
    ("distillation", "match"),
    [
        ({"logits": 0}, "distillation.logits, .channels and .stages are all 0"),
        ({"stages": 1}, "distillation.stages: 1, but the teacher colours has no maps"),
        ({"everywhere": False}, "distillation.everywhere: false"),
    ],
)
def test_what_cannot_be_taught_is_refused(distillation: dict[str, object], match: str) -> None:
    teaching = Teaching(colour_teacher(), blind(colours()))
    with pytest.raises(UserError, match=match):
        train(tiny_net(3), colours(), short(distillation=distillation), size=SIZE, teaching=teaching)


def test_settings() -> None:
    with pytest.raises(ValidationError, match="stage_numbers must be some of 1, 2, 3, 4"):
        Recipe(distillation={"stages": 1, "stage_numbers": [0]})
    assert not DistillationConfig(logits=0).teaches and DistillationConfig().teaches


def test_images_without_masks_are_mixed_in_evenly() -> None:
    place = Interleaved([6, 2], None, seed=0)
    first = [place[position] for position in range(8)]
    assert sorted(first) == [(0, i) for i in range(6)] + [(1, 0), (1, 1)]
    half = Interleaved([100, 3], 0.5, seed=0)
    parts = [half[position][0] for position in range(40)]
    assert sum(parts) == 20 and sum(parts[:8]) == 4
    assert {half[position][1] for position in range(1, 7, 2)} == {0, 1, 2}


def test_only_counted_pixels_teach_when_told_so() -> None:
    split = colours()
    split._labels[0][:16] = 255
    for everywhere, expected in ((True, 1.0), (False, 0.5)):
        recipe = short(scale=(1, 1), distillation={"everywhere": everywhere})
        task = TaughtTask(split, SIZE, recipe, Teaching(colour_teacher()))
        position = next(p for p in range(9) if task.samples.places[p] == (0, 0))
        images, target = task.samples[position]
        _, taught = task.batch(images[None], {name: value[None] for name, value in target.items()}, 0)
        assert taught.where.float().mean() == expected


def test_the_teacher_computes_in_the_student_s_precision() -> None:
    teacher, seen = colour_teacher(), []
    asked = teacher._forward

    def listen(network, x):
        logits, maps = asked(network, x)
        seen.append(logits.dtype)
        return logits, maps

    teacher._forward = listen
    for precision in ("bf16", "fp32"):
        recipe = short(iterations=1, warmup_iterations=0, precision=precision)
        train(tiny_net(3), colours(), recipe, size=SIZE, teaching=Teaching(teacher))
    assert seen == [torch.bfloat16, torch.float32]


def test_samples_of_a_taught_training_reach_loading_processes_that_are_spawned() -> None:
    task = TaughtTask(colours(), SIZE, short(), Teaching(colour_teacher()))
    again = pickle.loads(pickle.dumps(task.samples))
    images, target = again[4]
    expected, wanted = task.samples[4]
    assert torch.equal(images, expected)
    assert torch.equal(target["labels"], wanted["labels"])
