"""How trainings end before their time: interrupted ones resume exactly, useless ones fail with a reason."""

from __future__ import annotations

import errno
import math
import os
import signal
import traceback
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from data_fixtures import TinyNet, tiny_net
from disk_record import Disk
from safetensors import SafetensorError
from torch import nn
from training_cases import SIZE, assert_same, colours, short, trained

from boostformer.errors import UserError
from boostformer.training import TrainingFailure, loop, train
from boostformer.training.failures import LossWatch
from search.cli.program import _interrupt


@pytest.fixture(scope="module")
def whole() -> dict[str, torch.Tensor]:
    """The weights after a training that nothing interrupts."""
    return trained(short())


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
    with pytest.raises(UserError, match="another training, with other recipe.lr;"):
        trained(short(lr=0.02), resume_dir=tmp_path)
    with pytest.raises(UserError, match="another training, with other network;"):
        wider = nn.Sequential(nn.Conv2d(3, 3, 4, stride=4))
        train(wider, colours(), short(), size=SIZE, resume_dir=tmp_path)
    with pytest.raises(UserError, match="another training, with other size;"):
        train(tiny_net(3), colours(), short(), size=(32, 32), resume_dir=tmp_path)


def test_what_the_caller_says_of_a_training_is_compared(tmp_path: Path) -> None:
    about = {"architecture": "abc", "data": {"root": None, "size": (32, 48)}, "init": None}
    trained(short(), resume_dir=tmp_path, about=about)
    trained(short(), resume_dir=tmp_path, about=about)
    for change, named in (
        ({"architecture": "abd"}, "architecture"),
        ({"init": "f00"}, "init"),
        ({"data": {"root": "elsewhere", "size": (32, 48)}}, r"data\.root"),
        ({"data": {"root": None, "size": (48, 32)}, "init": "f00"}, r"data\.size, init"),
    ):
        with pytest.raises(UserError, match=f"another training, with other {named};"):
            trained(short(), resume_dir=tmp_path, about=about | change)
    with pytest.raises(UserError, match="with other architecture, data, init;"):
        trained(short(), resume_dir=tmp_path)


