"""NNI as a launcher: what workers tell it, where they run, at which addresses; with a stand-in and the real one."""

from __future__ import annotations

import io
import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, ClassVar

import pytest

from boostformer.errors import UserError
from results.record import Record, read_run
from results.storage import Database
from search.commands import launch
from search.nni import experiment as nni_experiment
from search.nni.experiment import LISTEN_VARIABLE, follow, listening, require_nni, running
from search.nni.service import Service, experiment_config, read_service
from search.nni.worker import JOB_VARIABLE, shown_by_nni
from search.plan import Plan
from search.progress import LineReporter
from search.run_folder import set_up

RUN = """\
space: tiny
data: {kind: scenes, size: 32x64, scenes: {training: 4, validation: 2}}
budgets: {params: 60k, macs: 6M}
proxy: {iterations: 2, batch_size: 2}
search: {trials: 4, strategy: random}
"""
REMOTE = """\
platform: remote
nniManagerIp: 10.0.0.1
machineList:
  - {host: 10.0.0.5, user: me, sshKeyFile: key}
"""


def record(state: Any = "finished", miou: float | None = 0.25) -> Record:
    return Record(3, "abc", state, {}, 10**6, 10**9, 0, 0, True, miou=miou, seconds=2.0, seed=7)


def service(tmp_path: Path, text: str) -> Service:
    path = tmp_path / "machines.yaml"
    path.write_text(text)
    return read_service(path)


# What a worker tells NNI.


class Nni(ModuleType):
    """Stands for the package `nni` in a trial; ``away`` as when its manager has died."""

    def __init__(self) -> None:
        super().__init__("nni")
        self.told: list[Any] = []
        self.away = False

    def get_next_parameter(self) -> dict[str, int]:
        return {"worker": 0}

    def report_intermediate_result(self, result: Any) -> None:
        if self.away:
            raise ConnectionRefusedError("nobody there")
        self.told.append(result)

    report_final_result = report_intermediate_result


@pytest.fixture
def nni(monkeypatch: pytest.MonkeyPatch) -> Iterator[Nni]:
    stand_in = Nni()
    monkeypatch.setitem(sys.modules, "nni", stand_in)
    monkeypatch.setenv(JOB_VARIABLE, "abcde")
    before = signal.getsignal(signal.SIGINT)
    yield stand_in
    signal.signal(signal.SIGINT, before)


def test_a_worker_that_nni_did_not_start_tells_it_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(JOB_VARIABLE, raising=False)
    reporter = LineReporter()
    with shown_by_nni(reporter) as shown:
        assert shown is reporter


def test_nni_is_told_of_finished_trials_and_of_the_best(nni: Nni) -> None:
    written = io.StringIO()
    with shown_by_nni(LineReporter(written)) as reporter:
        for miou in (0.25, 0.5, 0.375):
            reporter.ended(record(miou=miou))
        reporter.ended(record("failed", None))
        reporter.set_aside(record("failed", None))
    *intermediate, final = nni.told
    assert [result["default"] for result in intermediate] == [0.25, 0.5, 0.375] and final == 0.5
    assert all(type(value) in (int, float) for value in intermediate[0].values())
    assert intermediate[0].items() >= {"trial": 3, "params": 10**6, "macs": 10**9, "seconds": 2.0, "seed": 7}.items()
    assert len(written.getvalue().splitlines()) == 5, "the other reporter is told as well"


def test_without_a_finished_trial_there_is_no_result(nni: Nni) -> None:
    with shown_by_nni(LineReporter()) as reporter:
        reporter.ended(record("failed", None))
    assert nni.told == []


def test_a_search_goes_on_when_nni_is_away(nni: Nni) -> None:
    written = io.StringIO()
    with shown_by_nni(LineReporter(written)) as reporter:
        nni.away = True
        for _ in range(3):
            reporter.ended(record())
    said = [json.loads(line) for line in written.getvalue().splitlines()]
    assert [message["says"] for message in said if "says" in message] == [
        "NNI does not answer, its page lacks what follows: ConnectionRefusedError: nobody there"
    ]


def test_a_stopped_worker_ends_by_the_signal(nni: Nni, monkeypatch: pytest.MonkeyPatch) -> None:
    killed: list[Any] = []
    monkeypatch.setattr(os, "kill", lambda *arguments: killed.append(arguments))
    with pytest.raises(KeyboardInterrupt), shown_by_nni(LineReporter()):
        raise KeyboardInterrupt
    assert killed == [(os.getpid(), signal.SIGINT)] and signal.getsignal(signal.SIGINT) is signal.SIG_DFL


