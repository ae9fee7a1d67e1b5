"""The cache of decoded arrays: same content, built once, never half."""

from __future__ import annotations

import fcntl
import hashlib
import multiprocessing
import os
import pickle
import signal
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from data_fixtures import write_dataset

from boostformer.data import DataConfig, cache, open_split
from boostformer.data.cache import CODE, packed
from boostformer.data.cache_entries import size_of_cache
from boostformer.data.folder import FolderSplit
from boostformer.errors import UserError
from boostformer.fingerprints import code_fingerprint


@pytest.mark.parametrize("fit", ["exact", "short_side"])
@pytest.mark.parametrize("kind", ["ade20k", "scenes"])
def test_holds_what_decoding_gives(tmp_path: Path, fit: str, kind: str) -> None:
    root = write_dataset(tmp_path / "data") if kind == "ade20k" else None
    data = DataConfig(kind=kind, root=root, size="32x48", fit=fit, scenes={"training": 3, "validation": 2})
    for name in ("training", "validation"):
        plain, cached = open_split(data, name), open_split(data, name, tmp_path / "cache")
        again = pickle.loads(pickle.dumps(cached))
        assert len(plain) == len(cached)
        assert (plain.labels, plain.name(1)) == (cached.labels, cached.name(1))
        for index in range(len(plain)):
            for split in (cached, again):
                for expected, got in zip(plain.resized(index), split.resized(index), strict=True):
                    np.testing.assert_array_equal(expected, got)
                np.testing.assert_array_equal(plain.label(index), split.label(index))
                np.testing.assert_array_equal(plain.image(index), split.image(index))


def test_files_are_decoded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = DataConfig(kind="ade20k", root=write_dataset(tmp_path / "data"), size="32x48")
    open_split(data, "validation", tmp_path / "cache")
    # Names files aside, nothing may be decoded again: not images, not labels for scoring.
    (tmp_path / "data/classes.txt").write_text("a\nb\nc\nd\n")
    monkeypatch.setattr(FolderSplit, "image", None)
    monkeypatch.setattr(FolderSplit, "label", None)
    split = open_split(data, "validation", tmp_path / "cache")
    assert split.resized(2)[0].shape == (32, 48, 3) and split.label(2).shape == (56, 64)


def test_a_change_makes_a_new_entry(tmp_path: Path) -> None:
    root, cache = write_dataset(tmp_path / "data"), tmp_path / "cache"

    def entries(**changes) -> int:
        open_split(DataConfig(kind="ade20k", root=root, **{"size": "32x48"} | changes), "training", cache)
        return len(list(cache.glob("*/images.bytes")))

    assert entries() == entries() == 1
    assert entries(size="48x32") == 2
    assert entries(size="48x32", fit="short_side") == 3
    os.utime(root / "images/training/0.jpg", ns=(1, 1))
    assert entries() == 4
    for kind, suffix in (("images", "jpg"), ("annotations", "png")):
        (root / kind / f"training/2.{suffix}").unlink()
    assert entries() == 5


def build_entry(folder: Path, start) -> None:
    start.wait()
    arrays = packed(folder, ["key"], ["a"], 50, lambda i: (np.full((i + 1, 3), i, np.uint8),))["a"]
    assert all((arrays[i] == i).all() and arrays[i].shape == (i + 1, 3) for i in range(50))


def test_processes_build_at_once_without_harm(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    start = context.Barrier(4)
    workers = [context.Process(target=build_entry, args=(tmp_path, start)) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0] * 4
    assert len(list(tmp_path.iterdir())) == 1, "one entry and no drafts"


def killed_while_building(folder: Path) -> None:
    def decode(index: int) -> tuple[np.ndarray]:
        if index == 30:
            os.kill(os.getpid(), signal.SIGKILL)
        return (np.full((4, 4), index, np.uint8),)

    packed(folder, ["key"], ["a"], 50, decode)


def test_a_killed_build_leaves_no_entry(tmp_path: Path) -> None:
    worker = multiprocessing.get_context("fork").Process(target=killed_while_building, args=(tmp_path,))
    worker.start()
    worker.join()
    assert worker.exitcode == -signal.SIGKILL
    assert all(".tmp-" in path.name for path in tmp_path.iterdir())
    arrays = packed(tmp_path, ["key"], ["a"], 50, lambda i: (np.full((4, 4), i, np.uint8),))["a"]
    assert len(arrays) == 50 and (arrays[49] == 49).all()


def test_drafts_of_the_dead_are_removed_whatever_a_clock_says(tmp_path: Path) -> None:
    drafts = [tmp_path / f"entry.tmp-{name}" for name in ("dead", "slow")]
    for draft in drafts:
        draft.mkdir()
        (draft / "a.bytes").write_bytes(b"half")
        os.utime(draft / "a.bytes", (0, 0))
        os.utime(draft, (0, 0))
    owner = os.open(drafts[1], os.O_RDONLY)
    fcntl.flock(owner, fcntl.LOCK_EX)
    build(tmp_path)
    assert set(tmp_path.glob("*.tmp-*")) == {drafts[1]}
    os.close(owner)
    build(tmp_path)  # also when there is nothing to build
    assert not set(tmp_path.glob("*.tmp-*"))


def test_a_draft_that_is_taken_before_it_is_locked_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Path] = []

    def taken_once(**places: object) -> str:
        made.append(Path(tempfile.mkdtemp(**places)))
        return str(made[-1])

    def flock(descriptor: int, operation: int) -> None:
        if len(made) == 1 and made[0].is_dir():
            made[0].rmdir()

    monkeypatch.setattr(cache, "tempfile", SimpleNamespace(mkdtemp=taken_once))
    monkeypatch.setattr(cache.fcntl, "flock", flock)
    build(tmp_path)
    assert len(made) == 2