def test_a_state_is_saved_about_every_minute(tmp_path: Path, whole, monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock stands still but where it is read, and then advances 25 seconds."""
    ticks = count(0.0, 25.0)
    clock = SimpleNamespace(monotonic=lambda: next(ticks), perf_counter=lambda: 0.0)
    monkeypatch.setattr(loop, "time", clock)

    def stop(iteration: int, iterations: int, loss: float) -> None:
        if iteration == 7:
            raise Stop

    with pytest.raises(Stop):
        trained(short(), progress=stop, resume_dir=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["iteration-00000006"]
    model = tiny_net(3, seed=99)
    assert train(model, colours(), short(), size=SIZE, resume_dir=tmp_path).resumed_from == 6
    assert_same(whole, model.state_dict())


def test_a_state_is_removed_only_when_the_next_one_is_on_the_disk(tmp_path: Path, disk: Disk) -> None:
    trained(short(iterations=2, save_every=1), resume_dir=tmp_path)
    later = disk.happened[disk.happened.index("rename draft -> iteration-00000001") + 2 :]
    content = {f"sync draft/{path.name}" for path in (tmp_path / "iteration-00000002").iterdir()}
    assert set(later[:-4]) == content
    assert later[-4:] == [
        "sync draft",
        "rename draft -> iteration-00000002",
        "sync .",
        "remove iteration-00000001",
    ]


def test_an_unwritable_state_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="training states cannot be written"):
        trained(short(save_every=1), resume_dir=tmp_path / "file" / "state")


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(28, "No space left on device"), "No space left on device"),
        (SafetensorError("I/O error: No space"), r"is the disk full\? \(I/O error: No space\)"),
        (RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos"), r"is the disk full\? "),
    ],
)
def test_a_full_disk_is_said_and_the_state_before_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, said: str
) -> None:
    saved, save = [], Accelerator.save_state

    def fails_later(self: Accelerator, folder: str) -> None:
        saved.append(save(self, folder))
        if len(saved) == 2:
            raise error

    monkeypatch.setattr(Accelerator, "save_state", fails_later)
    with pytest.raises(OSError, match=said) as full:
        trained(short(save_every=2), resume_dir=tmp_path)
    assert full.value.errno == errno.ENOSPC
    assert [path.name for path in tmp_path.iterdir()] == ["iteration-00000002"]


def in_a_process_of_its_own(folder: Path, work: Callable[[], object]) -> tuple[int, str]:
    """Fork a group of its own that does this work; its exit code, negative for a signal, and what it says at its end.

    Nothing here hangs on a fresh interpreter, which would import for some seconds.
    """
    said = folder / "stderr.txt"
    pid = os.fork()
    if pid == 0:
        try:
            os.setsid()
            signal.signal(signal.SIGINT, signal.default_int_handler)  # which tests that run in the background ignore
            work()
        except (Exception, KeyboardInterrupt, SystemExit):
            said.write_text(traceback.format_exc())
            os._exit(1)
        finally:
            os._exit(0)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return code, said.read_text() if said.exists() else ""


@pytest.mark.slow
@pytest.mark.parametrize(("number", "kept"), [(signal.SIGINT, 3), (signal.SIGKILL, 2)])
def test_signals(tmp_path: Path, whole, number: signal.Signals, kept: int) -> None:
    state = tmp_path / "state"

    def progress(iteration: int, iterations: int, loss: float) -> None:
        if iteration == 3:
            os.kill(os.getpid(), number)

    code, said = in_a_process_of_its_own(
        tmp_path, lambda: trained(short(save_every=2), progress=progress, resume_dir=state)
    )
    if number == signal.SIGINT:
        assert code == 1 and said.endswith("KeyboardInterrupt\n"), said
    else:
        assert code == -signal.SIGKILL
    model = tiny_net(3)
    report = train(model, colours(), short(), size=SIZE, resume_dir=state)
    assert report.resumed_from == kept
    assert_same(whole, model.state_dict())


@pytest.mark.parametrize("stopped", [True, False])
def test_a_stop_that_ends_the_loader_s_processes_too_is_a_stop(
    tmp_path: Path, whole, monkeypatch: pytest.MonkeyPatch, stopped: bool
) -> None:
    """As of a batch system, which tells every process of a job."""
    loader = loop.loader

    def broken(*arguments: Any) -> Iterator[Any]:
        batches = iter(loader(*arguments))
        yield next(batches)
        yield next(batches)
        if stopped:
            os.kill(os.getpid(), signal.SIGINT)
        raise RuntimeError("DataLoader worker (pid 7) is killed by signal: Terminated.")

    monkeypatch.setattr(loop, "loader", broken)
    with pytest.raises(KeyboardInterrupt if stopped else RuntimeError):
        trained(short(), resume_dir=tmp_path)
    monkeypatch.undo()
    model = tiny_net(3)
    report = train(model, colours(), short(), size=SIZE, resume_dir=tmp_path)
    assert report.resumed_from == (2 if stopped else 0)
    assert_same(whole, model.state_dict())


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_the_loader_s_processes_leave_a_stop_to_the_trainer(tmp_path: Path, number: signal.Signals) -> None:
    """All processes of the group are told, as by a terminal that is closed, while one is wanted for the next batch."""
    state = tmp_path / "state"

    def progress(iteration: int, iterations: int, loss: float) -> None:
        if iteration == 3:
            os.killpg(0, number)

    def work() -> None:
        for other in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(other, _interrupt)
        trained(short(workers=2), progress=progress, resume_dir=state)

    _, said = in_a_process_of_its_own(tmp_path, work)
    assert said.endswith("KeyboardInterrupt\n"), said
    assert [path.name for path in state.iterdir()] == ["iteration-00000003"]


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
