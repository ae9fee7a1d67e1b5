"""Weights and states that machines share: in a folder, and in buckets of servers that speak as S3 or as Google do."""

from __future__ import annotations

import hashlib
import io
import pickle
import shutil
import socket
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from optuna.artifacts.exceptions import ArtifactNotFound

from boostformer import zips
from boostformer.errors import UserError
from boostformer.start import LostWeights
from boostformer.training.state import saved_after
from results.trial import TrialKey
from search.study import stores
from search.study.states import States
from search.study.stores import Bucket, checked, named_by_user, note_in, place_of, store_of, try_out
from search.study.weights import Weights

KEY = TrialKey("abc123", 0, 7)


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    """A server that speaks S3, on loopback, with a bucket named runs."""
    pytest.importorskip("s3fs", reason="s3fs is not installed: pip install 'boostformer[s3]'")
    server = pytest.importorskip("moto.server", reason="moto is not installed: pip install 'moto[s3]' flask flask-cors")
    import boto3

    running = server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    running.start()
    host, port = running.get_host_and_port()
    url = f"http://{host}:{port}"
    try:
        keys = {"aws_access_key_id": "me", "aws_secret_access_key": "secret", "region_name": "us-east-1"}
        boto3.client("s3", endpoint_url=url, **keys).create_bucket(Bucket="runs")
        yield url
    finally:
        running.stop()


@pytest.fixture(scope="module")
def google() -> Iterator[None]:
    """A server that speaks as Google's storage does, on loopback, with a bucket named runs."""
    pytest.importorskip("gcsfs", reason="gcsfs is not installed: pip install 'boostformer[gs]'")
    server = pytest.importorskip("gcp_storage_emulator.server", reason="pip install gcp-storage-emulator")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    running = server.create_server("127.0.0.1", port, in_memory=True, default_bucket="runs")
    running.start()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{port}")
        yield
    running.stop()


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home"))


