"""A fingerprint changes with every byte of the code that it is of, and with nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from boostformer.fingerprints import code_fingerprint


def written(folder: Path, **contents: str) -> Path:
    folder.mkdir()
    for name, content in contents.items():
        (folder / f"{name}.py").write_text(content)
    return folder


def test_it_is_of_the_content_of_all_files_that_match(tmp_path: Path) -> None:
    first = code_fingerprint("a*.py", root=written(tmp_path / "1", a1="x = 1", a2="y = 2", b="z = 3"))
    assert len(first) == 16 and int(first, 16) >= 0
    others = written(tmp_path / "2", a1="x = 1", a2="y = 2", b="z = 4")
    assert code_fingerprint("a*.py", root=others) == first
    changed = written(tmp_path / "3", a1="x = 1", a2="y = 3", b="z = 3")
    more = written(tmp_path / "4", a1="x = 1", a2="y = 2", a3="", b="z = 3")
    assert code_fingerprint("a*.py", root=changed) != first
    assert code_fingerprint("a*.py", "b.py", root=more) != first


def test_a_file_that_is_gone_is_not_passed_over(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no source file matches c\.py"):
        code_fingerprint("a.py", "c.py", root=written(tmp_path / "1", a="x = 1"))