def test_a_worker_without_nni_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(JOB_VARIABLE, "abcde")
    monkeypatch.setitem(sys.modules, "nni", None)
    with pytest.raises(UserError, match="extra nni"), shown_by_nni(LineReporter()):
        pass
    with pytest.raises(UserError, match=r"\[nni\]"):
        require_nni()


def test_a_worker_stops_when_the_process_that_started_it_dies() -> None:
    worker = """
import signal, sys
from search.nni.worker import _stop_with_parent
signal.signal(signal.SIGINT, signal.default_int_handler)
_stop_with_parent(0.01)
print("works", flush=True)
try:
    signal.pause()
except KeyboardInterrupt:
    print("gives back")
"""
    parent = """
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", sys.argv[1]], stdout=subprocess.PIPE)
print(child.stdout.readline().decode(), end="", flush=True)
import os, shutil
if os.fork():
    os._exit(9)  # as if killed: the worker's parent is gone
shutil.copyfileobj(child.stdout, sys.stdout.buffer)
"""
    done = subprocess.run([sys.executable, "-c", parent, worker], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout.split("\n")[:2]) == (9, ["works", "gives back"])


# Where the workers run.


def test_without_a_file_the_workers_run_here() -> None:
    assert read_service(None) == Service() and Service().is_local


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "empty"),
        ("machineList: []\n", "no 'platform'; allowed: local, remote, kubeflow, frameworkcontroller"),
        ("platform: remot\n", r"machines.yaml:1: platform: unknown platform 'remot'; did you mean 'remote'\?"),
        ("platform: [local]\n", "machines.yaml:1: platform: is not a single value"),
        ("platform: local\ntrialCommand: date\n", "machines.yaml:2: trialCommand: is set by the launcher"),
        ("platform: local\ntrial_code_directory: .\n", "machines.yaml:2: .*set by the launcher"),
        (REMOTE.replace("sshKeyFile: key", "password: x"), r"machines.yaml:4: machineList.0.password: .*web page"),
        (REMOTE.replace("key}", "key, sshPassphrase: x}"), r"machineList.0.sshPassphrase: .*web page"),
    ],
)
def test_a_bad_file_is_refused_in_one_line(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(UserError, match=said) as refused:
        service(tmp_path, text)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("host", "addresses"),
    [
        ("127.0.0.1", ["127.0.0.1"]),
        ("192.0.2.7", ["127.0.0.1", "192.0.2.7"]),
        ("0.0.0.0", ["0.0.0.0"]),
        ("::1", ["127.0.0.1", "::1"]),
    ],
)
def test_nni_listens_where_it_is_told(host: str, addresses: list[str]) -> None:
    assert Service().listening(host) == addresses


def test_a_host_is_an_address() -> None:
    with pytest.raises(UserError, match="--host: 'localhost' is not an IP address"):
        Service().listening("localhost")


def test_workers_elsewhere_must_know_where_to_report(tmp_path: Path) -> None:
    nowhere = service(tmp_path, REMOTE.replace("nniManagerIp: 10.0.0.1\n", ""))
    for host in ("127.0.0.1", "0.0.0.0"):
        with pytest.raises(UserError, match="give --host the address"):
            nowhere.listening(host)
    assert nowhere.listening("10.0.0.1") == ["127.0.0.1", "10.0.0.1"]
    assert service(tmp_path, REMOTE).listening("127.0.0.1") == ["127.0.0.1"]


# What they do there.


