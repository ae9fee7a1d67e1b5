"""What every launcher does, over all that are registered: refusing, planning, starting, being found again, stopping."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from boostformer.errors import UserError
from results.storage.location import Database
from search.worker.launchers.following import follow
from search.worker.launchers.launcher import Launcher, State
from search.worker.launchers.order import Needs, Order, Workers, read_memory
from search.worker.launchers.registry import LAUNCHERS, launcher_class, open_launcher

ENGINES = sorted(LAUNCHERS)


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    """A folder that names a database nobody asks."""
    folder = tmp_path / "My Streets"
    folder.mkdir()
    Database("postgresql://me@host/db", "My Streets 2").note_in(folder)
    return folder


@pytest.fixture(autouse=True)
def without_nni(monkeypatch: pytest.MonkeyPatch) -> None:
    from search.worker.launchers.nni import launcher

    monkeypatch.setattr(launcher, "require_nni", lambda: None)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_plan_says_what_is_submitted_and_writes_nothing(engine: str, stored: Path, request: Any) -> None:
    if engine == "nni":
        request.getfixturevalue("real_nni")
    before = sorted(stored.rglob("*"))
    options = {"image": "registry/boostformer:1"} if engine == "kubernetes" else {}
    opened: Launcher = open_launcher(engine, Order(stored, Workers(3, 3), Needs(cores=2), options=options))
    text = opened.plan()
    program = "boostformer" if engine == "kubernetes" else "search.cli"  # that of an image, or this one
    assert "worker" in text and program in text and ("3" in text or text.count("worker ") == 3)
    assert sorted(stored.rglob("*")) == before
    assert (opened.engine, text) == (engine, opened.plan())


@pytest.mark.parametrize("engine", ENGINES)
def test_a_mistake_is_refused_before_anything_starts(engine: str, stored: Path) -> None:
    with pytest.raises(UserError, match="--option partitio: .*no such option"):
        open_launcher(engine, Order(stored, options={"partitio": "gpu"}))
    with pytest.raises(UserError, match="--gpus 2: a worker trains on one GPU"):
        open_launcher(engine, Order(stored, needs=Needs(gpus=2)))
    if not launcher_class(engine).scales:
        with pytest.raises(UserError, match="--workers 1:4: .*not a range"):
            open_launcher(engine, Order(stored, Workers(1, 4)))
    elif not launcher_class(engine).gathers:
        assert "4" in open_launcher(engine, Order(stored, Workers(1, 4))).plan()
        with pytest.raises(UserError, match="--workers 2:4: .*as soon as there is room.*1:4"):
            open_launcher(engine, Order(stored, Workers(2, 4)))


TRAINING = ("train", "boostformer_b0", "--out", "net 1")
TRAINS = [engine for engine in ENGINES if launcher_class(engine).trains]


@pytest.mark.parametrize("engine", TRAINS)
def test_a_plan_says_how_processes_train_together(engine: str, tmp_path: Path) -> None:
    order = Order(tmp_path / "net 1", Workers(2, 2), Needs(cores=3), training=TRAINING)
    text = open_launcher(engine, order).plan()
    assert all(word in text for word in ("boostformer_b0", "net 1", "ACCELERATE_USE_CPU", "OMP_NUM_THREADS"))
    assert not list(tmp_path.iterdir())
    assert order.name.startswith("train-net-1-") and order.name != Order(tmp_path / "net 1").name


@pytest.mark.parametrize("engine", ENGINES)
def test_a_training_that_cannot_be_started_is_refused(engine: str, stored: Path) -> None:
    if engine not in TRAINS:
        with pytest.raises(UserError, match=f"--on {engine} starts no training .*allowed: .*slurm"):
            open_launcher(engine, Order(stored, training=TRAINING))
        return
    for wrong, said in (
        (Order(stored, Workers(2, 4), training=TRAINING), "--workers 2:4: a training has a number"),
        (Order(stored, needs=Needs(gpus=0.5), training=TRAINING), "--gpus 0.5: a process of a training"),
        (Order(stored, data=Path("/data"), training=TRAINING), "--data '/data': .*behind --"),
    ):
        with pytest.raises(UserError, match=said):
            open_launcher(engine, wrong)


def test_slurm_gives_each_process_of_a_training_what_it_needs(stored: Path) -> None:
    order = Order(stored, Workers(4, 4), Needs(cores=4, gpus=1, memory=8192), training=TRAINING)
    plan = open_launcher("slurm", order).plan()
    asked = {line.removeprefix("#SBATCH ") for line in plan.splitlines() if line.startswith("#SBATCH")}
    assert asked >= {"--ntasks=4", "--cpus-per-task=4", "--mem-per-cpu=2048M", "--gpus-per-task=1"}
    assert "ACCELERATE_USE_CPU" not in plan and "'net 1'" in plan and "array" not in plan.lower()


def test_ray_gives_each_process_of_a_training_what_it_needs(tmp_path: Path) -> None:
    order = Order(tmp_path / "net 1", Workers(2, 2), Needs(cores=4, gpus=1, memory=8192), training=TRAINING)
    plan = json.loads(open_launcher("ray", order).plan())
    assert plan["placement"] == [{"num_cpus": 4, "num_gpus": 1, "memory": 8192 * 2**20}] * 2
    assert plan["environment"] == {"OMP_NUM_THREADS": "4"} and plan["command"][-len(TRAINING) :] == list(TRAINING)


@pytest.mark.parametrize("engine", ["slurm", "ray"])
def test_workers_on_other_machines_need_a_database(engine: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is kept in a file"):
        open_launcher(engine, Order(tmp_path))


def test_an_unknown_engine_is_refused(stored: Path) -> None:
    with pytest.raises(UserError, match="--on slrm: .*slurm"):
        open_launcher("slrm", Order(stored))


def test_workers_are_a_number_or_a_range() -> None:
    assert Workers.read("8") == Workers(8, 8) and Workers.read("2:32") == Workers(2, 32)
    for wrong in ("0", "3:2", "x", "2:", "-1", "1:99999"):
        with pytest.raises(UserError, match="--workers"):
            Workers.read(wrong)


def test_memory_has_a_unit() -> None:
    assert [read_memory(text) for text in ("512M", "8G", "1tb")] == [512, 8192, 1024**2]
    for wrong in ("8", "0G", "G", "8K"):
        with pytest.raises(UserError, match="--memory"):
            read_memory(wrong)


def test_a_run_has_one_name_from_everywhere(stored: Path, tmp_path: Path) -> None:
    other = tmp_path / "elsewhere"
    other.mkdir()
    Database("postgresql://me@host/db", "My Streets 2").note_in(other)
    assert Order(stored).name == Order(other).name
    assert Order(stored).name.startswith("search-my-streets-2-")
    Database("postgresql://me@host/db", "another").note_in(tmp_path)
    assert Order(tmp_path).name != Order(stored).name


def test_slurm_is_asked_for_what_a_worker_needs(stored: Path) -> None:
    options = {
        "partition": "gpu",
        "account": "vision",
        "constraint": "a100|h100",
        "time": "8:00:00",
        "extra": "--nice=5",
    }
    order = Order(stored, Workers(1, 8), Needs(cores=4, gpus=1, memory=8192), Path("/data"), options)
    lines = open_launcher("slurm", order).plan().splitlines()
    asked = {line.removeprefix("#SBATCH ") for line in lines if line.startswith("#SBATCH")}
    assert asked >= {
        "--array=0-7",
        "--cpus-per-task=4",
        "--gres=gpu:1",
        "--mem=8192M",
        "--partition=gpu",
        "--account=vision",
        "--constraint='a100|h100'",
        "--time=8:00:00",
        "--requeue",
        "--signal=B:USR1@120",
        "--nice=5",
    }
    assert any("--data /data" in line for line in lines) and not any(line.startswith("srun") for line in lines)
    with pytest.raises(UserError, match="--gpus 0.5: only --on ray"):
        open_launcher("slurm", Order(stored, needs=Needs(gpus=0.5)))


def test_slurm_without_its_programs_says_so(stored: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(stored))
    with pytest.raises(UserError, match="there is no program squeue here"):
        open_launcher("slurm", Order(stored)).find()


def test_ray_is_needed_where_it_is_asked_for(stored: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UserError, match=r"needs the package ray: .*\[ray\]"):
        open_launcher("ray", Order(stored)).find()


class Fleet:
    """Goes through these states, look by look."""

    title, pause = "a fleet", 0.0

    def __init__(self, *looks: dict[int, State]) -> None:
        self._looks = list(looks)

    def workers(self) -> dict[int, State]:
        return self._looks.pop(0)

    def last_words(self, number: int) -> str:
        return "no data"

    def stop(self) -> None:
        raise AssertionError("nobody stops it")


def test_workers_are_followed_until_nothing_is_left_to_do() -> None:
    waiting, working, ended = State.WAITING, State.WORKING, State.ENDED
    looks = [{0: working, 1: waiting, 2: working}, {0: ended, 1: waiting, 2: working}]
    said: list[str] = []
    seen = follow(Fleet(*looks, {0: ended, 1: waiting, 2: State.FAILED}), said.append, lambda: None)
    assert seen == {0: ended, 1: waiting, 2: State.FAILED}, "the one that waits has nothing to do"
    assert said[-2:] == ["worker 0 ended", "worker 2 failed: no data"]
