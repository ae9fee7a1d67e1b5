"""An experiment of NNI, with a stand-in for its own, and one of the real NNI from its start to its end."""

from __future__ import annotations

import json
import os
import shutil
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, ClassVar

import pytest
from fork_server import forks

from boostformer.errors import UserError
from results.run import read_run
from search.config.opening import resolve
from search.study.folder import set_up
from search.worker.launchers import command
from search.worker.launchers.following import follow
from search.worker.launchers.nni import experiment as nni_experiment
from search.worker.launchers.nni.experiment import LISTEN_VARIABLE, require_nni, started
from search.worker.launchers.nni.launcher import NniFleet
from search.worker.launchers.nni.service import LOOPBACK, Service, experiment_config

RUN = """\
space: tiny
data: {kind: scenes, size: 32x64, scenes: {training: 4, validation: 2}}
budgets: {params: 60k, macs: 6M}
proxy: {iterations: 2, batch_size: 2}
search: {trials: 4, strategy: random}
"""


class Handle:
    """Stands for NNI's Experiment, whose workers end after three looks."""

    said: ClassVar[list[str]] = []
    trouble: ClassVar[Exception | None] = None

    def __init__(self, config: Any) -> None:
        self.id, self.looks = "exp1", 0

    def start(self, port: int, run_mode: object) -> None:
        self.said.append(f"start {os.environ[LISTEN_VARIABLE]}")
        assert "guard.js" in os.environ["NODE_OPTIONS"] and "localhost" in os.environ["no_proxy"]
        if self.trouble is not None:
            raise self.trouble

    def stop(self) -> None:
        self.said.append("stop")

    def get_status(self) -> str:
        self.looks += 1
        return "DONE" if self.looks == 3 else "RUNNING"

    def list_trial_jobs(self) -> list[Any]:
        states = {1: ("WAITING", "RUNNING"), 2: ("RUNNING", "SUCCEEDED"), 3: ("USER_CANCELED", "SUCCEEDED")}
        return [
            SimpleNamespace(status=status, hyperParameters=[SimpleNamespace(parameters={"worker": number})])
            for number, status in enumerate(states[self.looks])
        ]


@pytest.fixture
def handle(monkeypatch: pytest.MonkeyPatch) -> type[Handle]:
    package = ModuleType("nni.experiment")
    package.Experiment = Handle  # type: ignore[attr-defined]
    package.RunMode = SimpleNamespace(Detach="detach")  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "nni", ModuleType("nni"))
    monkeypatch.setitem(sys.modules, "nni.experiment", package)
    monkeypatch.setattr(Handle, "said", [])
    monkeypatch.setattr(Handle, "trouble", None)
    monkeypatch.setattr(NniFleet, "pause", 0.0)
    return Handle


@pytest.fixture
def config(tmp_path: Path) -> Any:
    return SimpleNamespace(experiment_working_directory=str(tmp_path))


@pytest.fixture
def port() -> int:
    return free_port()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        number: int = probe.getsockname()[1]
    return number


@pytest.mark.skipif(shutil.which("node") is None, reason="no node")
@pytest.mark.parametrize("arguments", [[], ["--port"], ["--port", "x"], ["--port", "0"], ["--port=8081"]])
def test_a_manager_whose_page_cannot_be_guarded_does_not_start(tmp_path: Path, arguments: list[str]) -> None:
    (tmp_path / "manager.js").write_text("console.log('starts')")
    command = ["node", "--require", str(nni_experiment._GUARD), str(tmp_path / "manager.js")]
    with_listen = os.environ | {LISTEN_VARIABLE: LOOPBACK}
    done = subprocess.run([*command, *arguments], capture_output=True, text=True, env=with_listen)
    assert done.returncode != 0 and done.stdout == "" and "without --port and a number" in done.stderr
    done = subprocess.run([*command, "--port", "8081"], capture_output=True, text=True, env=with_listen)
    assert (done.returncode, done.stdout) == (0, "starts\n")


FAST = "const every = setInterval; setInterval = (does, time, ...more) => every(does, time / 1000, ...more)"
"""What has a program's clock run a thousand times as fast."""
MANAGER = """
const parent = process.ppid
console.log(process.pid)
let seconds = 0
setInterval(() => {
    seconds = process.ppid === parent ? 0 : seconds + 20
    if (seconds === 100) { console.log('goes on'); process.exit() }
}, 20000)
"""


@pytest.mark.skipif(shutil.which("node") is None, reason="no node")
def test_the_manager_goes_on_when_its_launcher_is_killed(tmp_path: Path) -> None:
    (tmp_path / "fast.js").write_text(FAST)
    (tmp_path / "manager.js").write_text(MANAGER)
    guarded = f"--require {tmp_path}/fast.js --require {nni_experiment._GUARD}"
    words = ["sh", "-c", f"node {guarded} {tmp_path}/manager.js --port 8081 & wait"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=os.environ | {LISTEN_VARIABLE: LOOPBACK}) as sh:
        assert sh.stdout is not None and sh.stdout.readline().strip().isdigit()
        sh.kill()
        assert sh.stdout.read() == "goes on\n"


def test_what_becomes_of_each_worker_is_said(handle: type[Handle], config: Any, port: int, tmp_path: Path) -> None:
    said: list[str] = []
    looks: list[None] = []
    before = dict(os.environ)
    fleet = NniFleet(started(config, port, ["127.0.0.1"]), tmp_path / "nni.json", 2)
    ends = follow(fleet, said.append, lambda: looks.append(None))
    fleet.stop()
    assert dict(os.environ) == before
    assert said == [
        "worker 0 waits for a place",
        "worker 1 started",
        "worker 0 started",
        "worker 1 ended",
        "worker 0 was stopped or killed",
    ]
    assert ends == {0: "was stopped or killed", 1: "ended"} and len(looks) == 3
    assert handle.said == ["start 127.0.0.1", "stop"]


