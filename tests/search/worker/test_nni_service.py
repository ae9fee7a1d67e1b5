"""Where NNI runs the workers, at which addresses and by which command; read by the real NNI where it is there."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from boostformer.errors import UserError
from boostformer.extensions import VARIABLE
from results.storage.location import Database
from search.worker.launchers.nni import launcher
from search.worker.launchers.nni.service import Service, experiment_config, read_service
from search.worker.launchers.order import Order, Workers
from search.worker.launchers.registry import open_launcher

REMOTE = """\
platform: remote
nniManagerIp: 10.0.0.1
machineList:
  - {host: 10.0.0.5, user: me, sshKeyFile: key}
"""
KUBEFLOW = """\
platform: kubeflow
nniManagerIp: 10.0.0.1
operator: pytorch-operator
apiVersion: v1
storage: {storageType: nfs, server: 10.0.0.2, path: /nfs}
worker: {replicas: 1, cpuNumber: 2, memorySize: 4gb}
"""


def service(tmp_path: Path, text: str) -> Service:
    path = tmp_path / "machines.yaml"
    path.write_text(text)
    return read_service(path)


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
        ("192.0.2.7", ["127.0.0.1", "192.0.2.7"]),
        ("0.0.0.0", ["0.0.0.0"]),
        ("::1", ["127.0.0.1", "::1"]),
    ],
)
def test_nni_listens_where_it_is_told(tmp_path: Path, host: str, addresses: list[str]) -> None:
    assert service(tmp_path, REMOTE).listening(host) == addresses


def test_without_workers_elsewhere_nni_listens_here_alone() -> None:
    assert Service().listening("127.0.0.1") == ["127.0.0.1"]
    with pytest.raises(UserError, match=r"--host 192.0.2.7: .* needs --service"):
        Service().listening("192.0.2.7")


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


# What the workers do there.


@pytest.fixture
def without_nni(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launcher, "require_nni", lambda: None)


def command(run: Path, workers: int = 1, **more: object) -> str:
    opened = open_launcher("nni", Order(run.absolute(), Workers(workers, workers), **more))  # type: ignore[arg-type]
    return opened._command  # type: ignore[attr-defined]


@pytest.mark.usefixtures("without_nni")
def test_workers_here_replace_the_shell(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    run = tmp_path / "a run"
    monkeypatch.setenv("OMP_NUM_THREADS", "8")
    program = f"env OMP_NUM_THREADS=2 {sys.executable} -P -m search.cli"
    assert command(run, 3) == f"cd {tmp_path} && exec {program} worker '{run}'"


@pytest.mark.usefixtures("without_nni")
@pytest.mark.parametrize(("machines", "turn"), [(False, "0 1 2 0"), (True, "")])
def test_workers_here_divide_the_devices(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, machines: bool, turn: str
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5,7")
    (tmp_path / "machines.yaml").write_text("platform: local\n")
    words = command(tmp_path / "run", options={"service": str(tmp_path / "machines.yaml")} if machines else {})
    echo = "echo " + words.partition("worker ")[2].partition(" ")[2].removeprefix("--device ")
    shown = [
        subprocess.run(["bash", "-c", echo], env={"NNI_TRIAL_SEQ_ID": str(number)}, capture_output=True, text=True)
        for number in range(4)
    ]
    assert " ".join(done.stdout.strip() for done in shown).strip() == turn
    assert ("--device" in words) != machines


@pytest.mark.usefixtures("without_nni")
def test_images_of_workers_here_are_the_runs() -> None:
    with pytest.raises(UserError, match="needs --service"):
        command(Path("run"), data=Path("images"))


def test_workers_elsewhere_need_a_database(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is kept in a file"):
        launcher._elsewhere(Order(tmp_path))
    Database("postgresql://me@host/db", "my streets").note_in(tmp_path)
    assert launcher._elsewhere(Order(tmp_path, data=Path("/images"))).endswith(
        "exec boostformer worker --storage postgresql://me@host/db --study 'my streets' --data /images"
    )


@pytest.mark.usefixtures("without_nni")
def test_workers_import_what_the_launcher_did(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(VARIABLE, os.pathsep.join(["/my blocks/own.py", "mine.blocks", "/my blocks/own.py"]))
    Database("postgresql://me@host/db", "streets").note_in(tmp_path)
    words = "--import '/my blocks/own.py' --import mine.blocks worker"
    assert f"exec boostformer {words} --storage" in launcher._elsewhere(Order(tmp_path))
    assert f"search.cli {words} " in command(Path("run"))


# What the real NNI says of it.


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
