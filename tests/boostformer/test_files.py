"""Files appear whole or not at all, and what cannot be read or written is named."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from boostformer.errors import UserError
from boostformer.files import read_text, replacing


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


def test_of_two_files_the_inner_one_comes_first(tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()  # so that it cannot be replaced
    with (
        pytest.raises(UserError, match="inner: cannot be written"),
        replacing(tmp_path / "outer") as outer,
        replacing(tmp_path / "inner") as inner,
    ):
        inner.write_text("1")
        outer.write_text("2")
    assert [path.name for path in tmp_path.iterdir()] == ["inner"]


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    for name, reason in (
        ("none", "no such file"),
        ("binary", "not UTF-8 text"),
        ("", "cannot be read: Is a directory"),
    ):
        with pytest.raises(UserError, match=f"{name}: {reason}"):
            read_text(tmp_path / name)
