"""The loop: it learns, repeats exactly, and follows its recipe; segmentation and pre-training."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from data_fixtures import ListSplit, tiny_net, write_tiny_imagenet
from torch import nn
from training_cases import SIZE, assert_same, colours, short, trained

from boostformer.data import DataConfig, Pictures, open_split
from boostformer.errors import UserError
from boostformer.training import PretrainRecipe, evaluate, pretrain, top1, train
from boostformer.training.tasks import SegmentationTask, Shuffled, mix


@pytest.fixture(scope="module")
def whole() -> dict[str, torch.Tensor]:
    """The weights after a training that nothing interrupts."""
    return trained(short())


def test_it_learns() -> None:
    model, split = tiny_net(3), colours(8)
    before = evaluate(model, split, size=SIZE)
    report = train(model, split, short(iterations=60, scale=(1, 1)), size=SIZE)
    after = evaluate(model, split, size=SIZE)
    assert after.miou > 0.9 > before.miou and after.accuracy > 0.95
    assert (report.iterations, report.resumed_from) == (60, 0) and 0 < report.loss < math.log(3)


def test_the_same_seed_gives_the_same_weights(whole) -> None:
    model = tiny_net(3)
    torch.rand(5)  # whatever was drawn before does not matter
    assert_same(whole, trained(short(), model))
    other = trained(short(seed=1))
    assert any(not torch.equal(value, other[name]) for name, value in whole.items())


def test_the_number_of_loading_processes_does_not_matter(whole) -> None:
    assert_same(whole, trained(short(workers=2)))


def test_a_batch_without_labels_is_no_failure() -> None:
    split = colours()
    ignored = ListSplit([split.image(0)], [np.full(SIZE, 255, np.uint8)], 3, SIZE)
    assert train(tiny_net(3), ignored, short(), size=SIZE).loss == 0


def test_every_batch_is_full_and_every_image_is_seen_equally_often() -> None:
    order = Shuffled(5, seed=0)
    epochs = [[order[position] for position in range(5 * e, 5 * e + 5)] for e in range(20)]
    assert all(sorted(epoch) == [0, 1, 2, 3, 4] for epoch in epochs) and len({*map(tuple, epochs)}) > 10
    assert [order[p] for p in (7, 99, 7)] == [epochs[1][2], epochs[19][4], epochs[1][2]]
    sizes = []
    model = tiny_net(3)
    model.register_forward_pre_hook(lambda module, inputs: sizes.append(len(inputs[0])))
    train(model, colours(5), short(batch_size=4), size=SIZE)
    assert sizes == [4] * 12


def test_the_schedule_reaches_the_optimiser() -> None:
    """A rate of 0 from the last iteration's end backwards: weights move less and less."""
    model, moved, last = tiny_net(3), [], {}

    def watch(iteration: int, iterations: int, loss: float) -> None:
        now = model.decoder.weight.detach().clone()
        if "w" in last:
            moved.append((now - last["w"]).abs().max().item())
        last["w"] = now

    train(model, colours(), short(iterations=40, warmup_iterations=0), size=SIZE, progress=watch)
    # Adam's steps are about as long as the rate.
    assert moved[0] == pytest.approx(0.01, rel=0.5) and moved[-1] < 0.001


def test_loss_is_at_the_label_s_size() -> None:
    task = SegmentationTask(colours(), SIZE, short())
    logits, targets = torch.randn(2, 3, 8, 12), torch.randint(0, 3, (2, *SIZE))
    targets[0, :9] = 255
    large = torch.nn.functional.interpolate(logits, SIZE, mode="bilinear", align_corners=False)
    expected = nn.CrossEntropyLoss(ignore_index=255)(large, targets)
    torch.testing.assert_close(task.loss(logits, targets), expected)
    uniform = task.loss(torch.zeros(2, 3, 8, 12), targets).item()
    assert uniform == pytest.approx(math.log(3))


def test_precisions_follow_each_other_in_one_process(whole) -> None:
    half = trained(short(precision="bf16"))
    assert all(value.dtype == whole[name].dtype for name, value in half.items()), "weights stay float32"
    assert any(not torch.equal(value, whole[name]) for name, value in half.items())
    assert_same(whole, trained(short()))


def test_half_precision_ends_with_the_training() -> None:
    model = tiny_net(3)
    seen = []
    model.decoder.register_forward_hook(lambda module, inputs, output: seen.append(output.dtype))
    train(model, colours(), short(precision="bf16"), size=SIZE)
    assert set(seen) == {torch.bfloat16}
    seen.clear()
    evaluate(model, colours(), size=SIZE)
    assert set(seen) == {torch.float32}


@pytest.mark.filterwarnings("error:The given NumPy array is not writable")
def test_scenes_from_the_cache(tmp_path: Path) -> None:
    data = DataConfig(size=(32, 32), scenes={"training": 4, "validation": 3})
    split = open_split(data, "training", tmp_path)
    model = tiny_net(split.num_classes)
    train(model, split, short(scale=(1, 1)), size=data.size)
    assert 0 <= evaluate(model, open_split(data, "validation", tmp_path), size=data.size).miou <= 1


class TinyClassifier(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Conv2d(3, 8, 4, stride=4), nn.BatchNorm2d(8), nn.ReLU())
        self.decoder = nn.Linear(8, 3)

    def forward(self, x):
        return self.decoder(self.encoder(x).mean((2, 3)))


def test_pretraining(tmp_path: Path) -> None:
    split = Pictures(write_tiny_imagenet(tmp_path / "data"), "training")
    r = PretrainRecipe(iterations=60, warmup_iterations=5, batch_size=8, lr=0.02, magnitude=0, random_erasing=0)
    torch.manual_seed(0)
    model = TinyClassifier()
    report = pretrain(model, split, r, size=(32, 32), resume_dir=tmp_path / "state")
    assert report.loss < math.log(3) and top1(model, split, size=(32, 32)) > 0.6
    torch.manual_seed(0)
    again = TinyClassifier()
    pretrain(again, split, r, size=(32, 32))
    assert_same(model.state_dict(), again.state_dict())
    with pytest.raises(UserError, match="pretrain"):
        pretrain(model, split, short(), size=(32, 32))


def test_mixing() -> None:
    images = torch.stack([torch.full((3, 40, 40), float(value)) for value in range(4)])
    targets = torch.eye(4)
    mixed, soft = mix(images, targets, 0.7, None)
    torch.testing.assert_close(mixed[:, 0, 0, 0], torch.tensor([0.9, 1.3, 1.7, 2.1]))
    torch.testing.assert_close(soft[0], torch.tensor([0.7, 0, 0, 0.3]))
    shares = []
    for seed in range(50):
        mixed, soft = mix(images, targets, 0.7, np.random.default_rng(seed))
        own = (mixed == images).flatten(1).float().mean(1)
        torch.testing.assert_close(soft.diagonal(), own)
        assert set(mixed[0].unique().tolist()) <= {0.0, 3.0}
        shares.append(own[0].item())
    assert min(shares) > 0.67 and max(shares) > 0.8, "boxes that stick out replace less"
    assert (images[0] == 0).all(), "the batch itself is not written to"
