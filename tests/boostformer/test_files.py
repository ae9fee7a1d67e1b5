"""Files appear whole or not at all, and what cannot be read or written is named."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
import stat
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
from disk_record import Disk

from boostformer import files
from boostformer.errors import UserError
from boostformer.files import read_text, replacing, replacing_together
from boostformer.json_lines import JsonLines
from boostformer.locks import FileLock
from boostformer.training.log import MetricsLog, Standing
from evaluators.costs.counting import Cost
from evaluators.costs.kept import KeptCosts
from search.study.curves import curve

REPOSITORY = Path(__file__).resolve().parents[2]


def test_a_file_is_replaced_when_the_block_ends_well(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    file.write_text("old")
    with replacing(file) as part:
        part.write_text("new")
        assert file.read_text() == "old"
    assert file.read_text() == "new"
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize(
    ("raised", "seen"),
    [
        (KeyError("bug"), KeyError),
        (OSError(errno.EROFS, "Read-only"), UserError),
        (OSError(errno.ENOSPC, "No space left"), OSError),
    ],
)
def test_a_file_stays_as_it_was_when_writing_fails(tmp_path: Path, raised: Exception, seen: type[Exception]) -> None:
    file = tmp_path / "a.txt"
    file.write_text("old")
    with (
        pytest.raises(seen, match=r"bug|a\.txt: cannot be written: Read-only|No space left: .*a\.txt"),
        replacing(file) as part,
    ):
        part.write_text("half")
        raise raised
    assert file.read_text() == "old"
    assert list(tmp_path.iterdir()) == [file]


def test_files_that_belong_together_are_replaced_in_order(tmp_path: Path) -> None:
    (tmp_path / "first").mkdir()  # so that it cannot be replaced
    with (
        pytest.raises(UserError, match="first: cannot be written"),
        replacing_together(tmp_path / "first", tmp_path / "second") as (first, second),
    ):
        first.write_text("1")
        second.write_text("2")
    assert [path.name for path in tmp_path.iterdir()] == ["first"]


def test_what_is_replaced_goes_after_the_new_one_is_on_the_disk(tmp_path: Path, disk: Disk) -> None:
    files = [tmp_path / "new" / name for name in ("weights", "config")]
    with replacing_together(*files, parents=True) as parts:
        for part in parts:
            part.write_text("content")
    assert disk.happened == [
        "sync .",  # the name of the new folder
        "sync new/weights draft",
        "sync new/config draft",
        "rename new/weights draft -> new/weights",
        "sync new",
        "rename new/config draft -> new/config",
        "sync new",
    ]


def test_a_file_is_not_replaced_when_it_cannot_be_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "a.txt"
    file.write_text("old")

    def fails(descriptor: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", fails)
    with pytest.raises(UserError, match=r"a\.txt: cannot be written: Input/output error"), replacing(file) as part:
        part.write_text("new")
    assert file.read_text() == "old" and list(tmp_path.iterdir()) == [file]


def test_a_file_system_that_cannot_sync_folders_will_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sync = os.fsync

    def files_only(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "Invalid argument")
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", files_only)
    with replacing(tmp_path / "new" / "a.txt", parents=True) as part:
        part.write_text("new")
    assert (tmp_path / "new" / "a.txt").read_text() == "new"


def test_links_are_not_followed_and_the_umask_decides_who_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    victim, link = tmp_path / "victim", tmp_path / "link"
    victim.write_text("precious")
    link.symlink_to(victim)
    before = os.umask(0o027)
    try:
        with replacing(link) as part:
            assert part.stat().st_mode & 0o777 == 0o640
            part.write_text("new")
    finally:
        os.umask(before)
    assert victim.read_text() == "precious" and link.read_text() == "new" and not link.is_symlink()
    # Were the name known, a link that lies there already would still not be written through.
    monkeypatch.setattr(secrets, "token_hex", lambda size: "known")
    (tmp_path / ".a.known.part").symlink_to(victim)
    with pytest.raises(UserError, match="a: cannot be written: File exists"), replacing(tmp_path / "a"):
        pass
    assert victim.read_text() == "precious"


def drawn(folder: Path) -> None:
    with curve(folder, 0) as step:
        step(1, 2, 0.5)


def logged(folder: Path) -> None:
    log = MetricsLog(folder, (), {})
    log.begin(0)
    (folder / "metrics.csv").unlink()
    (folder / "metrics.csv").symlink_to(folder / "victim")  # after it was made: by somebody else who may write there
    log.see(Standing(10, 20, 0.5, 0.1, None, None, 0))


def costed(folder: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        KeptCosts(folder / "costs.txt").add("part", Cost(1, 1, 0))


WRITERS: dict[str, Callable[[Path], object]] = {
    "latencies.jsonl": lambda folder: JsonLines(folder / "latencies.jsonl", 1).locked().__enter__(),
    "propose.lock": lambda folder: FileLock(folder / "propose.lock").acquire(),
    "costs.txt": costed,
    "curves/0.csv": drawn,
    "metrics.csv": logged,
}
"""What is written at a name that anybody can foresee, by its name; the rest goes through ``replacing``."""


@pytest.mark.parametrize("name", WRITERS)
def test_a_link_at_a_name_that_is_foreseen_is_not_followed(tmp_path: Path, name: str) -> None:
    victim, link = tmp_path / "victim", tmp_path / name
    link.parent.mkdir(exist_ok=True)
    for content in ("precious", None):
        victim.write_text(content) if content else victim.unlink()
        link.unlink(missing_ok=True)
        link.symlink_to(victim)
        with contextlib.suppress(UserError, OSError):
            WRITERS[name](tmp_path)
        assert victim.read_text() == content if content else not victim.exists()


def test_nothing_else_opens_a_file_to_write_at_a_name_that_can_be_foreseen() -> None:
    """Writing goes through ``replacing``, ``appending``, ``JsonLines``, or into a draft of one's own."""
    opens = re.compile(r"""\bopen\((?:[^()]*, )?"[wax]b?\+?"|mktemp\(""")
    found = set()
    for package in ("boostformer", "search_space", "evaluators", "results", "search"):
        for file in (REPOSITORY / package).rglob("*.py"):
            if opens.search(file.read_text()):
                found.add(str(file.relative_to(REPOSITORY)))
    ways = {"boostformer/files.py", "boostformer/json_lines.py"}
    assert found <= ways | {
        "boostformer/data/cache.py",
        "boostformer/training/log.py",
        "boostformer/zips.py",
        "results/confusion.py",
        "search/study/states.py",
    }


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    for name, reason in (
        ("none", "no such file"),
        ("binary", "not UTF-8 text"),
        ("", "cannot be read: Is a directory"),
    ):
        with pytest.raises(UserError, match=f"{name}: {reason}"):
            read_text(tmp_path / name)