def test_workers_here_replace_the_shell(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    run = tmp_path / "a run"
    command = launch._here(Path("a run"), None, own_devices=True)
    assert command == f"cd {tmp_path} && exec {sys.executable} -m search.cli worker '{run}'"


@pytest.mark.parametrize(("own_devices", "turn"), [(True, "0 1 2 0"), (False, "")])
def test_workers_here_divide_the_devices(monkeypatch: pytest.MonkeyPatch, own_devices: bool, turn: str) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5,7")
    command = launch._here(Path("run"), None, own_devices=own_devices)
    echo = "echo " + command.partition("worker ")[2].partition(" ")[2].removeprefix("--device ")
    shown = [
        subprocess.run(["bash", "-c", echo], env={"NNI_TRIAL_SEQ_ID": str(number)}, capture_output=True, text=True)
        for number in range(4)
    ]
    assert " ".join(done.stdout.strip() for done in shown).strip() == turn
    assert ("--device" in command) == own_devices


def test_images_of_workers_here_are_the_runs() -> None:
    with pytest.raises(UserError, match="needs --service"):
        launch._here(Path("run"), Path("images"), own_devices=True)


def test_workers_elsewhere_need_a_database(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is kept in a file"):
        launch._elsewhere(tmp_path, None)
    Database("postgresql://me@host/db", "my streets").note_in(tmp_path)
    assert launch._elsewhere(tmp_path, Path("/images")).endswith(
        "exec boostformer worker --storage postgresql://me@host/db --study 'my streets' --data /images"
    )


# An experiment, with a stand-in for NNI's.


class Handle:
    """Stands for NNI's Experiment, whose workers end after three looks."""

    said: ClassVar[list[str]] = []
    trouble: ClassVar[Exception | None] = None

    def __init__(self, config: Any) -> None:
        self.id, self.looks = "exp1", 0

    def start(self, port: int, run_mode: object) -> None:
        self.said.append(f"start {os.environ[LISTEN_VARIABLE]} {os.environ['THREADS']}")
        assert "listen.js" in os.environ["NODE_OPTIONS"] and "localhost" in os.environ["no_proxy"]
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
    monkeypatch.setattr(nni_experiment, "PAUSE", 0.0)
    return Handle


@pytest.fixture
def config(tmp_path: Path) -> Any:
    return SimpleNamespace(experiment_working_directory=str(tmp_path))


@pytest.fixture
def port() -> int:
    """One that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        number: int = probe.getsockname()[1]
    return number


def test_what_becomes_of_each_worker_is_said(handle: type[Handle], config: Any, port: int) -> None:
    said: list[str] = []
    looks: list[None] = []
    before = dict(os.environ)
    with running(config, port, ["127.0.0.1"], THREADS="2") as experiment:
        assert dict(os.environ) == before
        ends = follow(experiment, said.append, lambda: looks.append(None))
    assert said == ["worker 1 started", "worker 0 started", "worker 1 ended", "worker 0 was stopped or killed"]
    assert ends == {0: "was stopped or killed", 1: "ended"} and len(looks) == 3
    assert handle.said == ["start 127.0.0.1 2", "stop"]


def test_an_experiment_that_breaks_off_is_stopped(handle: type[Handle], config: Any, port: int) -> None:
    with pytest.raises(KeyboardInterrupt), running(config, port, ["127.0.0.1"], THREADS="2"):
        raise KeyboardInterrupt
    assert handle.said[-1] == "stop"


def test_why_nni_did_not_start_is_read_from_its_log(
    handle: type[Handle], config: Any, port: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(handle, "trouble", ConnectionRefusedError())
    log = tmp_path / "exp1" / "log" / "nnimanager.log"
    log.parent.mkdir(parents=True)
    log.write_text("[now] INFO (main) Start\n[now] ERROR (Service) no way in\n[now] INFO (main) End\n")
    with pytest.raises(UserError, match="NNI gave up: no way in; its log"):
        running(config, port, ["127.0.0.1"], THREADS="2").__enter__()
    assert handle.said[-1] == "stop"


def test_an_experiment_that_listens_elsewhere_is_stopped(
    handle: type[Handle], config: Any, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nni_experiment, "listening", lambda: {"::", "127.0.0.1"})
    with pytest.raises(UserError, match="NNI listens at ::, not only at 127.0.0.1: it was stopped"):
        running(config, port, ["127.0.0.1"], THREADS="2").__enter__()
    assert handle.said[-1] == "stop"


def test_a_taken_port_is_refused(handle: type[Handle], config: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        number = taken.getsockname()[1]
        with pytest.raises(UserError, match=f"--port {number}: Address already in use"):
            running(config, number, ["127.0.0.1"], THREADS="2").__enter__()
    assert handle.said == []


def test_listening_processes_are_seen() -> None:
    code = "import socket, sys\ns = socket.create_server(('127.0.0.1', 0))\nprint(flush=True)\nsys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        assert listening() == {"127.0.0.1"}
        child.communicate()


# The real NNI.


@pytest.fixture
def real_nni() -> None:
    pytest.importorskip("nni", reason="NNI is not installed: pip install -e '.[nni]'")


@pytest.mark.usefixtures("real_nni")
def test_nni_takes_the_configuration(tmp_path: Path) -> None:
    built = experiment_config(Service(), "run", "exec work", 3, tmp_path / "nni", "127.0.0.1").json()
    assert (built["trialConcurrency"], built["maxTrialNumber"]) == (3, 3)
    assert built["trainingService"] == {
        "platform": "local",
        "trialCommand": "exec work",
        "trialCodeDirectory": str(tmp_path / "nni" / "code"),
        "debug": False,
        "maxTrialNumberPerGpu": 1,
        "reuseMode": False,
    }


@pytest.mark.usefixtures("real_nni")
def test_nni_takes_machines_and_their_keys(tmp_path: Path) -> None:
    (tmp_path / "key").touch()
    built = experiment_config(service(tmp_path, REMOTE), "run", "exec work", 3, tmp_path / "nni", "0.0.0.0").json()
    section = built["trainingService"]
    assert section["nniManagerIp"] == "10.0.0.1" and section["machineList"][0]["sshKeyFile"] == str(tmp_path / "key")
    told = service(tmp_path, REMOTE.replace("nniManagerIp: 10.0.0.1\n", ""))
    built = experiment_config(told, "run", "exec work", 3, tmp_path / "nni", "10.0.0.9").json()
    assert built["trainingService"]["nniManagerIp"] == "10.0.0.9"


KUBEFLOW = """\
platform: kubeflow
nniManagerIp: 10.0.0.1
operator: pytorch-operator
apiVersion: v1
storage: {storageType: nfs, server: 10.0.0.2, path: /nfs}
worker: {replicas: 1, cpuNumber: 2, memorySize: 4gb}
"""


@pytest.mark.usefixtures("real_nni")
def test_nni_takes_kubernetes(tmp_path: Path) -> None:
    built = experiment_config(service(tmp_path, KUBEFLOW), "run", "exec work", 3, tmp_path / "nni", "0.0.0.0").json()
    role = built["trainingService"]["worker"]
    assert (role["command"], role["codeDirectory"]) == ("exec work", str(tmp_path / "nni" / "code"))


@pytest.mark.usefixtures("real_nni")
@pytest.mark.parametrize(
    ("text", "said"),
    [
        (REMOTE, "valid SSH key file"),
        (REMOTE.replace("user", "usr"), "does not have field.* usr"),
        (REMOTE.replace("user: me, ", ""), "user is not set"),
        (REMOTE.replace("me,", "me, port: 70000,"), "NNI wants 0 < port < 65536"),
        (REMOTE.replace("machineList:", "machineList: []\nreuseMode:"), "machine"),
        ("platform: local\nmaxTrialNumberPerGpu: two\n", "type of max_trial_number_per_gpu"),
        (KUBEFLOW.replace("pytorch-operator", "mine"), "NNI wants operator in"),
    ],
)
def test_what_nni_refuses_is_said_in_one_line(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(UserError, match=said) as refused:
        experiment_config(service(tmp_path, text), "run", "exec work", 1, tmp_path / "nni", "10.0.0.1")
    assert str(refused.value).startswith(str(tmp_path / "machines.yaml")) and "\n" not in str(refused.value)


@pytest.mark.slow
@pytest.mark.usefixtures("real_nni")
def test_two_workers_under_nni(run_cli: Callable[..., Any], tmp_path: Path, port: int) -> None:
    """They conclude the run, and NNI has the curve of each; its servers listen on the loopback address alone."""
    run, run_file = tmp_path / "run", tmp_path / "run.yaml"
    run_file.write_text(RUN)
    plan, trials, _ = Plan.read(run_file)
    set_up(run, plan, trials, [])
    done = run_cli("launch", run, "--workers", 2, "--port", port, HOME=str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert {f"worker {number} {does}" for number in (0, 1) for does in ("started", "ended")} <= {
        *done.stderr.splitlines()
    }
    records = read_run(run).records
    assert [found.state for found in records] == ["finished"] * 4
    assert all(f"trial {found.trial} {found.id}: mIoU" in done.stderr for found in records)
    (database,) = (run / "nni").glob("[!_]*/db/nni.sqlite")
    with sqlite3.connect(database) as connection:
        told = connection.execute("SELECT data FROM MetricData WHERE type = 'PERIODICAL'").fetchall()
    scores = sorted(json.loads(json.loads(data))["default"] for (data,) in told)
    assert scores == pytest.approx(sorted(found.miou or 0 for found in records))
