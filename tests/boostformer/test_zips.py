"""Zip files: what is written is read back, and what others made is taken only as far as it is harmless."""

from __future__ import annotations

import hashlib
import io
import json
import stat
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from boostformer import zips
from boostformer.errors import UserError

ALLOWED = {"a\\.json": 1000, "weights/[0-9a-f]{4}": 5000}
Change = Callable[[zipfile.ZipFile], None]


def write(file: Path, text: bytes = b"[1]") -> Path:
    weights = file.parent / "weights"
    weights.write_bytes(bytes(range(256)) * 10)
    with zips.writing(file, "thing", 1) as out:
        out.add("a.json", text)
        out.add("weights/00ff", weights)
    return file


def names(file: Path) -> list[str]:
    with zips.reading(file, "thing", 1, ALLOWED) as members:
        for name in members:
            members.verify(name)
        return list(members)


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    file = write(tmp_path / "x.zip")
    assert names(file) == ["a.json", "weights/00ff"]
    with zips.reading(file, "thing", 1, ALLOWED) as members:
        assert members.read_json("a.json") == [1]
        members.copy("weights/00ff", tmp_path / "copy")
        with pytest.raises(UserError, match=r"x.zip: holds no b\.json"):
            members.read("b.json")
    assert (tmp_path / "copy").read_bytes() == (tmp_path / "weights").read_bytes()
    again = write(tmp_path / "y.zip")
    assert again.read_bytes() == file.read_bytes()


def test_a_file_that_could_not_be_finished_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), zips.writing(tmp_path / "x.zip", "thing", 1) as out:
        out.add("a.json", b"[]")
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []


def made(file: Path, *members: tuple[str | zipfile.ZipInfo, bytes], **about: Any) -> Path:
    """A file whose manifest lists these members as they are; ``about`` changes it."""
    listed = {
        name.filename if isinstance(name, zipfile.ZipInfo) else name: {
            "bytes": len(content),
            "sha256": hashlib.sha256(content).hexdigest(),
        }
        for name, content in members
    }
    manifest = {"format": "thing", "version": 1, "members": listed} | about
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members:
            archive.writestr(name, content)
        archive.writestr("manifest.json", json.dumps(manifest))
    return file


def link(name: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name)
    entry.external_attr = (stat.S_IFLNK | 0o777) << 16
    return entry


@pytest.mark.parametrize(
    ("members", "about", "said"),
    [
        ([("../a.json", b"[]")], {}, "holds '../a.json', which no such file has"),
        ([("/etc/passwd", b"")], {}, "holds '/etc/passwd', which no such file has"),
        ([("weights/../../x", b"")], {}, "which no such file has"),
        ([("weights\\00ff", b"")], {}, "which no such file has"),
        ([("a.json\n", b"[]")], {}, "which no such file has"),
        ([(link("a.json"), b"/etc/passwd")], {}, "'a.json' is a link or a special file"),
        ([("a.json", b" " * 1001)], {}, "'a.json' has 1,001 bytes, at most 1,000 are allowed"),
        ([("a.json", b"[]")], {"version": 2}, "is of version 2, allowed: 1; read it with the release"),
        ([("a.json", b"[]")], {"version": True}, "is of version true"),
        ([("a.json", b"[]")], {"version": "\x1b[31m"}, "is of version '\\x1b[31m'"),
        ([("a.json", b"[]")], {"format": "other"}, "does not say format 'thing'"),
        ([("a.json", b"[]")], {"members": {}}, "manifest.json and members differ: 'a.json'"),
        ([("a.json", b"[]")], {"members": 7}, "lists its members wrongly"),
        ([("a.json", b"[]")], {"members": {"a.json": {"bytes": 2, "sha256": "0" * 64}}}, "a.json is not what"),
    ],
)
def test_what_else_is_in_a_file_is_refused(
    tmp_path: Path, members: list[tuple[str, bytes]], about: dict[str, Any], said: str
) -> None:
    file = made(tmp_path / "x.zip", *members, **about)
    with pytest.raises(UserError) as refused:
        names(file)
    assert str(refused.value).startswith(f"{file}: ") and said in str(refused.value)
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize("text", [b"{", b"\xff", b"[" * 900, b"9" * 900 + b"e" + b"9" * 90])
def test_what_is_no_json_is_one_line(tmp_path: Path, text: bytes) -> None:
    file = made(tmp_path / "x.zip", ("a.json", text))
    with zips.reading(file, "thing", 1, ALLOWED) as members:
        try:
            members.read_json("a.json")
        except UserError as error:
            assert "\n" not in str(error) and "a.json is " in str(error)
        else:
            assert text.startswith(b"9")  # an infinity, which Python reads


def test_a_name_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="Duplicate"):
        file = made(tmp_path / "x.zip", ("a.json", b"[1]"), ("a.json", b"[2]"))
    with pytest.raises(UserError, match=r"holds 'a.json' twice"):
        names(file)


def test_members_that_share_their_bytes_are_refused(tmp_path: Path) -> None:
    """A list of contents that names one member's bytes many times would fill the disk from a small file."""
    file = made(tmp_path / "x.zip", *[(f"weights/{number:04x}", b"") for number in range(9)])
    content = io.BytesIO(file.read_bytes())
    with zipfile.ZipFile(content, "a", zipfile.ZIP_STORED) as archive:
        archive.writestr("weights/ffff", b"x" * 4000)
        last = archive.getinfo("weights/ffff")
        for entry in archive.infolist():
            if entry.filename.startswith("weights"):
                entry.header_offset, entry.file_size = last.header_offset, last.file_size
                entry.compress_size, entry.compress_type, entry.CRC = last.compress_size, zipfile.ZIP_STORED, last.CRC
    file.write_bytes(content.getvalue())
    with pytest.raises(UserError, match="its members overlap"):
        names(file)


def test_only_members_of_bounded_size_may_be_compressed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zips, "MOST_PACKED", 100)
    file = made(tmp_path / "x.zip", ("a.json", b" " * 101))
    with pytest.raises(UserError, match="'a.json' is compressed"):
        names(file)


def test_a_file_that_is_cut_or_changed_anywhere_is_refused_in_one_line(tmp_path: Path) -> None:
    whole = write(tmp_path / "x.zip").read_bytes()
    expected = names(tmp_path / "x.zip")
    bad, refused = tmp_path / "bad.zip", 0
    for place in range(0, len(whole), 7):
        for content in (whole[:place], whole[:place] + bytes([whole[place] ^ 0x55]) + whole[place + 1 :]):
            bad.write_bytes(content)
            try:
                assert names(bad) == expected
            except UserError as error:
                refused += 1
                assert "\n" not in str(error)
    assert refused > len(whole) / 7


@pytest.mark.parametrize("content", [None, b"", b"PK\x05\x06", b"text"])
def test_other_files_are_refused(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "x.zip"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(UserError, match="no such file" if content is None else "no zip file"):
        names(file)
    with pytest.raises(UserError, match="cannot be read"):
        names(tmp_path)


def test_a_file_without_a_manifest_is_somebody_else_s(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr("a.json", "[]")
    with pytest.raises(UserError, match=r"holds no manifest\.json"):
        names(tmp_path / "x.zip")