@pytest.fixture(params=["folder", "s3", "gs"])
def place(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "folder":
        return named_by_user(str(tmp_path / "share"))
    if request.param == "s3":
        at_bucket(monkeypatch, request.getfixturevalue("endpoint"))
    else:
        request.getfixturevalue("google")
    return named_by_user(f"{request.param}://runs/{hashlib.sha256(str(tmp_path).encode()).hexdigest()[:12]}")


def at_bucket(monkeypatch: pytest.MonkeyPatch, endpoint: str) -> None:
    for name, value in {"KEY_ID": "me", "SECRET": "secret"}.items():
        monkeypatch.setenv({"KEY_ID": "AWS_ACCESS_KEY_ID", "SECRET": "AWS_SECRET_ACCESS_KEY"}[name], value)
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    import s3fs

    s3fs.S3FileSystem.clear_instance_cache()


def machine(folder: Path, place: str) -> Path:
    folder.mkdir()
    note_in(folder, place)
    try_out(folder)
    return folder


def save(run_dir: Path, iteration: int, key: TrialKey = KEY) -> Path:
    """Write what a training would."""
    state = States.of(run_dir, print).folder(key) / f"iteration-{iteration:08d}"
    state.mkdir(parents=True)
    torch.save({"step": torch.tensor(iteration)}, state / "optimizer.bin")
    (state / "progress.json").write_text("{}")
    return state


def test_weights_of_one_machine_are_found_by_another(tmp_path: Path, place: str) -> None:
    one, two = machine(tmp_path / "one", place), machine(tmp_path / "two", place)
    digest = Weights.of(one).keep({"a": torch.arange(6.0)})
    assert digest in Weights.of(two) and Weights.of(two).digests() == {digest}
    assert torch.equal(Weights.of(two).read(digest)["a"], torch.arange(6.0))
    assert [file.name for file in one.iterdir()] == ["shared.json"]
    store_of(one, "weights").write(f"{digest}.safetensors", io.BytesIO(b"others"))
    with pytest.raises(LostWeights, match="are damaged"):
        Weights.of(two).read(digest)
    assert digest not in Weights.of(one)
    with pytest.raises(LostWeights, match="are gone"):
        Weights.of(two).read(digest)
    Weights.of(two).remove(digest)


def test_who_takes_over_has_the_states(tmp_path: Path, place: str) -> None:
    one, two = machine(tmp_path / "one", place), machine(tmp_path / "two", place)
    first, second = States.of(one, print), States.of(two, print)
    other = TrialKey("abc1234", 0, 7)
    with first.shared(KEY) as look:
        for iteration in (10, 20):
            save(one, iteration)
            look()
    save(one, 5, other)
    first.share(other)
    assert second.newest(KEY) == 20 and second.newest(other) == 5
    with second.shared(KEY):
        folder = second.folder(KEY)
        assert saved_after(folder) == [10, 20]
        assert torch.load(folder / "iteration-00000020" / "optimizer.bin", weights_only=True)["step"] == 20
        shutil.rmtree(folder / "iteration-00000010")
        save(two, 30)
    assert sorted(second._copies(KEY).values()) == [20, 30]
    first.share(KEY)  # one that was thought dead takes nothing away from who took over
    assert first.newest(KEY) == 30
    second.forget(KEY)
    assert second.newest(KEY) == 0 and second.newest(other) == 5
    first.forget_all()
    assert second.newest(other) == 0


class Hostile:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return exec, ("raise SystemExit('ran')",)


@pytest.mark.parametrize("fault", ["bytes", "code", "path", "no zip"])
def test_a_copy_is_not_trusted(tmp_path: Path, fault: str) -> None:
    run_dir, said = machine(tmp_path / "one", named_by_user(str(tmp_path / "share"))), []
    file = tmp_path / "made.zip"
    with zips.writing(file, "boostformer training state", 1) as out:
        out.add("progress.json", b"{}")
        if fault == "code":
            out.add("optimizer.bin", pickle.dumps(Hostile()))
    if fault == "path":
        with zipfile.ZipFile(file, "a") as archive:
            archive.writestr("../../outside", "x")
    content = b"no zip" if fault == "no zip" else file.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    name = f"{KEY.arch_id}-{KEY.seed}.00000010.{digest}.zip"
    store_of(run_dir, "checkpoints").write(name, io.BytesIO(content + b"!" * (fault == "bytes")))
    states = States.of(run_dir, said.append)
    states.fetch(KEY)
    assert saved_after(states.folder(KEY)) == [] and states.newest(KEY) == 0
    assert len(said) == 1 and "the copy of a training's state is damaged, and removed" in said[0]
    assert not list(tmp_path.rglob("outside"))


def test_only_places_that_the_user_named_are_used(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "shared.json").write_text('{"url": "s3://theirs/run"}')
    for open_it in (place_of, Weights.of, lambda folder: States.of(folder, print)):
        with pytest.raises(UserError, match="names s3://theirs/run, which you have not named yourself"):
            open_it(tmp_path / "run")
    named_by_user("s3://theirs/run")
    assert place_of(tmp_path / "run") == "s3://theirs/run"
    with pytest.raises(UserError, match="lie in s3://theirs/run; leave it out"):
        note_in(tmp_path / "run", named_by_user("s3://ours/run"))


@pytest.mark.parametrize("wrong", ["share", "http://host/x", "s3://", "s3://b/../x", "s3://b/x?y", "/a/../b", "s3://B"])
def test_what_is_no_place_is_refused(wrong: str) -> None:
    with pytest.raises(UserError, match=r"allowed: a folder that all machines mount"):
        checked(wrong, "--files")


def test_a_place_that_is_away_is_waited_for(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    at_bucket(monkeypatch, endpoint)
    monkeypatch.setattr(stores, "PAUSES", (0.01,))
    said: list[str] = []
    store = Bucket("s3://runs/away", said.append)
    found, tries = store._files.cat_file, []

    def twice_away(path: str) -> bytes:
        tries.append(path)
        if len(tries) < 3:
            raise OSError("no route to host")
        return found(path)

    store.write("a", io.BytesIO(b"content"))
    monkeypatch.setattr(store._files, "cat_file", twice_away)
    assert store.open_reader("a").read() == b"content"
    assert said == ["s3://runs/away: no route to host; trying again for 30 min", "s3://runs/away: back"]
    with pytest.raises(ArtifactNotFound):
        store.open_reader("nothing")
    with pytest.raises(UserError, match="there is no such bucket"):
        Bucket("s3://nothing-here/x").write("a", io.BytesIO(b""))
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        at_bucket(monkeypatch, f"http://127.0.0.1:{taken.getsockname()[1]}")
        monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
        lonely = Bucket("s3://runs/away")
        monkeypatch.setattr(type(lonely._files), "retries", 1)
        with pytest.raises(UserError, match="Could not connect|Cannot connect"):
            lonely.names()
