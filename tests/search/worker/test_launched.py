"""Engines that really start something: fleets that are found again and stopped, trainings of several processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from fork_server import forks
from scale import open_search
from search_factories import small
from simulated import simulate
from test_launchers import TRAINING
from throwaway_postgresql import Server
from throwaway_slurm import Slurm, missing

from boostformer.training.state import newest_state
from results.run import read_run
from results.storage.database import named_by_user
from results.storage.location import Database
from search.cli.sitting import STATE
from search.study.folder import set_up
from search.worker.launchers.following import follow
from search.worker.launchers.launcher import State
from search.worker.launchers.order import Needs, Order, Workers
from search.worker.launchers.registry import launcher_class, open_launcher
from search.worker.launchers.slurm import SlurmFleet

RAY_NODE = {"num_cpus": 1, "object_store_memory": 80 * 2**20}


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[str]]:
    """The words that start the program with trainings that only sleep; forked before engines are imported."""

    def prepare() -> None:
        simulate(0.3)
        SlurmFleet.pause = 0.2

    with forks(tmp_path_factory.mktemp("f"), prepare) as words:
        yield words


@pytest.fixture(scope="module")
def trainer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[str]]:
    """The words that start the program as it is."""

    def prepare() -> None:
        import results.report.draw_curves  # noqa: F401  imports matplotlib

        SlurmFleet.pause = 0.2

    with forks(tmp_path_factory.mktemp("f"), prepare) as words:
        yield words


@pytest.fixture(scope="module")
def slurm(program: None, trainer: None) -> Iterator[Slurm]:
    if why := missing():
        pytest.skip(why)
    try:
        running = Slurm(slots=2, nodes=2).__enter__()
    except RuntimeError as error:
        pytest.skip(str(error))
    yield running
    running.__exit__(None, None, None)


@pytest.fixture(scope="module")
def on_slurm(slurm: Slurm) -> list[str]:
    return []


@pytest.fixture(scope="module")
def ray_cluster(program: None) -> Iterator[Any]:
    """A head and one more node, each with room for one worker."""
    pytest.importorskip("ray", reason="Ray is not installed: pip install ray")
    from ray.cluster_utils import Cluster

    asked_often = {"health_check_period_ms": 500, "health_check_timeout_ms": 5000, "health_check_failure_threshold": 3}
    running = Cluster(initialize_head=True, head_node_args=RAY_NODE | {"_system_config": asked_often})
    running.add_node(**RAY_NODE)
    yield running
    running.shutdown()


@pytest.fixture(scope="module")
def cluster(ray_cluster: Any) -> list[str]:
    return ["-o", f"address={ray_cluster.address}"]


@pytest.fixture(scope="module")
def here() -> list[str]:
    return []


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["local", "slurm", "ray"])
def test_a_fleet_is_found_again_and_stopped(
    engine: str, program: list[str], server: Server, tmp_path: Path, request: Any
) -> None:
    """The launcher is killed; the next one finds its workers; Ctrl-C has them give back what they were doing."""
    options = request.getfixturevalue({"local": "here", "slurm": "on_slurm", "ray": "cluster"}[engine])
    run_dir = tmp_path / "run"
    database = None if engine == "local" else Database(named_by_user(server.url), f"{engine}-{os.getpid()}")
    set_up(run_dir, open_search("random", "tiny"), 1000, database)
    words = [*program, "launch", str(run_dir), "--on", engine, "--workers", "2", *options]

    first = started(words)
    read_until(first, lambda line: "] trial " in line and len(owners_of(run_dir)) == 2)
    owners = owners_of(run_dir)
    first.kill()
    first.communicate()
    count = len(read_run(run_dir).trials)
    second = started(words)
    title = read_until(second, lambda line: "] trial " in line and finished_of(run_dir) >= count + 2)
    second.send_signal(signal.SIGINT)
    _, said = second.communicate(timeout=240)
    assert second.returncode == 130, title + said
    trials = read_run(run_dir).trials
    assert {str(trial.status) for trial in trials} <= {"finished", "interrupted"}, said
    if launcher_class(engine).lasts:
        assert title.startswith("found: ") and owners_of(run_dir) == owners
    else:
        assert title.startswith("started: ")


@pytest.mark.slow
def test_a_worker_whose_node_dies_goes_on_where_ray_finds_a_place(
    program: list[str], server: Server, tmp_path: Path, ray_cluster: Any, cluster: list[str]
) -> None:
    run_dir = tmp_path / "run"
    database = Database(named_by_user(server.url), f"ray-node-{os.getpid()}")
    set_up(run_dir, open_search("random", "tiny"), 1000, database)
    launcher = started([*program, "launch", str(run_dir), "--on", "ray", "--workers", "2", *cluster])
    read_until(launcher, lambda line: "] trial " in line and len(owners_of(run_dir)) == 2)
    (node,) = ray_cluster.worker_nodes
    ray_cluster.remove_node(node, allow_graceful=False)
    read_until(launcher, lambda line: "waits for a place" in line)
    ray_cluster.add_node(**RAY_NODE)
    read_until(launcher, lambda line: "] trial " in line and len(owners_of(run_dir)) == 3)
    launcher.send_signal(signal.SIGINT)
    _, said = launcher.communicate(timeout=240)
    assert launcher.returncode == 130, said
    assert {str(trial.status) for trial in read_run(run_dir).trials} <= {"finished", "interrupted"}, said


@pytest.mark.slow
def test_slurm_gives_processes_that_train_the_gpus_of_their_nodes(
    slurm: Slurm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As many processes on a node as it has GPUs; each sees the job's GPUs there, and takes the one of its number."""
    say = "echo $SLURMD_NODENAME $RANK $LOCAL_RANK $WORLD_SIZE $CUDA_VISIBLE_DEVICES"
    monkeypatch.setattr("search.worker.launchers.slurm.PROGRAM", ["sh", "-c", say])
    order = Order(tmp_path, Workers(3, 3), Needs(cores=1, gpus=1), training=TRAINING)
    fleet = open_launcher("slurm", order).start()
    assert set(follow(fleet, lambda line: None, lambda: None).values()) == {State.ENDED}
    said = (tmp_path / "launch" / "slurm-0.log").read_text().splitlines()
    assert sorted(said) == ["node0 0 0 3 0,1", "node0 1 1 3 0,1", "node1 2 0 3 0"]


