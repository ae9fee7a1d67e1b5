"""The Job that workers on Kubernetes are, and the following of its pods, by a server that answers as the API does.

No cluster: kind and k3s need containers. What is submitted is checked with the API's published schemas.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from boostformer.errors import UserError
from results.storage.location import Database
from search.study.stores import named_by_user, note_in
from search.worker.launchers.launcher import State
from search.worker.launchers.order import Needs, Order, Workers

client = pytest.importorskip("kubernetes.client", reason="pip install 'boostformer[kubernetes]'")

from search.worker.launchers.registry import open_launcher  # noqa: E402

OPTIONS = {"image": "registry.example/boostformer:0.1"}
ALL = OPTIONS | {"password": "db", "tls": "ca", "keys": "s3", "data": "images", "folder": "runs", "queue": "gpus"}


@pytest.fixture
def order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Order:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home"))
    Database("postgresql://me@db.example/streets?sslmode=verify-full&sslrootcert=/tls/ca.crt", "streets").note_in(
        tmp_path
    )
    note_in(tmp_path, named_by_user("s3://runs/streets"))
    return Order(tmp_path, Workers(3, 3), options=OPTIONS)


@pytest.mark.parametrize("options", [OPTIONS, ALL])
def test_what_is_submitted_is_valid_and_may_do_little(order: Order, options: dict[str, str]) -> None:
    validate = pytest.importorskip("kubernetes_validate", reason="pip install kubernetes-validate").validate
    is_all = options is ALL
    data = Path("/data") if is_all else None
    asked = replace(order, options=options, data=data, needs=Needs(4, 1.0, 8192))
    job = yaml.safe_load(open_launcher("kubernetes", replace(asked, workers=Workers(2, 8)) if is_all else asked).plan())
    for version in ("1.31", "1.34"):
        validate(job, version, strict=True)
    pod = job["spec"]["template"]["spec"]
    [worker] = pod["containers"]
    assert job["spec"]["completionMode"] == "Indexed" and job["spec"]["completions"] == (8 if is_all else 3)
    assert pod["securityContext"]["runAsNonRoot"] and worker["securityContext"]["readOnlyRootFilesystem"]
    assert worker["command"][:6] == ["boostformer", "worker", "--storage", asked.database.url, "--study", "streets"]
    assert worker["command"][worker["command"].index("--files") + 1] == "s3://runs/streets"
    assert worker["resources"]["limits"] == {"memory": "8192Mi", "nvidia.com/gpu": "1"}
    assert {"name": "OMP_NUM_THREADS", "value": "4"} in worker["env"]
    mounts = {mount["mountPath"] for mount in worker["volumeMounts"]}
    assert mounts == {"/tmp", "/dev/shm", "/home/boostformer"} | ({"/data", "/tls"} if is_all else set())
    assert "password" not in json.dumps(worker["command"])
    if is_all:
        assert job["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "gpus" and job["spec"]["suspend"]
        assert job["metadata"]["annotations"]["kueue.x-k8s.io/job-min-parallelism"] == "2"
        secret = next(entry for entry in worker["env"] if entry["name"] == "PGPASSWORD")
        assert secret["valueFrom"]["secretKeyRef"] == {"name": "db", "key": "password"}


def test_what_cannot_be_is_refused(order: Order, tmp_path: Path) -> None:
    def refused(said: str, **changes: Any) -> None:
        with pytest.raises(UserError, match=said):
            open_launcher("kubernetes", replace(order, **changes))

    refused("image", options={})
    refused("has no such option; did you mean 'image'", options={"imgae": "x"})
    refused("password", options=OPTIONS | {"password": "Not A Name"})
    refused("a range needs Kueue", workers=Workers(2, 8))
    refused("each needs the other", data=Path("/data"))
    refused("each needs the other", options=OPTIONS | {"data": "images"})
    refused("a share of a GPU", needs=Needs(gpus=0.5))
    (tmp_path / "file").mkdir()
    refused("is kept in a file", run_dir=tmp_path / "file")
    Database("postgresql://me@db.example/streets", "streets").note_in(tmp_path / "file")
    note_in(tmp_path / "file", named_by_user("/mnt/share"))
    refused("which no pod has; use a bucket", run_dir=tmp_path / "file")


class Cluster(ThreadingHTTPServer):
    """Keeps one Job, and pods for it, as the API would answer."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answers)
        self.job: dict[str, Any] | None = None
        self.status: dict[str, Any] = {}
        self.pods: list[dict[str, Any]] = []
        self.deleted: list[str] = []


