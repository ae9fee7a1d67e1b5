"""The loop: it learns, it repeats and resumes exactly, and it ends badly with a reason."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from data_fixtures import ListSplit, TinyNet, tiny_net, write_tiny_imagenet
from torch import nn

from boostformer.data import DataConfig, TinyImageNet, open_split
from boostformer.errors import UserError
from boostformer.training import (
    PretrainRecipe,
    Recipe,
    TrainingFailure,
    evaluate,
    pretrain,
    recipe,
    top1,
    train,
)
from boostformer.training.failures import LossWatch
from boostformer.training.tasks import SegmentationTask, Shuffled, mix

SIZE = (32, 48)


def colours(images: int = 5, seed: int = 0) -> ListSplit:
    """Three classes that differ in colour."""
    rng = np.random.default_rng(seed)
    palette = np.array([[200, 40, 40], [40, 200, 40], [40, 40, 200]], np.uint8)
    labels = [np.kron(rng.integers(0, 3, (4, 6)), np.ones((8, 8), int)).astype(np.uint8) for _ in range(images)]
    return ListSplit([palette[label] for label in labels], labels, 3, SIZE)


def short(**changes) -> Recipe:
    return recipe("proxy", **{"iterations": 12, "batch_size": 3, "lr": 0.01, **changes})


def trained(r: Recipe, model: nn.Module | None = None, **options) -> dict[str, torch.Tensor]:
    model = model or tiny_net(3)
    train(model, colours(), r, size=SIZE, **options)
    return {name: value.clone() for name, value in model.state_dict().items()}


def assert_same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    for name, value in one.items():
        assert torch.equal(value, other[name]), name


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


class Stop(Exception):
    pass


@pytest.mark.parametrize(("exception", "at"), [(Stop, 1), (Stop, 7), (KeyboardInterrupt, 7)])
def test_resuming_gives_the_same_weights(tmp_path: Path, whole, exception: type[BaseException], at: int) -> None:
    def stop(iteration: int, iterations: int, loss: float) -> None:
        assert iterations == 12 and math.isfinite(loss)
        if iteration == at:
            raise exception

    with pytest.raises(exception):
        trained(short(save_every=4), progress=stop, resume_dir=tmp_path)
    # Ctrl-C keeps everything, any other end what was saved last.
    kept = at if exception is KeyboardInterrupt else at // 4 * 4
    model = tiny_net(3, seed=99)  # resuming must bring its weights
    if kept == 0:
        model = tiny_net(3)
    report = train(model, colours(), short(save_every=5), size=SIZE, resume_dir=tmp_path)
    assert report.resumed_from == kept
    assert_same(whole, model.state_dict())
    # Once finished, the same call only reads the result.
    again = tiny_net(3, seed=5)
    assert train(again, colours(), short(), size=SIZE, resume_dir=tmp_path).resumed_from == 12
    assert_same(whole, again.state_dict())
    assert [path.name for path in tmp_path.iterdir()] == ["iteration-00000012"]


def test_a_state_of_another_training_is_refused(tmp_path: Path) -> None:
    trained(short(), resume_dir=tmp_path)
    with pytest.raises(UserError, match=r"another training \(recipe differ\)"):
        trained(short(lr=0.02), resume_dir=tmp_path)
    with pytest.raises(UserError, match=r"another training \(network differ\)"):
        wider = nn.Sequential(nn.Conv2d(3, 3, 4, stride=4))
        train(wider, colours(), short(), size=SIZE, resume_dir=tmp_path)


def test_an_unwritable_state_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="training states cannot be written"):
        trained(short(save_every=1), resume_dir=tmp_path / "file" / "state")


INTERRUPTED = """
import os, signal, sys
from pathlib import Path
sys.path[:0] = [{tests!r}]
from test_training_loop import *
def progress(iteration, iterations, loss):
    if iteration == 3:
        os.kill(os.getpid(), signal.{signal})