@pytest.fixture(scope="module")
def training(trainer: list[str], tmp_path_factory: pytest.TempPathFactory) -> Callable[..., list[str]]:
    """Gives the words that train one small network by two processes of an engine."""
    folder, data = (
        tmp_path_factory.mktemp("training"),
        "{kind: scenes, size: 32x32, scenes: {training: 8, validation: 2}}",
    )
    (folder / "arch.json").write_text(json.dumps(next(iter(small())).to_dict()))
    (folder / "data.yaml").write_text(f"space: tiny\ndata: {data}\n")

    def words(engine: str, out: Path) -> list[str]:
        how = ["--data", str(folder / "data.yaml"), "--iterations", "100", "--batch-size", "4"]
        where = ["launch", str(folder / "arch.json"), "--on", engine, "--workers", "2", "--train", "--"]
        return [*trainer, *where, *how, "--out", str(out), "--log", "none", "--set", "save_every=10"]

    return words


@pytest.fixture(scope="module")
def trained(training: Callable[..., list[str]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Train here; the training is stopped by one Ctrl-C, when both processes save one state, and goes on."""
    words = training("local", out := tmp_path_factory.mktemp("here") / "net")
    launcher = started(words)
    read_until(launcher, lambda line: "/100 iterations" in line)
    launcher.send_signal(signal.SIGINT)
    _, said = launcher.communicate(timeout=240)
    assert launcher.returncode == 130, said
    assert newest_state(out / STATE) > 0 and len(list((out / STATE).iterdir())) == 1
    launcher = started(words)
    _, said = launcher.communicate(timeout=240)
    assert launcher.returncode == 0, said
    return out


@pytest.mark.slow
def test_processes_of_a_training_are_started_and_stopped(trained: Path) -> None:
    assert "resumed after iteration" in (trained / "launch" / "local-0.log").read_text()


@pytest.mark.slow
def test_a_training_of_slurm_ends_as_if_nothing_had_been(
    training: Callable[..., list[str]], trained: Path, slurm: Slurm, tmp_path: Path
) -> None:
    """One process is killed; then the job is queued again, as when it is preempted. (Ray starts the same words.)"""
    launcher = started(training("slurm", out := tmp_path / "net"))
    log = out / "launch" / "slurm-0.log"
    read_until(launcher, lambda line: "/100 iterations" in line)
    own = [pid for pid, words in commands().items() if words[0] == sys.executable and {"train", str(out)} < set(words)]
    assert len(own) == 2
    os.kill(own[0], signal.SIGKILL)
    read_until(launcher, lambda line: "/100 iterations" in line and "resumed after iteration" in log.read_text())
    slurm.ask("scontrol", "requeue", slurm.ask("squeue", "--noheader", "--format=%A").strip())
    _, said = launcher.communicate(timeout=240)
    assert launcher.returncode == 0 and "worker 0 waits for a place" in said, said
    assert log.read_text().count("resumed after iteration") == 2
    assert (out / "model.safetensors").read_bytes() == (trained / "model.safetensors").read_bytes()


def commands() -> dict[int, list[str]]:
    """Give the command line of each process on this machine."""
    found = {}
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has ended
            found[int(process.name)] = (process / "cmdline").read_text(errors="replace").split("\0")
    return found


def started(words: list[str]) -> subprocess.Popen[str]:
    as_usual = lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)  # noqa: E731  a background job ignores it
    return subprocess.Popen(words, stderr=subprocess.PIPE, text=True, start_new_session=True, preexec_fn=as_usual)


def finished_of(run_dir: Path) -> int:
    return sum(trial.is_finished for trial in read_run(run_dir).trials)


def owners_of(run_dir: Path) -> set[str]:
    return {trial.owner for trial in read_run(run_dir).trials}


def read_until(process: subprocess.Popen[str], is_it: Callable[[str], bool]) -> str:
    """Read what a launcher says until one of its lines is it; gives the first."""
    assert process.stderr is not None
    seen: list[str] = []
    for line in process.stderr:
        seen.append(line)
        if is_it(line):
            return seen[0]
    raise AssertionError("".join(seen))
