"""Curves of running trainings: noted now and then, gone at the end, and nothing depends on them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from search.study import curves
from search.study.curves import CURVES, curve, read_curve


def test_what_is_noted_is_read_until_the_training_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 0.5, 1.0, 7.0])
    monkeypatch.setattr(curves.time, "monotonic", lambda: next(clock))
    with curve(tmp_path, 3) as step:
        for done, loss in ((1, 2.0), (2, 1.9), (3, 1.5), (4, 1.25)):
            step(done, 4, loss)
        assert read_curve(tmp_path, 3) == [(1, 4, 2.0), (3, 4, 1.5), (4, 4, 1.25)], "not more often than each second"
    assert read_curve(tmp_path, 3) == [] and not list((tmp_path / CURVES).iterdir())


def test_a_training_that_fails_leaves_no_curve(tmp_path: Path) -> None:
    with pytest.raises(KeyError), curve(tmp_path, 3) as step:
        step(1, 4, 2.0)
        raise KeyError
    assert not list((tmp_path / CURVES).iterdir())


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written_is_passed_over(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with curve(tmp_path, 3) as step:
        step(1, 4, 2.0)
    assert read_curve(tmp_path, 3) == []


def test_a_file_in_the_place_of_the_folder_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / CURVES).write_text("")
    with curve(tmp_path, 3) as step:
        step(1, 4, 2.0)
    assert read_curve(tmp_path, 3) == []


def test_damaged_lines_are_left_out(tmp_path: Path) -> None:
    (tmp_path / CURVES).mkdir()
    (tmp_path / CURVES / "3.csv").write_text("1,4,nan\n2,4\n<b>,4,1.0\n3,4,1.5\n")
    assert read_curve(tmp_path, 3) == [(3, 4, 1.5)]
