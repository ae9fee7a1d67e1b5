"""Several processes train what one does with the same batch in all."""

from __future__ import annotations

import errno
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import typer
from safetensors.torch import load_file
from training_cases import short

from boostformer.errors import UserError
from boostformer.training.loading import loader, until
from boostformer.training.state import newest_state
from search.cli.sitting import first_goes_on

FOLDERS = [str(folder) for folder in Path(__file__).parents[:3]]

SCRIPT = """
import os, signal, sys
sys.path[:0] = {folders!r}
from pathlib import Path
import accelerate
from safetensors.torch import save_file
from training_cases import *
from test_training_thrift import Plain
from boostformer.training.log import MetricsLog
from boostformer.training.validation import Validation

class Normed(Plain):
    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(nn.Conv2d(3, 8, 4, stride=4, bias=False), nn.BatchNorm2d(8), nn.ReLU())

for model, accumulate in ((Plain(), {accumulate}), (Normed(), 1)):
    name = type(model).__name__
    out = Path({out!r}, name)
    r = short(batch_size=8, iterations=9, validate_every=4, ema=0.5, accumulate=accumulate, workers=0, save_every=2)
    validation = Validation(colours(5, seed=7), SIZE, r)
    log = MetricsLog(out, (), {{}})
    train(model, colours(), r, size=SIZE, validation=validation, log=log, resume_dir=out / "state")
    state = accelerate.PartialState()
    assert state.num_processes == {processes}, state
    print(name, validation.state())
    if state.is_main_process:
        save_file({{key: value.contiguous() for key, value in model.state_dict().items()}}, out / "weights.safetensors")

class Stopped(Plain):
    calls = 0

    def forward(self, x):
        self.calls += 1
        if self.calls == 3 and state.process_index == state.num_processes - 1:
            os.kill(os.getpid(), signal.SIGINT)
        return super().forward(x)

try:
    train(Stopped(), colours(), short(batch_size=8, workers=0), size=SIZE, resume_dir=out.with_name("stopped"))
except KeyboardInterrupt:
    print("stopped")
"""
NETWORKS = ("Plain", "Normed")


def launched(out: Path, processes: int, accumulate: int = 1) -> dict[str, torch.Tensor]:
    """The weights that so many processes come to, each on a node of its own as far as torchrun knows."""
    for name in NETWORKS:
        (out / name).mkdir(parents=True)
    script = out / "script.py"
    script.write_text(SCRIPT.format(folders=FOLDERS, out=str(out), processes=processes, accumulate=accumulate))
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    meeting = ["--rdzv-backend=c10d", f"--rdzv-endpoint=localhost:{port}", "--rdzv-id=test"]
    torchrun = ["-m", "torch.distributed.run", f"--nnodes={processes}", "--nproc-per-node=1", *meeting]
    command = [sys.executable, *(torchrun if processes > 1 else []), str(script)]
    where = {"PYTHONPATH": os.pathsep.join([str(Path.cwd()), os.environ.get("PYTHONPATH", "")])}
    environment = os.environ | {"OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"} | where
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    nodes = [subprocess.Popen(command, env=environment, **pipes) for _ in range(processes)]  # type: ignore[call-overload]
    said = [node.communicate() for node in nodes]
    assert [node.returncode for node in nodes] == [0] * processes, said
    assert [done.splitlines().count("stopped") for done, _ in said] == [1] * processes, "all stop with one"
    assert newest_state(out / "stopped") == 3
    scores = {line for done, _ in said for line in done.splitlines() if line.startswith(NETWORKS)}
    assert len(scores) == len(NETWORKS), "all processes know the same scores"
    assert all(len(list((out / name / "state").iterdir())) == 1 for name in NETWORKS)
    weights = {name: load_file(out / name / "weights.safetensors") for name in NETWORKS}
    return {f"{name}.{key}": value for name in NETWORKS for key, value in weights[name].items()}


@pytest.mark.slow
def test_two_processes_train_what_one_does(tmp_path: Path) -> None:
    """Also where the images of a batch influence each other, by BatchNorm."""
    one = launched(tmp_path / "one", 1)
    two = launched(tmp_path / "two", 2, accumulate=2)
    assert any("running_var" in name for name in one)
    torch.testing.assert_close(two, one, rtol=1e-3, atol=1e-4)
    folders = [tmp_path / count / name for count in ("one", "two") for name in NETWORKS]
    logs = [(folder / "metrics.csv").read_text().splitlines() for folder in folders]
    assert [[row.split(",")[0] for row in log] for log in logs] == [["iteration", "4", "8", "9"]] * len(logs)


@pytest.mark.parametrize(
    "said",
    [
        "DataLoader worker (pid 7) is killed by signal: Bus error. Insufficient shared memory (shm).",
        "unable to write to file </torch_7_1>: No space left on device (28): shared memory",
    ],
)
def test_too_little_shared_memory_is_said_with_what_helps(said: str) -> None:
    def batches() -> Iterator[int]:
        yield 1
        raise RuntimeError(said)

    with pytest.raises(UserError, match=r"^/dev/shm: .* MB of shared memory are too few.*--set workers=0"):
        list(until(lambda: False, batches()))  # type: ignore[arg-type]
    assert list(until(lambda: True, batches())) == [1]  # type: ignore[arg-type]


def test_a_semaphore_without_room_is_no_full_disk_but_a_file_is() -> None:
    def full(*name: str) -> Iterator[int]:
        raise OSError(errno.ENOSPC, "No space left on device", *name)
        yield

    with pytest.raises(UserError, match=r"^/dev/shm: "):
        list(until(lambda: False, full()))  # type: ignore[arg-type]
    with pytest.raises(OSError, match="image.npy"):
        list(until(lambda: False, full("image.npy")))  # type: ignore[arg-type]


def test_processes_without_any_room_are_not_started(monkeypatch: pytest.MonkeyPatch) -> None:
    recipe, cpu = short(workers=2), torch.device("cpu")
    monkeypatch.setattr(shutil, "disk_usage", lambda place: shutil._ntuple_diskusage(65536, 60_000, 5536))
    with pytest.raises(UserError, match=r"^/dev/shm: 0.0655 MB of shared memory .*`workers: 0`"):
        loader(None, recipe, 0, cpu)  # type: ignore[arg-type]


def test_all_but_the_first_process_end_when_the_training_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "0")
    first_goes_on()
    monkeypatch.setenv("RANK", "1")
    with pytest.raises(typer.Exit) as end:
        first_goes_on()
    assert end.value.exit_code == 0
