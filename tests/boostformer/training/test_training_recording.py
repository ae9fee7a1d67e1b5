"""A network's kernels replayed as a CUDA graph: the same training, and who cannot be recorded."""

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from accelerate import PartialState
from block_cases import CASES, inputs, make, width_of
from torch import Tensor, nn
from training_cases import SIZE, colours

from boostformer import presets, recipes
from boostformer.architecture import BlockSpec
from boostformer.data.normalise import normalise
from boostformer.model import build
from boostformer.replay import recorded
from boostformer.teachers.networks import LiveTeacher, Pixels, _ours
from boostformer.teachers.teacher import Identity
from boostformer.training import train
from boostformer.training.recording import records

on_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU, which alone replays")


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Trains on the GPU, not on the CPU as other tests do."""
    monkeypatch.delenv("ACCELERATE_TORCH_DEVICE", raising=False)
    PartialState._reset_state()
    yield
    PartialState._reset_state()


def course(model: nn.Module, says: Any = None, **changes: Any) -> list[float]:
    """Train for 30 iterations and give the running mean of the loss after every tenth."""
    found: list[float] = []
    split = colours(8)
    changes = {"iterations": 30, "batch_size": 4, "warmup_iterations": 0, "workers": 0} | changes
    recipe = recipes.load("proxy", **changes)
    train(model, split, recipe, size=SIZE, progress=lambda done, of, loss: found.append(loss), says=says)
    return found


@pytest.mark.parametrize(
    ("changes", "device", "processes", "found"),
    [
        ({}, "cuda", 1, True),
        ({}, "cpu", 1, False),
        ({}, "cuda", 2, False),
        ({"graph": False}, "cuda", 1, False),
        ({"compile": True}, "cuda", 1, False),
        ({"gradient_checkpointing": True}, "cuda", 1, False),
        ({"accumulate": 2}, "cuda", 1, False),
    ],
)
def test_a_network_is_recorded_on_one_gpu_where_its_batches_are_computed_whole(
    changes: dict[str, Any], device: str, processes: int, found: bool
) -> None:
    accelerator: Any = SimpleNamespace(device=torch.device(device), num_processes=processes)
    assert records(recipes.load("proxy", **changes), accelerator) is found


def test_a_training_that_replays_goes_on_as_one_that_does_not() -> None:
    replayed, launched = (recipes.load("proxy", graph=graph) for graph in (True, False))
    assert replayed.dependencies(5) == launched.dependencies(5)


def test_constants_of_normalisation_serve_trainings_after_evaluations() -> None:
    images = torch.zeros(1, 2, 2, 3, dtype=torch.uint8)
    with torch.inference_mode():
        first = normalise(images)
    assert not normalise(images).is_inference()
    assert torch.equal(first, normalise(images))


@on_gpu
@pytest.mark.usefixtures("gpu")
@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
@pytest.mark.parametrize("auxiliary", [0.0, 0.4])
def test_replayed_it_learns_the_same(precision: str, auxiliary: float) -> None:
    found = {}
    for graph in (True, False):
        torch.manual_seed(0)
        model = build(presets.load("boostformer_b0", classes=3, size=SIZE), drop_path=0.1)
        loss = {"auxiliary": auxiliary}
        found[graph] = course(model, graph=graph, precision=precision, loss=loss), model.state_dict()
    losses, states = zip(*found.values(), strict=True)
    assert losses[0] == pytest.approx(losses[1], rel=0.02)
    counts = [value for name, value in states[0].items() if name.endswith("num_batches_tracked")]
    assert counts
    assert all(int(value) == 30 for value in counts)  # recording itself leaves no trace


class Reading(nn.Module):
    """A network that reads a value back while it computes."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.encoder = nn.Conv2d(3, 8, 4, stride=4)
        self.decoder = nn.Conv2d(8, classes, 1)

    def forward(self, images: Tensor) -> Tensor:
        maps = self.encoder(images)
        return self.decoder(maps if maps.mean().item() < 1e9 else -maps)


@on_gpu
@pytest.mark.usefixtures("gpu")
def test_what_cannot_be_recorded_is_said_and_trained_all_the_same() -> None:
    said: list[str] = []
    found = course(Reading(3), said.append, lr=1e-3)
    assert found[-1] < found[0]
    assert any("not recorded as a CUDA graph" in line for line in said)


@on_gpu
@pytest.mark.parametrize(("kind", "spec"), CASES)
def test_every_block_can_be_recorded(kind: str, spec: BlockSpec) -> None:
    block = make(kind, spec).cuda().train()
    x = inputs(kind, 8, 12, width_of(kind, spec))
    x = [one.cuda() for one in x] if isinstance(x, list) else x.cuda()
    values = [value for value in block.parameters() if value.requires_grad]
    buffers = {name: value.clone() for name, value in block.named_buffers()}
    expected = block(x)
    gradients = torch.autograd.grad(expected.sum(), values, allow_unused=True) if values else ()
    expected = expected.detach()
    with torch.no_grad():
        for name, value in block.named_buffers():
            value.copy_(buffers[name])
    replays = recorded(block, x)
    assert all(torch.equal(value, buffers[name]) for name, value in block.named_buffers())
    torch.manual_seed(0)
    found = replays(x)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)
    again = torch.autograd.grad(found.sum(), values, allow_unused=True) if values else ()
    for one, other in zip(again, gradients, strict=True):
        if other is not None:
            torch.testing.assert_close(one, other, rtol=1e-2, atol=1e-2)


@on_gpu
def test_a_teacher_is_replayed_too() -> None:
    network = presets.load("boostformer_b0", classes=3, size=SIZE)
    torch.manual_seed(1)
    teacher = LiveTeacher(build(network), Identity("a test", "0" * 64, None, 0), ["a", "b", "c"], Pixels(), _ours)
    images = torch.randn(2, 3, *SIZE, device="cuda").contiguous(memory_format=torch.channels_last)
    other = torch.randn_like(images)
    with torch.autocast("cuda", torch.bfloat16):
        expected = [(logits.clone(), maps[0].clone()) for logits, maps in (teacher(images), teacher(other))]
        ask = teacher.recorded(images)
        for x, (logits, first) in zip((images, other), expected, strict=True):
            found, maps = ask(x)
            torch.testing.assert_close(found, logits)
            torch.testing.assert_close(maps[0], first)