def test_a_draft_that_is_removed_before_it_is_opened_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Path] = []

    def removed_once(**places: object) -> str:
        made.append(Path(tempfile.mkdtemp(**places)))
        if len(made) == 1:
            made[0].rmdir()
        return str(made[-1])

    monkeypatch.setattr(cache, "tempfile", SimpleNamespace(mkdtemp=removed_once))
    build(tmp_path)
    assert len(made) == 2


def build(folder: Path) -> None:
    arrays = packed(folder, ["key"], ["a"], 5, lambda i: (np.full((4, 4), i, np.uint8),))["a"]
    assert [int(array.sum()) for array in arrays] == [0, 16, 32, 48, 64]


FILES = ["a.bytes", "a.shapes.npy", "checksums.json"]


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("kept", [None, 0, 10, -1])
def test_a_damaged_entry_is_built_anew(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str, kept: int | None
) -> None:
    build(tmp_path)
    build(tmp_path)
    assert caplog.messages == []
    (file,) = tmp_path.glob(f"*/{name}")
    whole = file.read_bytes()
    if kept is None:
        file.unlink()
    else:
        file.write_bytes(whole[:kept])
    build(tmp_path)
    assert file.read_bytes() == whole and len(list(tmp_path.iterdir())) == 1
    assert caplog.messages == [f"{file.parent}: decoded images were damaged and are made anew"]


@pytest.mark.parametrize("name", FILES)
def test_a_flipped_bit_is_found_wherever_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr("boostformer.data.cache._BLOCK", 32)
    build(tmp_path)
    (file,) = tmp_path.glob(f"*/{name}")
    whole = file.read_bytes()
    for place in range(0, len(whole), 13):
        file.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        build(tmp_path)
        assert file.read_bytes() == whole


def test_a_full_disk_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make = tempfile.mkdtemp

    def on_full_disk(**options) -> str:
        folder = make(**options)
        (Path(folder) / "a.bytes").symlink_to("/dev/full")
        return folder

    monkeypatch.setattr(tempfile, "mkdtemp", on_full_disk)
    with pytest.raises(OSError, match="No space left on device") as full:
        build(tmp_path)
    assert full.value.filename == str(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_an_unwritable_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cache folder cannot be used"):
        open_split(DataConfig(), "training", tmp_path / "file" / "cache")


def test_what_other_code_made_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = DataConfig(kind="scenes", size="32x48", scenes={"training": 3, "validation": 2})
    open_split(data, "training", tmp_path)
    open_split(data, "training", tmp_path)
    assert len(list(tmp_path.iterdir())) == 1
    monkeypatch.setattr("boostformer.data.cache.code_fingerprint", lambda *code: "other")
    open_split(data, "training", tmp_path)
    assert len(list(tmp_path.iterdir())) == 2


def test_what_nobody_uses_is_removed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for key in ("used", "unused", "new"):
        packed(tmp_path, [key], ["a"], 1, lambda i: (np.zeros(1000, np.uint8),))
    unused = entry_of(tmp_path, "unused")
    for path in (unused, entry_of(tmp_path, "used")):
        os.utime(path, (time.time() - 29 * 86400,) * 2)

    def build_again(key: str) -> None:
        packed(tmp_path, [key], ["a"], 1, lambda i: pytest.fail("is decoded again"))

    build_again("used")  # which is a use
    assert len(list(tmp_path.iterdir())) == 3 and not caplog.records
    os.utime(unused, (time.time() - 31 * 86400,) * 2)
    before, size = size_of_cache(tmp_path)
    build_again("new")
    assert before == 3 and 3000 < size < 6000
    assert size_of_cache(tmp_path)[0] == len(list(tmp_path.iterdir())) == 2 and not unused.exists()
    assert [str(tmp_path) in record.message and "30 days" in record.message for record in caplog.records] == [True]
    build_again("used")


def test_an_old_entry_that_is_opened_is_kept(tmp_path: Path) -> None:
    packed(tmp_path, ["old"], ["a"], 1, lambda i: (np.ones(10, np.uint8),))
    os.utime(entry_of(tmp_path, "old"), (1, 1))
    found = packed(tmp_path, ["old"], ["a"], 1, lambda i: pytest.fail("is decoded again"))
    assert found["a"][0].sum() == 10


def entry_of(folder: Path, key: str) -> Path:
    lines = [code_fingerprint(CODE), "a", key]
    return folder / hashlib.sha256("\n".join(lines).encode()).hexdigest()[:24]


def test_decoded_images_are_for_their_owner_unless_the_cache_was_opened(tmp_path: Path) -> None:
    folder = tmp_path / "cache"

    def mode(key: str) -> int:
        array = np.zeros((2, 2), np.uint8)
        packed(folder, [key], ["image"], 1, lambda index: [array])
        return max(folder.iterdir(), key=lambda entry: entry.stat().st_ctime_ns).stat().st_mode & 0o777

    assert mode("first") == 0o700 and folder.stat().st_mode & 0o777 == 0o700
    folder.chmod(0o777)
    assert mode("second") == 0o755