def test_every_line_that_is_appended_is_on_the_disk(tmp_path: Path, disk: Disk) -> None:
    with JsonLines(tmp_path / "new" / "lines", 1).locked() as append:
        disk.happened.clear()
        append({"a": 1})
        assert disk.happened == ["sync new/lines", "sync new"]
        append({"a": 2})
    assert disk.happened == ["sync new/lines", "sync new", "sync new/lines"]


def test_looking_at_a_path_says_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path, folder, file in (
        (tmp_path, True, False),
        (tmp_path / "file", False, True),
        (tmp_path / "nothing", False, False),
        (tmp_path / "file" / "below", False, False),
        (tmp_path / "nul\0", False, False),
    ):
        assert (files.is_folder(path), files.is_file(path), files.exists(path)) == (folder, file, folder or file)


@pytest.mark.parametrize("look", [files.is_folder, files.is_file, files.exists])
def test_where_one_may_not_look_nothing_is_taken_to_be_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, look: Callable[[Path], bool]
) -> None:
    with pytest.raises(UserError, match=r"xxx: cannot be reached: File name too long"):
        look(tmp_path / ("x" * 300))

    def refuse(*arguments: object, **options: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "stat", refuse)  # as root nothing else refuses
    with pytest.raises(UserError, match=r"inner: cannot be reached: Permission denied"):
        look(tmp_path / "inner")