trained(short(save_every=2), progress=progress, resume_dir=Path({folder!r}))
"""


@pytest.mark.slow
@pytest.mark.parametrize(("name", "kept"), [("SIGINT", 3), ("SIGKILL", 2)])
def test_signals(tmp_path: Path, whole, name: str, kept: int) -> None:
    script = INTERRUPTED.format(tests=str(Path(__file__).parent), signal=name, folder=str(tmp_path))
    process = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=Path.cwd())
    if name == "SIGINT":
        assert process.returncode != 0 and process.stderr.endswith("KeyboardInterrupt\n")
    else:
        assert process.returncode == -signal.SIGKILL
    model = tiny_net(3)
    report = train(model, colours(), short(), size=SIZE, resume_dir=tmp_path)
    assert report.resumed_from == kept
    assert_same(whole, model.state_dict())


def test_ctrl_c_is_the_caller_s_again_afterwards(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGINT)
    trained(short(), resume_dir=tmp_path)
    assert signal.getsignal(signal.SIGINT) is before


def test_an_update_is_never_cut_in_half(tmp_path: Path, whole) -> None:

    class Interrupting(TinyNet):
        def forward(self, x):
            if self.training and not (tmp_path / "sent").exists():
                (tmp_path / "sent").touch()
                os.kill(os.getpid(), signal.SIGINT)
            return super().forward(x)

    torch.manual_seed(0)
    with pytest.raises(KeyboardInterrupt):
        train(Interrupting(3), colours(), short(), size=SIZE, resume_dir=tmp_path / "state")
    model = tiny_net(3)
    assert train(model, colours(), short(), size=SIZE, resume_dir=tmp_path / "state").resumed_from == 1
    assert_same(whole, model.state_dict())


class Broken(TinyNet):
    """From the third call on, its logits are multiplied."""

    def __init__(self, factor: float) -> None:
        super().__init__(3)
        self.factor, self.calls = factor, 0

    def forward(self, x):
        self.calls += 1
        return super().forward(x) * (self.factor if self.calls > 2 else 1)


@pytest.mark.parametrize(("factor", "reason"), [(math.nan, "nan"), (math.inf, "nan"), (1e6, "diverged")])
def test_a_useless_loss_ends_the_training(tmp_path: Path, factor: float, reason: str) -> None:
    model = Broken(factor)
    with pytest.raises(TrainingFailure, match="at iteration 3") as caught:
        train(model, colours(), short(save_every=3), size=SIZE, resume_dir=tmp_path)
    assert caught.value.reason == reason and model.calls == 3
    assert list(tmp_path.iterdir()) == [], "a spoilt state is not kept"


def test_a_far_too_large_rate_diverges() -> None:
    with pytest.raises(TrainingFailure) as caught:
        trained(short(lr=100.0, iterations=60, clip_norm=None))
    assert caught.value.reason in ("diverged", "nan")


def test_a_bad_start_is_no_divergence() -> None:
    watch = LossWatch(chance=1.0)
    for iteration, loss in enumerate([30.0, 25.0, 40.0, 12.0]):
        watch.see(iteration, loss)
    assert watch.first == 30.0 and 12 < watch.mean < 40


class Greedy(TinyNet):
    def __init__(self, error: BaseException | None) -> None:
        super().__init__(3)
        self.error = error

    def forward(self, x):
        if self.error is not None:
            raise self.error
        return torch.empty(2**60)


@pytest.mark.parametrize("error", [None, torch.OutOfMemoryError("CUDA out of memory.\nmore"), MemoryError()])
def test_running_out_of_memory_ends_the_training(error: BaseException | None) -> None:
    with pytest.raises(TrainingFailure) as caught:
        trained(short(), Greedy(error))
    assert caught.value.reason == "out_of_memory" and "\n" not in str(caught.value)


def test_other_errors_keep_their_traceback() -> None:
    with pytest.raises(RuntimeError, match="a bug"):
        trained(short(), Greedy(RuntimeError("a bug")))


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
    split = TinyImageNet(write_tiny_imagenet(tmp_path / "data"), "training")
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