class Answers(BaseHTTPRequestHandler):
    server: Cluster

    def log_message(self, *words: object) -> None:
        """Be quiet."""

    def answer(self, code: int, value: object) -> None:
        content = value.encode() if isinstance(value, str) else json.dumps(value).encode()
        self.send_response(code)
        self.send_header("Content-Type", "text/plain" if isinstance(value, str) else "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def do_POST(self) -> None:
        made = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.server.job is not None:
            self.answer(409, {"message": "jobs.batch already exists"})
            return
        self.server.job = made
        self.answer(201, made)

    def do_GET(self) -> None:
        if "/log" in self.path:
            self.answer(200, "hello\nerror: the last words\n")
        elif "/pods" in self.path:
            self.answer(200, {"items": self.server.pods})
        elif self.server.job is None:
            self.answer(404, {"message": "not found"})
        else:
            self.answer(200, self.server.job | {"status": self.server.status})

    def do_DELETE(self) -> None:
        self.server.deleted.append(self.path)
        self.server.job = None
        self.answer(200, {"kind": "Status", "status": "Success"})


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    with Cluster() as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        known = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "here",
            "contexts": [{"name": "here", "context": {"cluster": "here", "user": "me"}}],
            "clusters": [{"name": "here", "cluster": {"server": f"http://127.0.0.1:{server.server_port}"}}],
            "users": [{"name": "me", "user": {"token": "t"}}],
        }
        file = tmp_path / "kubeconfig"
        file.write_text(yaml.safe_dump(known))
        monkeypatch.setenv("KUBECONFIG", str(file))
        yield server
        server.shutdown()


def pod(number: int, phase: str, created: str = "2026-01-01T00:00:00Z") -> dict[str, Any]:
    about = {"name": f"pod-{number}", "creationTimestamp": created}
    about["annotations"] = {"batch.kubernetes.io/job-completion-index": str(number)}  # type: ignore[assignment]
    return {"metadata": about, "status": {"phase": phase}}


def test_workers_are_started_found_followed_and_stopped(order: Order, cluster: Cluster) -> None:
    launcher = open_launcher("kubernetes", order)
    assert launcher.find() is None
    fleet = launcher.start()
    assert cluster.job == yaml.safe_load(launcher.plan())
    assert set(fleet.workers().values()) == {State.WAITING}
    cluster.pods = [pod(0, "Running"), pod(1, "Failed"), pod(1, "Pending", "2026-01-01T00:01:00Z"), pod(2, "Running")]
    assert fleet.workers() == {0: State.WORKING, 1: State.WAITING, 2: State.WORKING}
    again = open_launcher("kubernetes", order).find()
    assert again is not None
    cluster.status = {"completedIndexes": "0", "failedIndexes": "1-2"}
    assert again.workers() == {0: State.ENDED, 1: State.FAILED, 2: State.FAILED}
    assert again.last_words(1) == "error: the last words" and "gone" in again.last_words(7)
    with pytest.raises(UserError, match=r"already exists \(409\)"):
        launcher.start()
    assert launcher.find() is None and len(cluster.deleted) == 1, "one that is over is taken down"
    again.stop()
    with pytest.raises(UserError, match="is gone"):
        again.workers()


def test_a_cluster_that_is_unknown_is_one_line(order: Order, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    with pytest.raises(UserError, match="no cluster is known here"):
        open_launcher("kubernetes", order).find()