def test_an_experiment_that_breaks_off_at_its_start_is_stopped(
    handle: type[Handle], config: Any, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handle, "trouble", ValueError("a bug"))
    with pytest.raises(ValueError, match="a bug"):
        started(config, port, ["127.0.0.1"])
    assert handle.said[-1] == "stop"


def test_why_nni_did_not_start_is_read_from_its_log(
    handle: type[Handle], config: Any, port: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(handle, "trouble", ConnectionRefusedError())
    log = tmp_path / "exp1" / "log" / "nnimanager.log"
    log.parent.mkdir(parents=True)
    log.write_text("[now] INFO (main) Start\n[now] ERROR (Service) no way in\n[now] INFO (main) End\n")
    with pytest.raises(UserError, match="NNI gave up: no way in; its log"):
        started(config, port, ["127.0.0.1"])
    assert handle.said[-1] == "stop"


def test_a_taken_port_is_refused(handle: type[Handle], config: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        number = taken.getsockname()[1]
        with pytest.raises(UserError, match=f"--port {number}: Address already in use"):
            started(config, number, ["127.0.0.1"])
    assert handle.said == []


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, str]]:
    """The real NNI with a worker that waits: its port, and the worker's id."""
    pytest.importorskip("nni", reason="NNI is not installed: pip install --no-deps -r constraints-nni.txt")
    require_nni()
    folder = tmp_path_factory.mktemp("nni")
    config = experiment_config(Service(), "run", "exec sleep 600", 1, folder, LOOPBACK)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(folder))
        experiment = started(config, number := free_port(), [LOOPBACK])
        try:
            while not (jobs := experiment.handle.list_trial_jobs()):
                experiment.is_done()  # raises where NNI has given up
            yield number, jobs[0].trialJobId
        finally:
            experiment.stop()


ASK = """
import http.client, json, os, sys
number, path, headers, user = json.loads(sys.argv[1])
page = http.client.HTTPConnection("127.0.0.1", number, timeout=60)
"".encode("idna")  # loads what connecting needs, which another user may not read
os.setuid(user)
page.request("GET", path, headers=headers)
print(page.getresponse().status)
"""


def ask(number: int, path: str, user: int | None = None, **headers: str) -> str:
    """The status that NNI's page answers to a process of ``user``, else why it does not answer."""
    question = json.dumps([number, path, headers, os.getuid() if user is None else user])
    done = subprocess.run([sys.executable, "-c", ASK, question], capture_output=True, text=True)
    return (done.stdout or done.stderr).splitlines()[-1].partition(":")[0]


@pytest.mark.slow
def test_the_page_answers_this_user_alone(page: tuple[int, str]) -> None:
    number, _ = page
    status, refused = "/api/v1/nni/check-status", "http.client.RemoteDisconnected"
    assert ask(number, status) == ask(number, status, Host="localhost") == "200"
    assert ask(number, status, Origin=f"http://127.0.0.1:{number}") == "200"
    assert ask(number, status, Host="rebound.example") == ask(number, status, Host="") == refused
    assert ask(number, status, Origin="http://other.example") == refused
    if os.getuid() == 0:  # only root can be another
        assert ask(number, status, user=65534) == refused


@pytest.mark.slow
def test_the_page_shows_no_file_outside_a_worker_s_folder(page: tuple[int, str]) -> None:
    number, job = page
    assert ask(number, f"/api/v1/nni/trial-file/{job}/stderr") == "200"
    for path in ("..%2f..%2fdb%2fnni.sqlite", "%2e%2e%2f%2e%2e%2fdb%2fnni.sqlite", "../stderr", "%"):
        assert ask(number, f"/api/v1/nni/trial-file/{job}/{path}") == "http.client.RemoteDisconnected"


@pytest.mark.slow
@pytest.mark.usefixtures("real_nni")
def test_two_workers_under_nni(
    run_cli: Callable[..., Any], tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, port: int
) -> None:
    """They conclude the run, and NNI has the curve of each; its servers listen on the loopback address alone."""
    run, run_file = tmp_path / "run", tmp_path / "run.yaml"
    run_file.write_text(RUN)
    opened, trials = resolve(run_file)
    set_up(run, opened, trials)
    with forks(tmp_path_factory.mktemp("f")) as words, pytest.MonkeyPatch.context() as patch:
        patch.setattr(command, "PROGRAM", words)
        done = run_cli("launch", run, "--on", "nni", "--workers", 2, "--port", port, HOME=str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert {f"worker {number} {does}" for number in (0, 1) for does in ("started", "ended")} <= {
        *done.stderr.splitlines()
    }
    assert "on the front\nnext:" in done.stderr and "params" in done.stdout
    recorded = read_run(run).trials
    assert [found.status for found in recorded] == ["finished"] * 4
    assert all(f"trial {found.number} {found.id}: mIoU" in done.stderr for found in recorded)
    (database,) = (run / "nni").glob("[!_]*/db/nni.sqlite")
    with sqlite3.connect(database) as connection:
        told = connection.execute("SELECT data FROM MetricData WHERE type = 'PERIODICAL'").fetchall()
    scores = sorted(json.loads(json.loads(data))["default"] for (data,) in told)
    assert scores == pytest.approx(sorted(found.miou or 0 for found in recorded))
